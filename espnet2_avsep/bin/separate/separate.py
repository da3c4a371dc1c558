"""Separate recordings or videos: one track per query, and everything else.

Writes to --out: a sound file per query and ``residual``, everything else (24 bits, at
the input's rate, channels and length; together they add up to the input), where the
input has a picture an mp4 per track, spectrogram pictures, result.json and index.html,
a page with players. Files that are there already are replaced only if a former run
wrote them; an input never is.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import time
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

from espnet2_avsep.cli.command import str2bool
from espnet2_avsep.cli.query_options import add_query_arguments
from espnet2_avsep.device import check_device, choose_device
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.query import (
    RULE,
    Query,
    describe,
    is_picture,
    parse_queries,
)
from espnet2_avsep.sharing.default_model import MODEL_HELP, choose_model

if TYPE_CHECKING:
    from espnet2_avsep.data.records.output_folder import OutputFolder
    from espnet2_avsep.inference.file_separation import SeparatedFile
    from espnet2_avsep.inference.separate import SeparateAV

PAGE, RESULT, MIXTURE = "index.html", "result.json", "mixture"
FORMATS = ("wav", "flac", "float", "mp3")
INTERRUPTED = (
    "interrupted. Recordings that were finished are complete; run the same command "
    "again for the others."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the sub-command."""
    parser.epilog = f"{RULE}\n\n{parser.epilog}"
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="input",
        help="a video or a sound file, of any rate and length; the queries hold for "
        "each of several",
    )
    add("--model", help=MODEL_HELP)
    add(
        "--out",
        help="folder of what is written (default: ./<input>_tracks); of several "
        "inputs, gets a folder <input>_tracks for each",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace files in --out that no former run of this command wrote",
    )
    add_query_arguments(
        parser,
        "what to separate; repeat it for every source (see below)",
        ", as for a duet",
    )
    add(
        "--classes",
        nargs="+",
        help="the class of each source, for models that ask for it",
    )
    add(
        "--channels",
        choices=("each", "mean"),
        default="each",
        help="each: tracks have the channels of the input, separated with the masks of "
        "their mean (default); mean: tracks of the mean of the channels",
    )
    add(
        "--bandwidth",
        choices=("full", "model"),
        default="full",
        help="full: what the input has above the model's band is shared among tracks "
        "and residual in proportion to what they have just below it (default); model: "
        "it goes to the residual",
    )
    add(
        "--audio_stream",
        type=int,
        metavar="N",
        help="which audio stream of a file with several, from 1 (default: the first "
        "with the default flag that can be decoded)",
    )
    add(
        "--format",
        choices=FORMATS,
        default="wav",
        help="wav: 24 bits (default); flac: 24 bits; float: wav of 32 bits, in which "
        "nothing is clipped; mp3: small, tracks add up to the input only roughly",
    )
    add(
        "--chunk",
        type=float,
        metavar="S",
        help="seconds that the network sees at once (default: the training's segment)",
    )
    add(
        "--shift_invariant",
        type=str2bool,
        default=False,
        help="let U-Nets treat all frames alike: tracks of long recordings then do not "
        "depend on the chunks, and masks differ from the published networks' (default: "
        "false)",
    )
    add(
        "--binary_mask",
        type=str2bool,
        default=False,
        help="round masks to 0 or 1 (default: false)",
    )
    add(
        "--mixture_consistency",
        type=str2bool,
        default=False,
        help="share what the tracks leave of the input equally among them, where every "
        "source has a query: the residual is then silent in the model's band (default: "
        "false)",
    )
    add(
        "--stop_db",
        type=float,
        metavar="DB",
        help="of models that take one source after the other (mp_net): sources are "
        "silent, and what is left goes to the residual, once it is below this level of "
        "the recording, e.g. -20 (default: none is)",
    )
    add(
        "--device",
        default="auto",
        help="auto (default: a GPU where there is one), cpu, cuda, cuda:1",
    )
    add("--mp4", type=str2bool, default=True, help="write videos (default: true)")
    add("--page", type=str2bool, default=True, help="write the page (default: true)")
    add(
        "--embed_seconds",
        type=float,
        default=60,
        help="recordings up to this long are put into the page itself; of longer ones "
        "it links the files beside it (default: 60)",
    )
    add(
        "--json",
        action="store_true",
        help="print result.json (of several inputs a list), and no progress",
    )


class _Job(NamedTuple):
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


def run(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    for name in ("every", "embed_seconds"):
        if not 0 <= getattr(args, name) < 1e6:
            raise InputError(f"--{name} {getattr(args, name)}: expected seconds, >= 0.")
    if args.chunk is not None and not 0 < args.chunk < 1e6:
        raise InputError(f"--chunk {args.chunk}: expected seconds, > 0.")
    check_device(args.device)
    args.model, reason = choose_model(args.model)
    folders = _output_folders([Path(name) for name in args.inputs], args.out)
    jobs = [_job(source, folder, args) for source, folder in folders.items()]
    _tell(args, f"model: {args.model}{f' ({reason})' if reason else ''}")
    from espnet2_avsep.sharing.source import find_model

    files = find_model(args.model)
    if any(query.kind == "text" for query in jobs[0].queries):
        _check_text(files.config.parent / "visual_info.yaml")

    from espnet2_avsep.inference.separate import SeparateAV

    separate = SeparateAV.from_pretrained(
        files.config,
        model_file=files.weights,
        device=str(choose_device(args.device)),
        binary_mask=args.binary_mask,
        stop_db=args.stop_db,
        shift_invariant=args.shift_invariant,
        mixture_consistency=args.mixture_consistency,
    )
    if any(query.kind in ("picture", "region") for query in jobs[0].queries):
        _tell(args, "loading the encoder of the pictures ...")
    elif any(query.kind == "text" for query in jobs[0].queries):
        _tell(args, "loading the encoder of the words ...")
    results, failed = [], []
    for number, job in enumerate(jobs, 1):
        title = f"separate {number}/{len(jobs)}" if len(jobs) > 1 else "separate"
        try:
            with _Bar(title, quiet=args.json) as bar:
                result = _separate(job, separate, args, bar)
        except InputError as error:
            if len(jobs) == 1:
                raise
            print(f"error: {error}", file=sys.stderr)
            failed.append(str(job.source))
            continue
        results.append(result)
        if not args.json:
            print(_summary(job.outputs.folder, result), flush=True)
    if args.json:
        shown = results if len(jobs) > 1 else results[0]
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    if failed:
        raise InputError(
            f"{len(failed)} of {len(jobs)} recordings could not be separated, see "
            f"above: {', '.join(failed)}."
        )
    return 0


def _output_folders(sources: List[Path], out: Optional[str]) -> Dict[Path, Path]:
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


def _job(source: Path, out: Path, args: argparse.Namespace) -> _Job:
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
        out, "separate", [source, args.model, *files], args.overwrite
    )
    outputs.check(_file_names([q.name for q in queries], args, video is not None))
    return _Job(source, video, queries, outputs)


def _check_text(path: Path) -> None:
    """Raise where a model takes no words, as its visual_info.yaml says."""
    from espnet2_avsep.visual.encoder_info import read_info, text_refusal

    refusal = text_refusal(path, read_info(path))
    if refusal is not None:
        raise InputError(refusal)


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
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(list(words))
    ((source, folder),) = _output_folders(
        [Path(name) for name in args.inputs], args.out
    ).items()
    with _Bar("", quiet=True, report=report) as bar:
        job = _job(source, folder, args)
        return folder, _separate(job, separate, args, bar, max_seconds)


def _separate(
    job: _Job,
    separate: "SeparateAV",
    args: argparse.Namespace,
    bar: "_Bar",
    max_seconds: Optional[float] = None,
) -> Dict[str, Any]:
    """Separate a recording and write all its files; return what result.json holds."""
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
    _write_text(outputs.folder / RESULT, text + "\n")
    outputs.add(RESULT)
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


def _tell(args: argparse.Namespace, text: str) -> None:
    if not args.json:
        print(text, file=sys.stderr, flush=True)


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


def _file_names(names: List[str], args: argparse.Namespace, video: bool) -> List[str]:
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
    from espnet2_avsep.figures.spectrogram import canvas, levels, write_picture
    from espnet2_avsep.streaming.spectrogram import COLUMNS, pooled_spectrogram

    shared = None
    sounds = {MIXTURE: source, **found.tracks}
    for number, (name, path) in enumerate(sounds.items()):
        progress(number, len(sounds))
        blocks = AudioBlocks(path, audio_stream if path == source else None)
        magnitude = pooled_spectrogram(blocks, found.samples)
        shared = shared or canvas(magnitude)
        picture = outputs.folder / f"{name}.png"
        write_picture(picture, levels(magnitude, shared), columns=COLUMNS)
        outputs.add(f"{name}.png")
        result.setdefault(name, {})["spectrogram"] = f"{name}.png"


def _write_page(out: Path, result: Dict, job: _Job, embed: bool, start: float) -> None:
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
    _write_text(out / PAGE, text)


def _write_text(path: Path, text: str) -> None:
    from espnet2_avsep.data.tables.scp import atomic_write

    with atomic_write(path) as f:
        f.write(text.encode("utf-8", "replace").decode("utf-8"))


def _summary(out: Path, result: Dict) -> str:
    lines = [
        f"{result['input']}: {result['seconds']:.1f} s separated in "
        f"{result['computing_seconds']:.1f} s"
    ]
    for name, files in result["tracks"].items():
        if "sound" in files:
            lines.append(f"  {name}: {out / files['sound']}")
    clipped = sum(result["clipped"].values())
    if clipped:
        lines.append(f"  {clipped} samples exceeded full scale and were clipped")
    if "page" in result:
        lines.append(f"listen and look: {out / result['page']}")
    return "\n".join(lines)


# Is told how much is done, and of how much (None: not known).
Progress = Callable[[float, Optional[float]], None]


class _Bar:
    """A progress bar on stderr over all the work on a recording.

    Log lines go above it. The parts of the work have fixed shares of the bar.
    ``report`` is told the part and the share of the work that is done.
    """

    def __init__(
        self,
        title: str,
        quiet: bool,
        report: Optional[Callable[[str, float], None]] = None,
    ):
        self._title, self._quiet, self._report = title, quiet, report
        self._done, self._what = 0.0, ""
        self._bar: Any = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Bar":
        if not self._quiet:
            from tqdm import tqdm
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._stack.enter_context(logging_redirect_tqdm())
            self._bar = tqdm(
                total=1.0,
                desc=self._title,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}",
                file=sys.stderr,
            )
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        self._stack.close()
        if self._bar is not None:
            if kind is None:
                self._move(1.0)
            self._bar.close()

    def part(self, what: str, end: float) -> Progress:
        """Begin a part of the work; return what to tell its progress.

        Args:
            what: It is called.
            end: Share of all the work, in [0, 1], that is done when it has ended.
        """
        begin, self._what = self._done, what
        if self._bar is not None:
            self._bar.set_postfix_str(what)

        def progress(done: float, total: Optional[float]) -> None:
            # Decoded sound may be a little longer than the file states.
            share = min(1.0, done / total) if total else 0.0
            self._move(begin + share * (end - begin))

        self._done = end
        return progress

    def _move(self, to: float) -> None:
        if self._report is not None:
            self._report(self._what, to)
        if self._bar is not None:
            self._bar.update(max(0.0, to - self._bar.n))
