"""Write a sound block by block; the file appears whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Optional

import numpy as np

from espnet2_avsep.data.audio_io import FORMATS
from espnet2_avsep.data.scp import PathLike
from espnet2_avsep.errors import InputError

FULL_SCALE = 1 << 23
# A RIFF header counts bytes in 32 bits; RF64 is the same with more.
_RIFF_BYTES = 4_000_000_000


def to_pcm24(samples: np.ndarray) -> "tuple[np.ndarray, int]":
    """Round samples to 24 bits; what lies outside is clipped, never wrapped.

    Args:
        samples: Of any shape, 1.0 being full scale.

    Returns:
        int32 with the 24 bits on top, and the number of clipped samples.
    """
    scaled = np.rint(np.asarray(samples, dtype=np.float64) * FULL_SCALE)
    clipped = int(np.sum((scaled > FULL_SCALE - 1) | (scaled < -FULL_SCALE)))
    scaled = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1)
    return scaled.astype(np.int32) << 8, clipped


class TrackWriter:
    """A 24-bit wav or flac file in the making; use it in a ``with`` statement.

    It is written under another name, and gets its own when the block ends well.

    Args:
        path: A name that ends in .wav or .flac.
        fs: Sampling rate in Hz.
        channels: Number of channels.
        length: Samples to come, as far as that is known: a wav of more than 4 GB gets
            another header.

    Attributes:
        clipped: Samples that exceeded full scale and were clipped.

    Raises:
        InputError: unknown format, a rate or number of channels that it cannot have.
    """

    def __init__(
        self, path: PathLike, fs: int, channels: int = 1, length: Optional[int] = None
    ):
        import soundfile

        self.path = Path(path)
        self.clipped = 0
        self._written = 0
        kind = FORMATS.get(self.path.suffix[1:].lower())
        if kind is None:
            raise InputError(f"{path}: unknown audio format; expected .wav or .flac.")
        if kind == "WAV" and 3 * channels * (length or 0) > _RIFF_BYTES:
            kind = "RF64"
        handle, self._temporary = tempfile.mkstemp(
            dir=self.path.parent, prefix=f".{self.path.name[:64]}.", suffix=".tmp"
        )
        os.close(handle)
        try:
            self._file = soundfile.SoundFile(
                self._temporary, "w", fs, channels, "PCM_24", format=kind
            )
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            os.unlink(self._temporary)
            raise InputError(
                f"{path}: cannot be written with {channels} channels at {fs} Hz "
                f"({error}); choose another format or channels 'mean'."
            ) from error

    def write(self, samples: np.ndarray) -> None:
        """Append (L,) or (C, L) samples, 1.0 being full scale."""
        data, clipped = to_pcm24(np.atleast_2d(samples).T)
        self.clipped += clipped
        self._file.write(data)
        self._written += len(data)

    def __enter__(self) -> "TrackWriter":
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            self._file.close()
            if kind is None:
                self._publish()
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary)

    def _publish(self) -> None:
        import soundfile

        # libsndfile swallows the disk's errors: count what has arrived.
        try:
            found = soundfile.info(self._temporary).frames
        except soundfile.LibsndfileError:
            found = 0
        if found != self._written:
            raise InputError(
                f"{self.path}: only {found} of {self._written} samples could be "
                "written. Free some space, or choose another output folder."
            )
        with open(self._temporary, "rb") as f:
            os.fsync(f.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(self._temporary, 0o666 & ~mask)
        os.replace(self._temporary, self.path)
