"""Read the sound of any media file as mono float32; write 16-bit PCM.

Ways in: any file that :class:`AudioBlocks` reads, and commands of tables that allow
them (data/tables/table_entry.py), whose output may be any of these.
"""

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import numpy as np

from espnet2_avsep.data.audio.audio_blocks import AudioBlocks, SoundPass, no_audio
from espnet2_avsep.data.audio.track_writer import to_pcm
from espnet2_avsep.data.tables.scp import PathLike, write_file
from espnet2_avsep.data.tables.table_entry import (
    Command,
    is_command,
    refuse_command,
    run_command,
)
from espnet2_avsep.errors import InputError, clear_disk_errors
from espnet2_avsep.media.clock import packets
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.sound import DownMix, find_sound
from espnet2_avsep.media.stream import probe

FORMATS = {"wav": "WAV", "flac": "FLAC"}


def load_audio(source: str, fs: int, audio_stream: Optional[int] = None) -> np.ndarray:
    """Read a sound as mono at a given rate.

    Args:
        source: A media file, or a Command of data/tables/table_entry.py.
        fs: Sampling rate to resample to in Hz.
        audio_stream: Which audio stream, from 1; None: see media.sound.find_sound.

    Returns:
        The mean over the channels, float32, (L,).

    Raises:
        ClipError: missing, unreadable, no audio stream, truncated, without samples,
            holding NaN or infinite samples, or a command that failed.
        InputError: a command that was not allowed.
    """
    audio, rate = read_audio(source, audio_stream)
    return resample(audio, rate, fs)


def read_audio(
    source: str, audio_stream: Optional[int] = None
) -> Tuple[np.ndarray, int]:
    """Read a sound as mono at its own rate; see :func:`load_audio`.

    What is unusual (holes, undecodable packets, channels that cancel) is logged.

    Returns:
        The samples, float32, (L,), and the sampling rate in Hz.
    """
    refuse_command(source, "table of sounds")
    if not isinstance(source, Command):
        return _mono(AudioBlocks(source, audio_stream), source)
    with tempfile.NamedTemporaryFile(prefix="avsep_pipe_") as f:
        f.write(run_command(source))
        f.flush()
        try:
            blocks = AudioBlocks(f.name, audio_stream)
            return _mono(blocks, source)
        except ClipError as error:
            raise ClipError(source, error.reason, "Run the command by hand.") from error


def _mono(blocks: AudioBlocks, source: str) -> Tuple[np.ndarray, int]:
    mix = DownMix()
    pieces = [mix(block) for block in blocks]
    _log_notes(source, [*blocks.notes, mix.note()])
    return np.concatenate(pieces), blocks.fs


def _log_notes(source: str, notes: List[str]) -> None:
    for note in filter(None, notes):
        logging.warning("%s: %s", source, note)


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


def audio_span(source: str, audio_stream: Optional[int] = None) -> Tuple[float, float]:
    """Return the duration of a sound and its start on its file's clock, both in s.

    From the header where that states it exactly, else by decoding.

    Raises:
        ClipError: as for :func:`load_audio`.
    """
    if is_command(source):
        audio, rate = read_audio(source, audio_stream)
        return len(audio) / rate, 0.0
    info = probe(source, audio_stream)
    if info.audio_duration is not None:
        return info.audio_duration, info.audio_start
    blocks = AudioBlocks(source, audio_stream)  # says what is wrong
    return sum(block.shape[-1] for block in blocks) / blocks.fs, blocks.start


def to_pcm16(audio: np.ndarray) -> Tuple[np.ndarray, int]:
    """Return :func:`to_pcm` of 16 bits as int16."""
    samples, clipped = to_pcm(audio, 16)
    return samples.astype(np.int16), clipped


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
    with clear_disk_errors(path):
        write_file(path, content.getvalue())
    return clipped


class AudioTap:
    """Decodes the sound of a file while someone else reads its packets.

    Args:
        source: The file, as a table names it.
        audio_stream: As for :func:`read_audio`.

    Attributes:
        audio: The samples (L,), float32, and their rate in Hz, once all packets have
            been read; the very same that :func:`read_audio` returns. None where there
            was any fault: let :func:`read_audio` say which.
    """

    def __init__(self, source: str, audio_stream: Optional[int] = None):
        self.source, self.audio_stream = source, audio_stream
        self.audio: Optional[Tuple[np.ndarray, int]] = None

    def __call__(self, container) -> Iterator["av.Packet"]:  # noqa: F821
        """Yield all packets of the open file."""
        reading: Optional[SoundPass] = None
        mix, pieces = DownMix(), []
        with _faults_end(self.source):
            stream = find_sound(self.source, self.audio_stream)
            if stream is None:
                raise no_audio(self.source)
            reading = SoundPass(self.source, container, stream.index)
        for packet in packets(container):
            if reading is not None:
                fed = False
                with _faults_end(self.source):
                    pieces += map(mix, reading.feed(packet))
                    fed = True
                reading = reading if fed else None
            yield packet
        if reading is None or not pieces:
            return
        with _faults_end(self.source):
            notes = [stream.note, *reading.finish(), mix.note()]
            audio = np.concatenate(pieces)
            if np.isfinite(audio).all():
                _log_notes(self.source, notes)
                self.audio = audio, reading.decoder.fs


@contextlib.contextmanager
def _faults_end(source: str) -> Iterator[None]:
    try:
        yield
    except ClipError as error:
        logging.debug("%s: its sound is left to a pass of its own: %s", source, error)
