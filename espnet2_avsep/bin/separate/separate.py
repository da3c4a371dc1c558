"""Separate recordings or videos: one track per query, and everything else.

Writes to --out: a sound file per query and ``residual``, everything else (24 bits, at
the input's rate, channels and length; together they add up to the input), where the
input has a picture an mp4 per track, spectrogram pictures, result.json and index.html,
a page with players. Files that are there already are replaced only if a former run
wrote them; an input never is.
"""

import json
import sys
from pathlib import Path
from typing import Dict

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.device import check_device, choose_device
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.progress_bar import ProgressBar
from espnet2_avsep.inference.query import RULE
from espnet2_avsep.inference.recording import (
    SeparationOptions,
    output_folders,
    prepare_job,
    separate_job,
)
from espnet2_avsep.lean_imports import import_lean_torch
from espnet2_avsep.sharing.default_model import choose_model

INTERRUPTED = (
    "interrupted. Recordings that were finished are complete; run the same command "
    "again for the others."
)


@with_options(SeparationOptions, RULE, INTERRUPTED)
def main(args: SeparationOptions) -> int:
    """Run the command."""
    check_device(args.device)
    args.model, reason = choose_model(args.model)
    folders = output_folders([Path(name) for name in args.inputs], args.out)
    jobs = [prepare_job(source, folder, args) for source, folder in folders.items()]
    _tell(args, f"model: {args.model}{f' ({reason})' if reason else ''}")
    from espnet2_avsep.sharing.source import find_model

    files = find_model(args.model)
    encodes = {query.encodes for query in jobs[0].queries}
    if "text" in encodes:
        _check_text(files.config.parent / "visual_info.yaml")

    import_lean_torch()
    from espnet2_avsep.inference.separate import SeparateAV

    separate = SeparateAV.from_pretrained(
        files.config,
        model_file=files.weights,
        device=str(choose_device(args.device)),
        binary_mask=args.binary_mask,
        stop_db=args.stop_db,
        shift_invariant=args.shift_invariant,
        mixture_consistency=args.mixture_consistency,
        picture_dtype=args.picture_dtype,
    )
    if "pictures" in encodes:
        _tell(args, "loading the encoder of the pictures ...")
    elif "text" in encodes:
        _tell(args, "loading the encoder of the words ...")
    results, failed = [], []
    for number, job in enumerate(jobs, 1):
        title = f"separate {number}/{len(jobs)}" if len(jobs) > 1 else "separate"
        try:
            with ProgressBar(title, quiet=args.json) as bar:
                result = separate_job(job, separate, args, bar)
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


def _check_text(path: Path) -> None:
    """Raise where a model takes no words, as its visual_info.yaml says."""
    from espnet2_avsep.visual.encoder_info import read_info, text_refusal

    refusal = text_refusal(path, read_info(path))
    if refusal is not None:
        raise InputError(refusal)


def _tell(args: SeparationOptions, text: str) -> None:
    if not args.json:
        print(text, file=sys.stderr, flush=True)


def _summary(out: Path, result: Dict) -> str:
    lines = [
        f"{result['input']}: {result['seconds']:.1f} s separated in "
        f"{result['computing_seconds']:.1f} s"
    ]
    for name, files in result["tracks"].items():
        if "sound" in files:
            lines.append(f"  {name}: {out / files['sound']}")
    if "page" in result:
        lines.append(f"listen and look: {out / result['page']}")
    return "\n".join(lines)
