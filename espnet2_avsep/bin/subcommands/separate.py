"""Separate a recording or a video: one track per query, and what they leave.

Writes to --out: a sound file per query and residual (24 bits, at the input's rate and
length; together they add up to the input), where the input has a picture an mp4 per
track, spectrogram pictures, result.json and index.html, a page with players. Files
that are there already are replaced only if a former run wrote them; an input never is.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from espnet2_avsep.bin.cli import str2bool
from espnet2_avsep.bin.subcommands.query import RULE, Query, describe, parse_queries
from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    from espnet2_avsep.data.output_folder import OutputFolder
    from espnet2_avsep.file_separation import SeparatedFile

PAGE, RESULT, MIXTURE = "index.html", "result.json", "mixture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the sub-command."""
    parser.epilog = f"{RULE}\n\n{parser.epilog}"
    add = parser.add_argument
    add("input", help="a video or a sound file, of any rate and length")
    add(
        "--model",
        required=True,
        help="folder of a training (exp/avsep_<tag>), packed model (zip), or user/name "
        "on the Hugging Face hub",
    )
    add("--out", required=True, help="folder of what is written")
    add(
        "--overwrite",
        action="store_true",
        help="replace files in --out that no former run of this command wrote",
    )
    add(
        "--query",
        action="append",
        default=[],
        metavar="Q",
        help="what to separate; repeat it for every source (see below)",
    )
    add(
        "--sources",
        choices=("left-right",),
        help="left-right: the left and the right half of the picture, as for a duet",
    )
    add(
        "--classes",
        nargs="+",
        help="the class of each source, for models that ask for it",
    )
    add(
        "--every",
        type=float,
        default=1.0,
        help="seconds between looks at a region (default: 1); 0: one look, held",
    )
    add(
        "--channels",
        choices=("mean", "each"),
        default="mean",
        help="mean: tracks of the mean of the channels (default); each: of each, with "
        "the masks of their mean",
    )
    add(
        "--audio_stream",
        type=int,
        metavar="N",
        help="which audio stream of a file with several, from 1 (default: the first "
        "with the default flag that can be decoded)",
    )
    add("--format", choices=("wav", "flac"), default="wav", help="(default: wav)")
    add(
        "--chunk",
        type=float,
        metavar="S",
        help="seconds that the network sees at once (default: the training's segment)",
    )
    add(
        "--binary_mask",
        type=str2bool,
        default=False,
        help="round masks to 0 or 1 (default: false)",
    )
    add("--device", default="cpu", help="cpu (default), cuda, cuda:1")
    add("--mp4", type=str2bool, default=True, help="write videos (default: true)")
    add("--page", type=str2bool, default=True, help="write the page (default: true)")
    add(
        "--embed_seconds",
        type=float,
        default=60,
        help="recordings up to this long are put into the page itself; of longer ones "
        "it links the files beside it (default: 60)",
    )
    add("--json", action="store_true", help="print result.json, and no progress")


def run(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    source, out = Path(args.input), Path(args.out)
    _check_output(out)
    for name in ("every", "embed_seconds"):
        if not 0 <= getattr(args, name) < 1e6:
            raise InputError(f"--{name} {getattr(args, name)}: expected seconds, >= 0.")
    from espnet2_avsep.media.stream import probe

    info = probe(source, args.audio_stream)
    if not info.has_audio:
        raise InputError(f"{source}: has no sound; there is nothing to separate.")
    video = source if info.has_video else None
    queries = parse_queries(args.query, video, args.every or None, args.sources)
    queries = [_on_stream(query, source, args.audio_stream) for query in queries]

    from espnet2_avsep.data.output_folder import OutputFolder
    from espnet2_avsep.file_separation import separate_file, track_names
    from espnet2_avsep.separate import Chunking, SeparateAV

    names = track_names([query.name for query in queries], len(queries))
    files = [q.text for q in queries if q.kind in ("picture", "embedding")]
    outputs = OutputFolder(
        out, "separate", [source, args.model, *files], args.overwrite
    )
    outputs.check(_file_names(names, args, video is not None))
    separate = SeparateAV.from_pretrained(
        args.model, device=args.device, binary_mask=args.binary_mask
    )
    begin = time.monotonic()
    with _Bar(quiet=args.json) as bar:
        found = separate_file(
            separate,
            source,
            [query.prompt for query in queries],
            out,
            [query.name for query in queries],
            classes=args.classes,
            audio_format=args.format,
            channels=args.channels,
            chunking=Chunking(args.chunk),
            audio_stream=args.audio_stream,
            progress=bar.update,
        )
    outputs.add(*(path.name for path in found.tracks.values()))
    outputs.discard([RESULT, PAGE, *(f"{name}.mp4" for name in names)])
    seconds = found.samples / found.fs
    result: Dict[str, Any] = {
        "input": str(source),
        "model": str(args.model),
        "weights_sha256": separate.weights_sha256,
        "fs": found.fs,
        "model_fs": separate.sample_rate,
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
        _write_videos(video, found, result, outputs)
    _draw(source, args.audio_stream, found, result["tracks"], outputs)
    if args.page:
        result["page"] = PAGE
        _write_page(out, result, queries, seconds <= args.embed_seconds)
        outputs.add(PAGE)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    _write_text(out / RESULT, text + "\n")
    outputs.add(RESULT)
    print(text if args.json else _summary(out, result))
    return 0


def _check_output(out: Path) -> None:
    try:
        wrong = out.exists() and not out.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(f"--out {str(out)[:80]!r}: no folder can be called so.") from (
            error
        )
    if wrong or "\0" in str(out):
        raise InputError(f"--out {out}: is no folder; choose another name.")


def _file_names(names: List[str], args: argparse.Namespace, video: bool) -> List[str]:
    """Return the names of all files that are going to be written."""
    found = [f"{name}.{args.format}" for name in names]
    if args.mp4 and video:
        found += [f"{name}.mp4" for name in names]
    found += [f"{name}.png" for name in (MIXTURE, *names)]
    return [*found, RESULT, *([PAGE] if args.page else [])]


def _write_videos(
    video: Path, found: "SeparatedFile", result: Dict, outputs: "OutputFolder"
) -> None:
    """Write a video of each track; one that cannot be written is noted."""
    from espnet2_avsep.data.video_writer import write_video

    for name, sound in found.tracks.items():
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


def _on_stream(query: Query, source: Path, audio_stream: Optional[int]) -> Query:
    """Count a region's time from the audio stream that is separated."""
    from espnet2_avsep.prompts import Region

    prompt = query.prompt
    if not isinstance(prompt, Region) or Path(prompt.source) != source:
        return query
    return query._replace(prompt=dataclasses.replace(prompt, audio_stream=audio_stream))


def _draw(
    source: Path,
    audio_stream: Optional[int],
    found: "SeparatedFile",
    result: Dict,
    outputs: "OutputFolder",
) -> None:
    """Draw all spectrograms on one scale: 0 dB is the mixture's largest value."""
    from espnet2_avsep.data.audio_blocks import AudioBlocks
    from espnet2_avsep.report.spectrogram import canvas, levels, write_picture
    from espnet2_avsep.streaming.spectrogram import COLUMNS, pooled_spectrogram

    shared = None
    for name, path in {MIXTURE: source, **found.tracks}.items():
        blocks = AudioBlocks(path, audio_stream if path == source else None)
        magnitude = pooled_spectrogram(blocks, found.samples)
        shared = shared or canvas(magnitude)
        picture = outputs.folder / f"{name}.png"
        write_picture(picture, levels(magnitude, shared), columns=COLUMNS)
        outputs.add(f"{name}.png")
        result.setdefault(name, {})["spectrogram"] = f"{name}.png"


def _write_page(out: Path, result: Dict, queries: List[Query], embed: bool) -> None:
    from espnet2_avsep.report.separation_page import separation_page

    text = separation_page(result, {q.name: q.text for q in queries}, out, embed)
    _write_text(out / PAGE, text)


def _write_text(path: Path, text: str) -> None:
    from espnet2_avsep.data.scp import atomic_write

    with atomic_write(path) as f:
        f.write(text.encode("utf-8", "replace").decode("utf-8"))


def _summary(out: Path, result: Dict) -> str:
    lines = [
        f"{result['seconds']:.1f} s separated in {result['computing_seconds']:.1f} s"
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


class _Bar:
    """A progress bar on stderr, in seconds of sound; log lines go above it."""

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self._bar: Any = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Bar":
        from tqdm.contrib.logging import logging_redirect_tqdm

        self._stack.enter_context(logging_redirect_tqdm())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._bar is not None:
            self._bar.close()

    @property
    def update(self) -> Optional[Callable[[float, Optional[float]], None]]:
        return None if self.quiet else self._update

    def _update(self, done: float, total: Optional[float]) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                unit="s",
                unit_scale=True,
                desc="separate",
                file=sys.stderr,
            )
        # Decoded sound may be a little longer than the file states.
        done = done if total is None else min(done, total)
        self._bar.update(done - self._bar.n)
