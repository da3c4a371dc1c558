"""From a file to the files of its tracks, at constant memory."""

import contextlib
import dataclasses
import itertools
import logging
import math
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
)

import numpy as np

from espnet2_avsep.data.audio.audio_blocks import AudioBlocks, long_enough
from espnet2_avsep.data.audio.track_writer import TRACK_FORMATS, TrackWriter
from espnet2_avsep.data.records.output_folder import protect
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError, shown
from espnet2_avsep.inference.prompts.abs_prompt import prompt_files
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.sound import DownMix
from espnet2_avsep.media.stream import measure
from espnet2_avsep.streaming.chunked import Chunking

if TYPE_CHECKING:
    from espnet2_avsep.inference.separate import SeparateAV

RESIDUAL = "residual"


@dataclasses.dataclass(frozen=True)
class SeparatedFile:
    """What was written.

    Attributes:
        tracks: Name of each track -> its file; the residual is the last one.
        fs: Sampling rate in Hz.
        samples: Length of each.
        channels: Of each track.
        clipped: Name of each track -> samples that exceeded full scale.
        start: Time of the first sample on the source's clock in s.
        notes: What is unusual about the source's sound or the tracks, a sentence each.
    """

    tracks: Dict[str, Path]
    fs: int
    samples: int
    channels: int
    clipped: Dict[str, int]
    start: float = 0.0
    notes: Sequence[str] = ()


def separate_file(
    separate: "SeparateAV",
    source: PathLike,
    prompts: Sequence[Any],
    output_dir: PathLike,
    names: Optional[Sequence[str]] = None,
    classes: Optional[Sequence[str]] = None,
    audio_format: str = "wav",
    channels: str = "mean",
    chunking: Optional[Chunking] = None,
    audio_stream: Optional[int] = None,
    progress: Optional[Callable[[float, Optional[float]], None]] = None,
    max_seconds: Optional[float] = None,
    bandwidth: str = "model",
) -> SeparatedFile:
    """Separate the sound of any media file into files of its rate and length.

    Writes a file for each prompt, and ``residual`` with everything else, of 24 bits.
    They add up to the sound (to the mean of its channels, or to each channel) if it has
    at most 24 bits and no sample was clipped. The files appear together at the end; a
    run that fails leaves none.

    Args:
        separate: The separator.
        source: A sound or a video file.
        prompts: As for SeparateAV.__call__.
        output_dir: Gets <name>.wav, .flac or .mp3; made where missing.
        names: Of the tracks; None takes track1, track2, ...
        classes: As for SeparateAV.__call__.
        audio_format: "wav" or "flac" (24 bits), "float" (wav, 32 bits, nothing is
            clipped) or "mp3" (lossy: the sum holds approximately).
        channels: As for SeparateAV.__call__.
        chunking: As for SeparateAV.stream.
        audio_stream: Number, from 1, of the audio stream to separate, of files with
            several; None: the first with the default flag that can be decoded.
        progress: Called with the seconds that are done and their total (None: not
            known).
        max_seconds: Longer recordings are refused, by the header or, where that states
            another length, before more than this is decoded. None: no limit.
        bandwidth: As for SeparateAV.__call__.

    Returns:
        What was written.

    Raises:
        InputError: the file cannot be read to its end, a prompt cannot be used, or the
            source or a prompt's file would be overwritten.
    """
    prompts = list(prompts)
    names = track_names(names, len(prompts))
    if audio_format not in TRACK_FORMATS:
        raise InputError(
            f"audio_format={audio_format!r}: expected one of "
            f"{', '.join(TRACK_FORMATS)}."
        )
    suffix = TRACK_FORMATS[audio_format].suffix
    paths = [Path(output_dir) / f"{name}{suffix}" for name in names]
    files = [file for prompt in prompts for file in prompt_files(prompt)]
    protect(paths, [source, *files])
    blocks = AudioBlocks(source, audio_stream)
    number = 1 if channels == "mean" else blocks.channels
    limit = math.inf if max_seconds is None else max_seconds
    _check_seconds(source, (blocks.length or 0) / blocks.fs, limit)
    length = blocks.length
    if length is None and max_seconds is None:
        length = measure(source, audio_stream).samples
    mix = DownMix()
    tracks = separate.stream(
        _pieces(
            *(blocks, length, mix, channels == "mean", progress, limit),
            separate.shortest,
        ),
        prompts,
        blocks.fs,
        classes=classes,
        channels=channels,
        residual=True,
        chunking=chunking,
        bandwidth=bandwidth,
    )
    first = next(tracks)  # what cannot be used shows before a file is opened
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    samples = 0
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                TrackWriter(path, blocks.fs, number, length, audio_format)
            )
            for path in paths
        ]
        for stretch in itertools.chain([first], tracks):
            for writer, track in zip(writers, stretch, strict=True):
                writer.write(track)
            samples += stretch.shape[-1]
    notes = list(blocks.notes)
    if mix.note():
        hint = "--channels each (channels='each') keeps them"
        if channels != "mean":
            hint = "the model hears their mean, so the tracks are not reliable"
        notes.append(f"{mix.note()}; {hint}")
    clipped = {
        name: writer.clipped for name, writer in zip(names, writers, strict=True)
    }
    loud = [f"{name} {count}" for name, count in clipped.items() if count]
    if loud:
        notes.append(
            f"samples that exceed full scale were clipped ({', '.join(loud)}), where "
            "the tracks do not add up to the input; --format float "
            "(audio_format='float') keeps them"
        )
    for note in notes:
        logging.warning("%s: %s", source, note)
    return SeparatedFile(
        {name: writer.path for name, writer in zip(names, writers, strict=True)},
        blocks.fs,
        samples,
        number,
        clipped,
        blocks.start,
        notes,
    )


def _check_seconds(source: PathLike, seconds: float, limit: float) -> None:
    if seconds > limit:
        raise ClipError(
            source,
            f"has more than {limit:g} s of sound",
            "Cut it, or allow more with --max_seconds.",
        )


def track_names(names: Optional[Sequence[str]], number: int) -> List[str]:
    """Return the names of the tracks of some prompts, and of the residual.

    Args:
        names: Of the tracks; None takes track1, track2, ...
        number: Of prompts.

    Raises:
        InputError: not as many different names as prompts, or one that is no name of
            a file in the output folder.
    """
    if names is None:
        names = [f"track{n}" for n in range(1, number + 1)]
    names = [*names, RESIDUAL]
    if len(set(names)) != number + 1:
        raise InputError(
            f"names={names[:-1]!r}: expected {number} different names, none of them "
            f"{RESIDUAL}."
        )
    for name in names:
        if Path(f"{name}").name != f"{name}" or name == "" or "\0" in f"{name}":
            raise InputError(
                f"names: {shown(name)} is no name of a file; expected one without '/'."
            )
    return names


def _pieces(
    blocks: AudioBlocks,
    length: Optional[int],
    mix: DownMix,
    mean: bool,
    progress: Optional[Callable[[float, Optional[float]], None]],
    limit: float,
    shortest: float,
) -> Iterator[np.ndarray]:
    """Yield blocks, averaged by ``mix`` for ``mean``, and report the progress.

    Raises:
        ClipError: there are more than ``limit`` or less than ``shortest`` seconds.
    """
    total = None if length is None else length / blocks.fs
    done = 0
    for block in long_enough(blocks, shortest):
        _check_seconds(blocks.path, (done + block.shape[-1]) / blocks.fs, limit)
        averaged = mix(block)
        yield averaged[None] if mean else block
        done += block.shape[-1]
        if progress is not None:
            seconds = done / blocks.fs
            progress(seconds if total is None else min(seconds, total), total)
