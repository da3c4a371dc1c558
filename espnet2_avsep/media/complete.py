"""Whether a file could be read to its end."""

import logging
import os
import struct
from typing import Optional

from espnet2_avsep.media.container import ClipError, PathLike, first_line
from espnet2_avsep.media.stream import stated_duration

# A file that decodes to less than this share of what it states counts as truncated.
COMPLETE_SHARE = 0.9
# Less than this, in s, never does: a picture may be shown for longer than it says.
_LEAST = 0.2


def check_complete(
    path: PathLike, kind: str, found: float, stated: Optional[float]
) -> None:
    """Raise where a file holds less than 90 % of what its header states.

    Args:
        path: The file.
        kind: "audio", "video" or "media", for the message.
        found: Seconds that could be read.
        stated: Seconds that the header states; None where it states none.

    Raises:
        ClipError: "truncated".
    """
    if stated is None:
        return
    if found < COMPLETE_SHARE * stated and stated - found > _LEAST:
        raise ClipError(
            path,
            f"truncated ({found:.2f} s of {stated:.2f} s of {kind} can be read)",
            "The file was probably cut while it was copied; fetch it again.",
        )


def check_container_complete(path: PathLike, container, end: float) -> None:
    """Raise "truncated" where the packets of all streams end long before the file.

    Args:
        path: The file.
        container: The open file.
        end: Largest :func:`packet_end` of all its packets.
    """
    start = (container.start_time or 0) / 1e6
    check_complete(path, "media", end - start, stated_duration(container))
    size = _avi_size(path) if container.format.name == "avi" else None
    there = os.stat(path).st_size
    if size is not None and there < COMPLETE_SHARE * size:
        raise ClipError(
            path,
            f"truncated ({there} of {size} bytes are there)",
            "The file was probably cut while it was copied; fetch it again.",
        )


def _avi_size(path: PathLike) -> Optional[int]:
    """Return how many bytes an AVI should have; None where it was not closed.

    It is a chain of chunks "RIFF" of known size.
    """
    size = 0
    with open(path, "rb") as f:
        while f.read(4) == b"RIFF":
            (length,) = struct.unpack("<I", f.read(4).ljust(4, b"\0"))
            if length in (0, 0xFFFFFFFF):
                return None
            size += 8 + length + length % 2
            f.seek(size)
    return size


def tolerate_decode_error(
    path: PathLike, kind: str, time: float, stated: Optional[float], error: Exception
) -> None:
    """Let a decoding error pass in the last tenth of a file, else raise.

    A file that was cut near its end is used as far as it goes; a fault before that
    leaves a hole, and the file counts as truncated.

    Raises:
        ClipError: "truncated".
    """
    if stated is None or time < COMPLETE_SHARE * stated:
        of = f" of {stated:.2f} s" if stated is not None else ""
        raise ClipError(
            path,
            f"truncated (decode error at {time:.2f} s{of} of {kind}: "
            f"{first_line(error)})",
            "Fetch the file again.",
        ) from error
    logging.warning(
        "%s: decode error at %.2f s of %.2f s of %s; used up to there",
        path,
        time,
        stated,
        kind,
    )
