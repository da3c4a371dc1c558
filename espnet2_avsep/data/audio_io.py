"""Read the sound of any media file as mono float32; write 16-bit PCM.

Ways in: wav and flac through soundfile, everything else that FFmpeg decodes through
PyAV, and Kaldi pipes ("command |"), whose output may be any of these.
"""

import contextlib
import errno
import io
import logging
import struct
import subprocess
from pathlib import Path
from typing import BinaryIO, Iterator, List, Optional, Tuple

import numpy as np

from espnet2_avsep.data.media import (
    ClipError,
    audio_stream,
    check_complete,
    check_container_complete,
    open_media,
    packet_end,
    probe,
    states_duration,
    stream_duration,
    tolerate_decode_error,
)
from espnet2_avsep.data.scp import PathLike, atomic_write
from espnet2_avsep.errors import InputError

FORMATS = {"wav": "WAV", "flac": "FLAC"}
SOUNDFILE_SUFFIXES = frozenset((".wav", ".flac"))
# Sizes that programs write into the header of a wav that they pipe.
_UNKNOWN_WAV_SIZE = 0x7FFF0000


def load_audio(source: str, fs: int) -> np.ndarray:
    """Read a sound as mono at a given rate.

    Args:
        source: A media file, or a Kaldi pipe: a command that ends in "|".
        fs: Sampling rate to resample to in Hz.

    Returns:
        The mean over the channels, float32, (L,).

    Raises:
        ClipError: missing, unreadable, no audio stream, truncated, without samples,
            holding NaN or infinite samples, or a pipe that failed.
    """
    audio, rate = read_audio(source)
    return resample(audio, rate, fs)


def read_audio(source: str) -> Tuple[np.ndarray, int]:
    """Read a sound as mono at its own rate; see :func:`load_audio`.

    Returns:
        The samples, float32, (L,), and the sampling rate in Hz.
    """
    if source.rstrip().endswith("|"):
        audio, rate = _decode(source, io.BytesIO(_run_pipe(source)))
    elif Path(source).suffix.lower() in SOUNDFILE_SUFFIXES:
        audio, rate = _read_soundfile(source)
    else:
        audio, rate = _decode(source)
    return _checked(source, audio, rate)


def _checked(source: str, audio: np.ndarray, rate: int) -> Tuple[np.ndarray, int]:
    """Return what it is given, if these are samples that can be used."""
    if len(audio) == 0:
        raise ClipError(source, "no audio samples", "Fetch the file again.")
    if not np.isfinite(audio).all():
        count = int(np.sum(~np.isfinite(audio)))
        raise ClipError(
            source,
            f"{count} samples are NaN or infinite",
            "Write the sound again from its source.",
        )
    return audio, rate


def resample(audio: np.ndarray, rate: int, fs: int) -> np.ndarray:
    """Resample mono audio with soxr's high quality setting.

    Args:
        audio: (L,), float32.
        rate: Its sampling rate in Hz.
        fs: The wanted one in Hz.

    Returns:
        About L * fs / rate samples, float32.
    """
    if rate == fs:
        return audio
    import soxr

    return soxr.resample(audio, rate, fs, quality="HQ").astype(np.float32, copy=False)


def may_be_tapped(source: str) -> bool:
    """Return whether a sound is read through PyAV, from a file: see AudioTap."""
    if source.rstrip().endswith("|"):
        return False
    return Path(source).suffix.lower() not in SOUNDFILE_SUFFIXES


def audio_span(source: str) -> Tuple[float, float]:
    """Return the duration of a sound and its start on its file's clock, both in s.

    From the header where that states it, else by decoding.

    Raises:
        ClipError: as for :func:`load_audio`.
    """
    start = 0.0
    if not source.rstrip().endswith("|"):
        info = probe(source)
        if not info.has_audio:
            raise no_audio(source)
        start = info.audio_start
        if info.audio_duration is not None and info.stated:
            return info.audio_duration, start
    audio, rate = read_audio(source)
    return len(audio) / rate, start


def to_pcm16(audio: np.ndarray) -> Tuple[np.ndarray, int]:
    """Round samples to 16 bits; what lies outside is clipped, never wrapped.

    Args:
        audio: (L,), 1.0 being full scale.

    Returns:
        int16 samples (L,) and the number of clipped ones.
    """
    scaled = np.rint(np.asarray(audio, dtype=np.float64) * 32768)
    clipped = int(np.sum((scaled > 32767) | (scaled < -32768)))
    return np.clip(scaled, -32768, 32767).astype(np.int16), clipped


def write_audio(path: PathLike, audio: np.ndarray, fs: int) -> int:
    """Write mono audio as 16-bit PCM; the file appears whole or not at all.

    Args:
        path: A name that ends in .wav or .flac.
        audio: (L,), 1.0 being full scale.
        fs: Sampling rate in Hz.

    Returns:
        Number of clipped samples (also logged).

    Raises:
        InputError: unknown format, NaN or infinite samples, disk full.
    """
    import soundfile

    path = Path(path)
    kind = FORMATS.get(path.suffix[1:].lower())
    if kind is None:
        raise InputError(f"{path}: unknown audio format; expected .wav or .flac.")
    if not np.isfinite(audio).all():
        raise InputError(f"{path}: refusing to write NaN or infinite samples.")
    samples, clipped = to_pcm16(audio)
    if clipped:
        logging.warning(
            "%s: %d of %d samples exceeded full scale and were clipped",
            path,
            clipped,
            len(samples),
        )
    # Encoded in memory: soundfile would swallow an error of the disk's.
    content = io.BytesIO()
    soundfile.write(content, samples, fs, format=kind, subtype="PCM_16")
    with clear_disk_errors(path), atomic_write(path, "wb") as f:
        f.write(content.getvalue())
    return clipped


@contextlib.contextmanager
def clear_disk_errors(path: PathLike) -> Iterator[None]:
    """Say plainly that a disk is full, or over quota, while writing ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{path}: cannot be written, {error.strerror.lower()}. Free some space and "
            "run the same command again: what is finished is kept."
        ) from error


def _run_pipe(source: str) -> bytes:
    """Run a Kaldi pipe and return what it prints."""
    command = source.rstrip()[:-1].strip()
    result = subprocess.run(command, shell=True, capture_output=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.decode(errors="replace").strip().splitlines()
        raise ClipError(
            source,
            f"pipe failed with exit status {result.returncode}"
            + (f": {lines[-1]}" if lines else ""),
            "Run the command by hand to see why.",
        )
    if not result.stdout:
        raise ClipError(source, "pipe printed nothing", "Run the command by hand.")
    return result.stdout


def _read_soundfile(path: str) -> Tuple[np.ndarray, int]:
    """Read a wav or flac file; what libsndfile cannot read is left to FFmpeg."""
    import soundfile

    if not Path(path).is_file() or Path(path).stat().st_size == 0:
        return _decode(path)  # says what is wrong
    try:
        with soundfile.SoundFile(path) as f:
            stated, rate = f.frames, f.samplerate
            audio = f.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return _decode(path)
    check_complete(path, "audio", len(audio) / rate, stated / rate)
    if Path(path).suffix.lower() == ".wav":
        check_wav_complete(path, len(audio) / rate)
    return audio.mean(axis=1, dtype=np.float32), rate


def check_wav_complete(path: str, seconds: float) -> None:
    """Compare a wav's length with its header's; libsndfile trusts the file's size."""
    size = Path(path).stat().st_size
    with open(path, "rb") as f:
        if f.read(12)[:4] != b"RIFF":
            return
        while len(header := f.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                there = size - f.tell()
                if length and length < _UNKNOWN_WAV_SIZE and there > 0:
                    check_complete(path, "audio", seconds, seconds * length / there)
                return
            f.seek(length + length % 2, io.SEEK_CUR)


class AudioTap:
    """Decodes the sound of a file while someone else reads its packets.

    Args:
        source: The file, as a table names it.

    Attributes:
        audio: The samples (L,), float32, and their rate in Hz, once all packets have
            been read; the very same that :func:`read_audio` returns. None where there
            was any fault: let :func:`read_audio` say which.
    """

    def __init__(self, source: str):
        self.source = source
        self.audio: Optional[Tuple[np.ndarray, int]] = None

    def __call__(self, container) -> Iterator["av.Packet"]:  # noqa: F821
        """Yield all packets of the open file."""
        decoder = None
        with _faults_end(self.source):
            decoder = _Decoder(self.source, container, stated=True)
        for packet in container.demux():
            if decoder is not None:
                fed = False
                with _faults_end(self.source):
                    decoder.feed(packet)
                    fed = True
                decoder = decoder if fed else None
            yield packet
        if decoder is not None:
            with _faults_end(self.source):
                self.audio = _checked(self.source, *decoder.finish())


@contextlib.contextmanager
def _faults_end(source: str) -> Iterator[None]:
    import av

    try:
        yield
    except (ClipError, av.error.FFmpegError) as error:
        logging.debug("%s: its sound is left to a pass of its own: %s", source, error)


class _Decoder:
    """Decodes the first audio stream of an open file, packet by packet.

    Args:
        source: The file, for messages.
        container: The open file.
        stated: Whether what the header says of the duration is to be trusted.

    Attributes:
        time: Seconds of sound that were decoded.
        length: Seconds of sound that the header states.

    Raises:
        ClipError: no audio stream.
    """

    def __init__(self, source: str, container, stated: bool):
        self.source, self.container = source, container
        self.stream = audio_stream(container)
        if self.stream is None:
            raise no_audio(source)
        self.stated = stated and states_duration(container)
        self.length = stream_duration(container, self.stream)
        self.start = float((self.stream.start_time or 0) * self.stream.time_base)
        self.pieces: List[np.ndarray] = []
        self.rate = 0
        self.end = self.time = 0.0

    def feed(self, packet: "av.Packet") -> None:  # noqa: F821
        """Decode a packet; those of other streams are only noted.

        Raises:
            ClipError: the sampling rate changes.
            av.error.FFmpegError: the packet is damaged.
        """
        self.end = max(self.end, packet_end(packet))
        if packet.stream_index != self.stream.index:
            return
        for frame in packet.decode():
            self.rate = self.rate or frame.sample_rate
            if frame.sample_rate != self.rate:
                raise ClipError(
                    self.source,
                    f"the sampling rate changes from {self.rate} to "
                    f"{frame.sample_rate} Hz in mid-stream",
                    "Convert the file to a constant rate.",
                )
            self.pieces.append(_to_mono(frame))
        self.time = max(self.time, packet_end(packet) - self.start)

    def finish(self) -> Tuple[np.ndarray, int]:
        """Return the samples (L,), float32, and the sampling rate in Hz.

        Raises:
            ClipError: truncated.
        """
        if self.stated:
            found = sum(map(len, self.pieces)) / (self.rate or 1)
            check_complete(self.source, "audio", found, self.length)
            check_container_complete(self.source, self.container, self.end)
        if not self.pieces:
            return np.zeros(0, dtype=np.float32), self.rate
        return np.concatenate(self.pieces), self.rate


def _decode(source: str, content: Optional[BinaryIO] = None) -> Tuple[np.ndarray, int]:
    """Decode the first audio stream through PyAV.

    Args:
        source: The file; with ``content`` only a name for messages.
        content: The file's bytes, where they come from a pipe. A pipe cannot know the
            duration when it writes the header, so none is expected.

    Returns:
        Mono samples (L,), float32, and the sampling rate in Hz.
    """
    import av

    with open_media(source, content) as container:
        decoder = _Decoder(source, container, stated=content is None)
        try:
            for packet in container.demux():
                decoder.feed(packet)
        except av.error.FFmpegError as error:
            tolerate_decode_error(source, "audio", decoder.time, decoder.length, error)
        return decoder.finish()


def _to_mono(frame: "av.AudioFrame") -> np.ndarray:  # noqa: F821
    """Average the channels of a decoded frame; full scale is 1.0, (L,), float32."""
    return _to_floats(frame).mean(axis=0).astype(np.float32)


def audio_frame_channels(frame: "av.AudioFrame") -> np.ndarray:  # noqa: F821
    """Return the channels of a decoded frame; full scale is 1.0, (C, L), float32."""
    return _to_floats(frame).astype(np.float32)


def _to_floats(frame: "av.AudioFrame") -> np.ndarray:  # noqa: F821
    samples = frame.to_ndarray()  # planar: (C, L); packed: (1, L * C)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
        samples = samples / scale
    return samples


def no_audio(source: str) -> ClipError:
    """Return the error for a file without a sound track."""
    return ClipError(source, "no audio stream", "A file with sound is needed.")
