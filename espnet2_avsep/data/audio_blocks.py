"""Read the sound of any media file block by block, all channels, at constant memory."""

import contextlib
from pathlib import Path
from typing import Iterator, List, Optional

import numpy as np

from espnet2_avsep.data.audio_io import (
    SOUNDFILE_SUFFIXES,
    audio_frame_channels,
    check_wav_complete,
    no_audio,
)
from espnet2_avsep.data.media import (
    ClipError,
    audio_stream,
    check_complete,
    open_media,
    packet_end,
    states_duration,
    stream_duration,
    tolerate_decode_error,
)
from espnet2_avsep.data.scp import PathLike

BLOCK = 1 << 16


class AudioBlocks:
    """The sound of a file.

    Wav and flac are read through soundfile, all else through PyAV.

    Args:
        path: The file.

    Attributes:
        fs: Sampling rate in Hz.
        channels: Number of channels.
        length: Samples that the header states; None where it does not, or guesses.

    Raises:
        ClipError: missing, unreadable, without sound.
    """

    def __init__(self, path: PathLike):
        import soundfile

        self.path = Path(path)
        self._soundfile = False
        if self.path.suffix.lower() in SOUNDFILE_SUFFIXES and self.path.is_file():
            # What libsndfile cannot read is left to FFmpeg, which says why.
            with contextlib.suppress(soundfile.LibsndfileError):
                info = soundfile.info(str(self.path))
                self.fs, self.channels = info.samplerate, info.channels
                self.length: Optional[int] = info.frames
                self._soundfile = True
        if not self._soundfile:
            with open_media(self.path) as container:
                stream = audio_stream(container)
                if stream is None:
                    raise no_audio(str(path))
                if stream.codec_context is None:
                    raise ClipError(path, "its sound is of no known kind")
                self.fs = stream.codec_context.sample_rate
                self.channels = stream.codec_context.channels
                seconds = stream_duration(container, stream)
                stated = seconds is not None and states_duration(container)
                self.length = round(seconds * self.fs) if stated else None
        if not self.fs or not self.channels:
            raise ClipError(path, "states no sampling rate or no channels")

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield (channels, n) float32 blocks.

        Raises:
            ClipError: truncated, NaN or infinite samples, no samples, a change of
                sampling rate or channels in mid-stream.
        """
        found = 0
        for block in self._read_soundfile() if self._soundfile else self._decode():
            if not np.isfinite(block).all():
                raise ClipError(
                    self.path,
                    f"NaN or infinite samples near second {found / self.fs:.1f}",
                    "Write the sound again from its source.",
                )
            found += block.shape[-1]
            yield block
        if found == 0:
            raise ClipError(self.path, "no audio samples", "Fetch the file again.")
        if self.length is not None:
            stated = self.length / self.fs
            check_complete(self.path, "audio", found / self.fs, stated)
        if self._soundfile and self.path.suffix.lower() == ".wav":
            check_wav_complete(str(self.path), found / self.fs)

    def _read_soundfile(self) -> Iterator[np.ndarray]:
        import soundfile

        try:
            with soundfile.SoundFile(str(self.path)) as f:
                while len(block := f.read(BLOCK, dtype="float32", always_2d=True)):
                    yield np.ascontiguousarray(block.T)
        except soundfile.LibsndfileError as error:
            raise ClipError(
                self.path, f"unreadable ({error})", "Fetch the file again."
            ) from error

    def _decode(self) -> Iterator[np.ndarray]:
        import av

        pieces: List[np.ndarray] = []
        time = 0.0
        with open_media(self.path) as container:
            stream = audio_stream(container)
            length = stream_duration(container, stream)
            start = float((stream.start_time or 0) * stream.time_base)
            try:
                for packet in container.demux(stream):
                    for frame in packet.decode():
                        pieces.append(self._channels(frame))
                    time = max(time, packet_end(packet) - start)
                    if sum(piece.shape[-1] for piece in pieces) >= BLOCK:
                        yield np.concatenate(pieces, axis=-1)
                        pieces = []
            except av.error.FFmpegError as error:
                tolerate_decode_error(self.path, "audio", time, length, error)
        if pieces:
            yield np.concatenate(pieces, axis=-1)

    def _channels(self, frame: "av.AudioFrame") -> np.ndarray:  # noqa: F821
        samples = audio_frame_channels(frame)
        for name, found, first in (
            ("sampling rate", frame.sample_rate, self.fs),
            ("number of channels", len(samples), self.channels),
        ):
            if found != first:
                raise ClipError(
                    self.path,
                    f"the {name} changes from {first} to {found} in mid-stream",
                    "Convert the file to a constant format.",
                )
        return samples
