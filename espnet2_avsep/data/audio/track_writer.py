"""Write a sound block by block; the file appears whole or not at all."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from espnet2_avsep.data.tables.scp import PathLike, atomic_path
from espnet2_avsep.errors import InputError


class TrackFormat(NamedTuple):
    """How a track is written.

    Attributes:
        suffix: Of the file's name.
        kind: libsndfile's name of the file format.
        subtype: libsndfile's name of the samples' format.
        bytes: Of an uncompressed sample.
    """

    suffix: str
    kind: str
    subtype: str
    bytes: int = 3


TRACK_FORMATS = {
    "wav": TrackFormat(".wav", "WAV", "PCM_24"),
    "flac": TrackFormat(".flac", "FLAC", "PCM_24"),
    "float": TrackFormat(".wav", "WAV", "FLOAT", 4),
    "mp3": TrackFormat(".mp3", "MP3", "MPEG_LAYER_III"),
}
# A RIFF header counts bytes in 32 bits; RF64 is the same with more.
_RIFF_BYTES = 4_000_000_000
_LIMITS = {
    "FLAC": "It takes up to 8 channels and 655350 Hz; write wav, or the mean of the "
    "channels.",
    "MP3": "It takes up to 2 channels and 8, 11.025, 12, 16, 22.05, 24, 32, 44.1 and "
    "48 kHz; write wav or flac.",
}
_FREE = "Free some space, or choose another output folder."


def to_pcm(samples: np.ndarray, bits: int) -> "tuple[np.ndarray, int]":
    """Round samples to some bits; what lies outside is clipped, never wrapped.

    Args:
        samples: Of any shape, 1.0 being full scale.
        bits: Of a sample.

    Returns:
        int32, and the number of clipped samples.
    """
    full_scale = 1 << (bits - 1)
    scaled = np.rint(np.asarray(samples, dtype=np.float64) * full_scale)
    kept = np.clip(scaled, -full_scale, full_scale - 1)
    return kept.astype(np.int32), int(np.sum(kept != scaled))


def to_pcm24(samples: np.ndarray) -> "tuple[np.ndarray, int]":
    """Return :func:`to_pcm` of 24 bits, which are the upper ones of an int32."""
    kept, clipped = to_pcm(samples, 24)
    return kept << 8, clipped


class TrackWriter:
    """A sound file in the making; use it in a ``with`` statement.

    It is written under another name, and gets its own when the block ends well.

    Args:
        path: A name with the ending of the format.
        fs: Sampling rate in Hz.
        channels: Number of channels.
        length: Samples to come, as far as that is known: a wav of more than 4 GB gets
            another header.
        audio_format: A key of TRACK_FORMATS; None takes the one of the name's ending,
            24 bits for .wav.

    Attributes:
        clipped: Samples that exceeded full scale and were clipped; none are for
            "float".

    Raises:
        InputError: unknown format, a rate or number of channels that it cannot have.
    """

    def __init__(
        self,
        path: PathLike,
        fs: int,
        channels: int = 1,
        length: Optional[int] = None,
        audio_format: Optional[str] = None,
    ):
        import soundfile

        self.path = Path(path)
        self.clipped = 0
        self._written = 0
        ending = self.path.suffix.lower()
        chosen = TRACK_FORMATS.get(audio_format or ending[1:])
        if chosen is None or chosen.suffix != ending:
            raise InputError(
                f"{path}: unknown audio format; expected a name that ends in "
                f"{', '.join(sorted({each.suffix for each in TRACK_FORMATS.values()}))}"
                "."
            )
        self._subtype, kind = chosen.subtype, chosen.kind
        if kind == "WAV" and chosen.bytes * channels * (length or 0) > _RIFF_BYTES:
            kind = "RF64"
        with contextlib.ExitStack() as stack:
            self._temporary = os.fsencode(stack.enter_context(atomic_path(self.path)))
            try:
                self._file = soundfile.SoundFile(
                    self._temporary, "w", fs, channels, self._subtype, format=kind
                )
            except (soundfile.LibsndfileError, TypeError, ValueError) as error:
                reason = getattr(error, "error_string", error)
                raise InputError(
                    f"{path}: {kind} cannot hold {channels} channels at {fs} Hz "
                    f"({reason}). {_LIMITS.get(kind, 'Write wav.')}"
                ) from error
            stack.push(self._close)
            self._exits = stack.pop_all()

    def write(self, samples: np.ndarray) -> None:
        """Append (L,) or (C, L) samples, 1.0 being full scale.

        Raises:
            InputError: the disk is full.
        """
        import soundfile

        data = np.atleast_2d(samples).T
        if self._subtype == "PCM_24":
            data, clipped = to_pcm24(data)
            self.clipped += clipped
        elif self._subtype != "FLOAT":
            self.clipped += int(np.sum(np.abs(data) > 1))
            data = np.clip(data, -1, 1)
        try:
            self._file.write(data)
        except soundfile.LibsndfileError as error:  # it does not say why
            raise InputError(
                f"{self.path}: cannot be written after {self._written} samples "
                f"({error.error_string}). {_FREE}"
            ) from error
        self._written += len(data)

    def __enter__(self) -> "TrackWriter":
        return self

    def __exit__(self, *error) -> None:
        self._exits.__exit__(*error)

    def _close(self, kind, error, trace) -> None:
        import soundfile

        self._file.close()
        if kind is not None:
            return
        # libsndfile swallows the disk's errors: count what has arrived.
        try:
            found = soundfile.info(self._temporary).frames
        except soundfile.LibsndfileError:
            found = 0
        if found != self._written:
            raise InputError(
                f"{self.path}: only {found} of {self._written} samples could be "
                f"written. {_FREE}"
            )
