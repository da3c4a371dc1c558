#!/usr/bin/env python3
"""Spectrograms of mixtures, references and estimates side by side (figure 3)."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from espnet2_avsep.analysis.clip_analysis import named_folders, write_figures
from espnet2_avsep.cli.command import command, setup_logging, str2bool
from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from espnet2_avsep.figures.plots import Panel
    from espnet2_avsep.report.audible_mixture import AudibleMixture, Source

# Hz
TICKS = (100, 200, 500, 1000, 2000, 5000, 10000, 20000)
Scores = Dict[Tuple[str, int], float]


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Draw mixtures of a set: a row for each source with the picture "
        "that it was prompted by, the mixture, each system's estimate and the "
        "reference, as log-frequency magnitudes on one scale. Writes "
        "panels_<mixture>.png.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--experiment",
        action="append",
        required=True,
        metavar="[NAME=]DIR",
        help="folder that holds separated_<set>: exp/avsep_<tag>, or a folder of an "
        "--inference_tag within it; NAME: in the picture (default: the config's "
        "'system'); repeat",
    )
    add("--set", default="test", help="which set")
    add("--data_dir", default="data", help="holds <set>/video.scp, if there is one")
    add("--dump_dir", default="dump/raw", help="holds <set> and org/<set>")
    add("--output_dir", required=True, help="where the pictures go")
    add("--mix_id", action="append", help="a mixture to draw; repeat (default: --num)")
    add("--num", type=int, default=3, help="how many to draw, the first of the list")
    add(
        "--pictures",
        type=str2bool,
        default=True,
        help="draw the pictures of the prompts (true or false)",
    )
    add("--dynamic_range", type=float, default=60.0, help="in dB")
    add("--log_level", default="INFO", help="verbosity of the log")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    for name, least in [("num", 1), ("dynamic_range", 1)]:
        if not getattr(args, name) >= least:
            raise InputError(
                f"--{name} {getattr(args, name)}: expected at least {least}."
            )
    from espnet2_avsep.report.audible_mixture import Folders, read_scored_mixtures

    experiments = named_folders(args.experiment)
    dump = Path(args.dump_dir)
    mixtures = read_scored_mixtures(
        args.set,
        Folders(
            data=Path(args.data_dir) / args.set,
            dump=dump / args.set,
            audio=dump / "org" / args.set,
            separated=tuple(
                folder / f"separated_{args.set}" for folder in experiments.values()
            ),
        ),
    )
    scores = {
        name: read_sdr(folder / f"scored_{args.set}" / "scores.tsv")
        for name, folder in experiments.items()
    }
    for key in choose(args, list(mixtures)):
        figure = draw(args, mixtures[key], scores)
        write_figures(Path(args.output_dir), {f"panels_{key}.png": figure})


def read_sdr(path: Path) -> Scores:
    """SDR in dB of each (mixture, source); nothing where it was not scored."""
    from espnet2_avsep.metrics.score_table import OK
    from espnet2_avsep.scoring.score_files import read_scores

    if not path.is_file():
        return {}
    rows = [row for row in read_scores(path) if row.status == OK]
    return {(row.mix_id, row.source): row.sdr for row in rows}


def choose(args: argparse.Namespace, keys: List[str]) -> List[str]:
    """Return the mixtures to draw.

    Raises:
        InputError: one that was named is not there.
    """
    if not args.mix_id:
        return keys[: args.num]
    for key in args.mix_id:
        if key not in keys:
            raise InputError(
                f"--mix_id {key}: is not among the {len(keys)} mixtures of {args.set}, "
                f"{keys[0]}, ..., {keys[-1]}."
            )
    return list(dict.fromkeys(args.mix_id))


def draw(
    args: argparse.Namespace, mixture: "AudibleMixture", scores: Dict[str, Scores]
) -> "Figure":
    """Draw a mixture."""
    from espnet2_avsep.analysis.frequency_axis import rows_of
    from espnet2_avsep.data.segment_reader import (
        audio_info,
        check_sample_rate,
        read_segment,
    )
    from espnet2_avsep.figures.plots import Panel, spectrogram_grid
    from espnet2_avsep.figures.spectrogram import ROWS, magnitudes

    key = mixture.mix_id
    samples, fs = audio_info(mixture.sound)

    def panel(title: str, path: str) -> Panel:
        check_sample_rate(path, fs)
        return Panel(title, magnitudes(read_segment(path)))

    grid = []
    for number, source in enumerate(mixture.sources, 1):
        row = [picture_panel(key, source)] if args.pictures else []
        row.append(panel("mixture", mixture.sound))
        for name, path in zip(scores, source.estimates, strict=True):
            sdr = scores[name].get((key, number))
            score = "" if sdr is None else f", SDR {sdr:.1f} dB"
            row.append(panel(name + score, path))
        row.append(panel(f"reference: {source.title}", source.reference))
        grid.append(row)
    inside = [hertz for hertz in TICKS if hertz < fs / 2]
    ticks = dict(zip(rows_of(inside, fs, ROWS), map(str, inside), strict=True))
    return spectrogram_grid(grid, key, samples / fs, ticks, args.dynamic_range)


def picture_panel(key: str, source: "Source") -> "Panel":
    """Return the panel of the pictures that a source was prompted by."""
    from espnet2_avsep.figures.plots import Panel
    from espnet2_avsep.media.container import ClipError
    from espnet2_avsep.report.listening import prompt_pictures

    try:
        return Panel(source.title, image=prompt_pictures(source.prompt))
    except ClipError as error:
        logging.warning("%s: no picture of %s: %s", key, source.clip, error)
        return Panel(source.title, missing=f"no picture: {error.reason}")


if __name__ == "__main__":
    sys.exit(main())
