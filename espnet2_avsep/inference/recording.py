"""What ``avsep separate`` and the demo do with a recording: all files of its tracks."""

import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from espnet2_avsep.cli.options import get_parser, option, parse
from espnet2_avsep.cli.shared_options import (
    AudioStream,
    Device,
    Json,
    Model,
    Overwrite,
    Queries,
    QuietLog,
)
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.progress_bar import Progress, ProgressBar
from espnet2_avsep.inference.query import (
    Query,
    describe,
    is_picture,
    parse_queries,
)

if TYPE_CHECKING:
    from espnet2_avsep.data.records.output_folder import OutputFolder
    from espnet2_avsep.inference.file_separation import SeparatedFile
    from espnet2_avsep.inference.separate import SeparateAV

PAGE, RESULT, MIXTURE = "index.html", "result.json", "mixture"
FORMATS = ("wav", "flac", "float", "mp3")
# Of a spectrogram; the log-frequency axis then skips three bins of the FFT at most.
_ROWS = 512


@dataclass(kw_only=True)
class SeparationOptions(Queries, Model, Overwrite, AudioStream, Device, Json, QuietLog):
    """What to separate, and how."""

    inputs: List[str] = option(
        ...,
        "a video or a sound file, of any rate and length; the queries hold for each "
        "of several",
        positional=True,
        metavar="input",
    )
    out: Optional[str] = option(
        None,
        "folder of what is written (default: ./<input>_tracks); of several inputs, "
        "gets a folder <input>_tracks for each",
    )
    classes: Optional[List[str]] = option(
        None, "the class of each source, for models that ask for it"
    )
    channels: str = option(
        "each",
        "each: tracks have the channels of the input, separated with the masks of "
        "their mean (default); mean: tracks of the mean of the channels",
        choices=("each", "mean"),
    )
    bandwidth: str = option(
        "full",
        "full: what the input has above the model's band is shared among tracks and "
        "residual in proportion to what they have just below it (default); model: it "
        "goes to the residual",
        choices=("full", "model"),
    )
    format: str = option(
        "wav",
        "wav: 24 bits (default); flac: 24 bits; float: wav of 32 bits, in which "
        "nothing is clipped; mp3: small, tracks add up to the input only roughly",
        choices=FORMATS,
    )
    chunk: Optional[float] = option(
        None,
        "seconds that the network sees at once (default: the training's segment, or "
        "more where the network's context is known); with twice the segment, "
        "U-Nets take about half the time, and more memory",
        above=0,
        most=1_000_000,
        metavar="S",
    )
    shift_invariant: bool = option(
        False,
        "let U-Nets treat all frames alike: tracks of long recordings then do not "
        "depend on the chunks, and masks differ from the published networks' ",
    )
    binary_mask: bool = option(False, "round masks to 0 or 1 (default: false)")
    mixture_consistency: bool = option(
        False,
        "share what the tracks leave of the input equally among them, where every "
        "source has a query: the residual is then silent in the model's band ",
    )
    stop_db: Optional[float] = option(
        None,
        "of models that take one source after the other: sources are silent, "
        "and what is left goes to the residual, once it is below this level of the "
        "recording, e.g. -20 (default: none is)",
        metavar="DB",
        least=-300,
        most=0,
    )
    picture_dtype: str = option(
        "auto",
        "precision of the pictures' encoder; auto: bfloat16 where the device computes "
        "faster in it, which changes the tracks by about -60 dB",
        choices=("auto", "float32", "bfloat16"),
    )
    mp4: bool = option(True, "write videos (default: true)")
    page: bool = option(True, "write the page (default: true)")
    embed_seconds: float = option(
        60,
        "recordings up to this long are put into the page itself; of longer ones it "
        "links the files beside it",
        least=0,
        most=1_000_000,
    )


class Job(NamedTuple):
    """A recording that can be separated, as far as that shows before it is done.

    Attributes:
        source: The file.
        video: The same file, where it has a picture.
        queries: What to separate.
        outputs: Its output folder.
    """

    source: Path
    video: Optional[Path]
    queries: List[Query]
    outputs: "OutputFolder"


def output_folders(sources: List[Path], out: Optional[str]) -> Dict[Path, Path]:
    """Return the output folder of each input.

    Raises:
        InputError: an input is given twice, or two would have the same folder.
    """
    if len(sources) == 1 and out is not None:
        return {sources[0]: Path(out)}
    found: Dict[Path, Path] = {}
    for source in sources:
        folder = Path(out or "") / f"{source.stem}_tracks"
        others = [name for name, each in found.items() if each == folder]
        if others:
            raise InputError(
                f"{source} and {others[0]}: both would be written to {folder}; "
                "separate them one by one, each with its own --out."
            )
        found[source] = folder
    return found


def prepare_job(source: Path, out: Path, args: SeparationOptions) -> Job:
    """Check an input and its output folder.

    Raises:
        InputError: it has no sound, a query makes no sense, something would be lost.
    """
    _check_output(out)
    from espnet2_avsep.data.records.output_folder import OutputFolder
    from espnet2_avsep.media.stream import probe

    info = probe(source, args.audio_stream)
    if not info.has_audio:
        raise InputError(f"{source}: has no sound; there is nothing to separate.")
    video = source if info.has_video else None
    queries = parse_queries(
        *(args.query, video, args.every or None, args.sources, args.audio_stream)
    )
    _check_spans(queries, source, info.audio_duration)
    files = [path for query in queries for path in query.files]
    outputs = OutputFolder(
        out, "separate", [source, str(args.model), *files], args.overwrite
    )
    outputs.check(_file_names([q.name for q in queries], args, video is not None))
    return Job(source, video, queries, outputs)


def separate_one(
    separate: "SeparateAV",
    words: Sequence[str],
    report: Callable[[str, float], None],
    max_seconds: Optional[float] = None,
) -> Tuple[Path, Dict[str, Any]]:
    """Separate one recording as the command does, with a model that is loaded already.

    Args:
        separate: The model.
        words: The command line; --model names what ``separate`` was made from.
        report: Is told what is being done, and the share of all the work that is done.
        max_seconds: Longer recordings are refused.

    Returns:
        The folder of the files, and what result.json holds.

    Raises:
        InputError: the recording, or a query, cannot be used.
    """
    args = parse(get_parser(SeparationOptions, "separate"), SeparationOptions, words)
    ((source, folder),) = output_folders(
        [Path(name) for name in args.inputs], args.out
    ).items()
    with ProgressBar("", quiet=True, report=report) as bar:
        job = prepare_job(source, folder, args)
        return folder, separate_job(job, separate, args, bar, max_seconds)


def separate_job(
    job: Job,
    separate: "SeparateAV",
    args: SeparationOptions,
    bar: "ProgressBar",
    max_seconds: Optional[float] = None,
) -> Dict[str, Any]:
    """Separate a recording and write all its files; return what result.json holds."""
    from espnet2_avsep.data.tables.key_check import shorten
    from espnet2_avsep.data.tables.scp import write_file
    from espnet2_avsep.inference.file_separation import separate_file
    from espnet2_avsep.inference.separate import Chunking

    source, video, queries, outputs = job
    begin = time.monotonic()
    found = separate_file(
        separate,
        source,
        [query.prompt for query in queries],
        outputs.folder,
        [query.name for query in queries],
        classes=args.classes,
        audio_format=args.format,
        channels=args.channels,
        chunking=Chunking(args.chunk),
        bandwidth=args.bandwidth,
        audio_stream=args.audio_stream,
        progress=bar.part("sound", 0.8 if args.mp4 and video is not None else 0.95),
        max_seconds=max_seconds,
    )
    outputs.add(*(path.name for path in found.tracks.values()))
    outputs.discard([RESULT, PAGE, *(f"{name}.mp4" for name in found.tracks)])
    seconds = found.samples / found.fs
    result: Dict[str, Any] = {
        "input": str(source),
        "model": str(args.model),
        "weights_sha256": separate.weights_sha256,
        "fs": found.fs,
        "model_fs": separate.sample_rate,
        "bandwidth": args.bandwidth,
        "channels": found.channels,
        "samples": found.samples,
        "seconds": round(seconds, 3),
        "computing_seconds": round(time.monotonic() - begin, 3),
        "queries": describe(queries),
        "tracks": {name: {"sound": path.name} for name, path in found.tracks.items()},
        "clipped": found.clipped,
        "notes": list(found.notes),
    }
    if args.mp4 and video is not None:
        _write_videos(video, found, result, outputs, bar.part("videos", 0.95))
    tracks = result["tracks"]
    progress = bar.part("spectrograms", 1.0)
    _draw(source, args.audio_stream, found, tracks, outputs, progress)
    if args.page:
        result["page"] = PAGE
        embed = seconds <= args.embed_seconds
        _write_page(outputs.folder, result, job, embed, found.start)
        outputs.add(PAGE)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    write_file(outputs.folder / RESULT, f"{text}\n".encode("utf-8", "replace"))
    outputs.add(RESULT)
    names = [query.name for query in queries]
    others = outputs.left_over(_file_names(names, args, video is not None))
    if others:
        logging.warning(
            "%s: also holds files of former runs, which do not belong to these tracks: "
            "%s",
            outputs.folder,
            shorten(others),
        )
    return result


def _check_spans(queries: List[Query], source: Path, seconds: Optional[float]) -> None:
    """Raise where a query's time span begins after the end of the recording."""
    for query in queries:
        for begin, _ in getattr(query.prompt, "spans", ()):
            if seconds is not None and begin >= seconds:
                raise InputError(
                    f"--query {query.text!r:.200}: a time span begins at {begin:g} s, "
                    f"and {source} lasts {seconds:.2f} s."
                )


def _check_output(out: Path) -> None:
    """Raise where a folder cannot be made or written, before anything is computed."""
    try:
        wrong = out.exists() and not out.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(f"--out {str(out)[:80]!r}: no folder can be called so.") from (
            error
        )
    if wrong or "\0" in str(out):
        raise InputError(f"--out {out}: is no folder; choose another name.")
    there = next(p for p in (out, *out.absolute().parents) if os.path.lexists(p))
    if not there.is_dir():
        raise InputError(f"--out {out}: {there} is no folder; choose another name.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: {there} cannot be written; choose another.")


def _file_names(names: List[str], args: SeparationOptions, video: bool) -> List[str]:
    """Return the names of all files that are going to be written for some queries."""
    from espnet2_avsep.data.audio.track_writer import TRACK_FORMATS
    from espnet2_avsep.inference.file_separation import track_names

    names = track_names(names, len(names))
    found = [f"{name}{TRACK_FORMATS[args.format].suffix}" for name in names]
    if args.mp4 and video:
        found += [f"{name}.mp4" for name in names]
    found += [f"{name}.png" for name in (MIXTURE, *names)]
    return [*found, RESULT, *([PAGE] if args.page else [])]


def _write_videos(
    video: Path,
    found: "SeparatedFile",
    result: Dict,
    outputs: "OutputFolder",
    progress: "Progress",
) -> None:
    """Write a video of each track; one that cannot be written is noted."""
    from espnet2_avsep.data.audio.video_writer import write_video

    for number, (name, sound) in enumerate(found.tracks.items()):
        progress(number, len(found.tracks))
        path = sound.with_name(f"{name}.mp4")
        try:
            copied = write_video(video, sound, path, found.start)
        except InputError as error:
            logging.warning("no video of the track %s: %s", name, error)
            result["notes"].append(f"no video of the track {name}: {error}")
            continue
        outputs.add(path.name)
        result["tracks"][name]["video"] = path.name
        result["tracks"][name]["picture_copied"] = copied


def _draw(
    source: Path,
    audio_stream: Optional[int],
    found: "SeparatedFile",
    result: Dict,
    outputs: "OutputFolder",
    progress: "Progress",
) -> None:
    """Draw all spectrograms on one scale: 0 dB is the mixture's largest value."""
    from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
    from espnet2_avsep.figures.spectrogram import (
        canvas,
        levels,
        log_rows,
        write_picture,
    )
    from espnet2_avsep.streaming.spectrogram import COLUMNS, pooled_spectrogram

    shared = None
    sounds = {MIXTURE: source, **found.tracks}
    for number, (name, path) in enumerate(sounds.items()):
        progress(number, len(sounds))
        blocks = AudioBlocks(path, audio_stream if path == source else None)
        magnitude = log_rows(pooled_spectrogram(blocks, found.samples), _ROWS)
        shared = shared or canvas(magnitude)
        picture = outputs.folder / f"{name}.png"
        write_picture(picture, levels(magnitude, shared), columns=COLUMNS)
        outputs.add(f"{name}.png")
        result.setdefault(name, {})["spectrogram"] = f"{name}.png"


def _write_page(out: Path, result: Dict, job: Job, embed: bool, start: float) -> None:
    from espnet2_avsep.data.tables.scp import write_file
    from espnet2_avsep.inference.prompts import During, Region
    from espnet2_avsep.report.separation_page import Shown, separation_page

    queries = {}
    for query in job.queries:
        prompt = query.prompt
        prompt = prompt.prompt if isinstance(prompt, During) else prompt
        box = prompt.box_at(0.0) if isinstance(prompt, Region) else None
        pictures = [path for path in query.files if is_picture(path)]
        queries[query.name] = Shown(query.text, box, pictures)
    text = separation_page(result, queries, out, embed, job.video, start)
    write_file(out / PAGE, text.encode("utf-8", "replace"))
