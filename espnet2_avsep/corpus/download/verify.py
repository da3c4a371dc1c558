"""Whether a fetched file is what it should be."""

import contextlib
from pathlib import Path
from typing import Any, Dict, Optional

from espnet2_avsep.corpus.download.video_error import VideoError
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.media.clock import packet_end, packets
from espnet2_avsep.media.complete import check_complete
from espnet2_avsep.media.container import ClipError, open_media
from espnet2_avsep.media.sound import find_sound
from espnet2_avsep.media.stream import probe, stated_end, video_stream

# A whole video may differ from what the site states by 2 s or 2 %: sites round, and
# picture and sound end at different times.
_SECONDS, _SHARE = 2.0, 0.02
# A section of 10 s may lack 1 s at its end.
_SECTION_LACKS = 1.0


def verify(
    path: Path, stated: Optional[float] = None, section: Optional[float] = None
) -> Dict[str, Any]:
    """Check a file: it opens, has sound and pictures, and is as long as it should be.

    All packets are read, and the first of each stream decoded.

    Args:
        path: The file.
        stated: Seconds that the site states for the whole video, if it does.
        section: Seconds that a section should last.

    Returns:
        bytes, sha256, duration (s), fps and sample_rate (Hz) for the manifest.

    Raises:
        VideoError: with the kind of what is wrong.
    """
    import av

    try:
        info = probe(path)
        if not info.has_audio:
            raise VideoError("no audio")
        if not info.has_video:
            raise VideoError("no video")
        ends = _read_through(path)
    except ClipError as error:
        raise VideoError("unreadable", error.reason) from error
    except av.error.FFmpegError as error:
        raise VideoError("truncated", str(error)) from error
    longest = max(ends.values())
    if section is not None:
        shortest = min(ends.values())
        if shortest < section - _SECTION_LACKS:
            raise VideoError(
                "section beyond the end", f"{shortest:.1f} of {section:g} s are there"
            )
    elif stated is not None and abs(longest - stated) > max(_SECONDS, _SHARE * stated):
        kind = "truncated" if longest < stated else "wrong duration"
        raise VideoError(kind, f"{longest:.1f} s, {stated:g} s were stated")
    return {
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "duration": round(ends["audio"], 3),
        "fps": round(info.fps, 3) if info.fps else None,
        "sample_rate": info.sample_rate,
    }


def _read_through(path: Path) -> Dict[str, float]:
    """Return the seconds of sound and of picture whose packets are there.

    Raises:
        VideoError: one of the two cannot be decoded, or is cut.
    """
    import av

    sound = find_sound(path)
    with open_media(path) as container:
        streams = {
            "audio": container.streams[sound.index],
            "video": video_stream(container),
        }
        kinds = {stream.index: kind for kind, stream in streams.items()}
        ends = dict.fromkeys(streams, 0.0)
        starts: Dict[str, float] = {}
        decoded = dict.fromkeys(streams, False)
        for packet in packets(container, *streams.values()):
            kind = kinds[packet.stream_index]
            if not decoded[kind]:
                with contextlib.suppress(av.error.InvalidDataError):
                    decoded[kind] = bool(packet.decode())
            if packet.pts is None:
                continue
            begin = float(packet.pts * packet.time_base)
            starts[kind] = min(starts.get(kind, begin), begin)
            ends[kind] = max(ends[kind], packet_end(packet))
        stated = {kind: stated_end(container, streams[kind]) for kind in streams}
    found: Dict[str, float] = {}
    for kind, end in ends.items():
        if not decoded[kind]:
            raise VideoError("unreadable", f"no {kind} can be decoded")
        start = max(starts.get(kind, 0.0), 0.0)
        found[kind] = end - start
        if stated[kind] is not None:
            try:
                check_complete(path, kind, found[kind], stated[kind] - start)
            except ClipError as error:
                raise VideoError("truncated", error.reason) from error
    return found
