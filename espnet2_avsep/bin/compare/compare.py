#!/usr/bin/env python3
"""Compare experiments that were scored on the same mixtures: one table, one picture."""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.score_table import (
    RESAMPLES,
)
from espnet2_avsep.scoring.comparison_tables import (
    compare_numbers,
    compare_set,
    scored_on,
)
from espnet2_avsep.scoring.results import corpus_notes


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Compare experiments that were scored on the same mixtures: our "
        "scores beside the published ones and their protocol, paired differences with "
        "bootstrap intervals, a table for each instrument, pictures. Trainings of one "
        "system that differ only in their seed are one line, with the means over the "
        "seeds. A system that was also separated with the pictures of other sources "
        "(--shuffle_visual) has a column that says whether it learned to follow the "
        "pictures. Experiments scored on different lists are refused. Writes "
        "compare_<set>.md and .csv, compare_<set>_differences.csv, "
        "compare_<set>_instruments.csv and .png files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--experiment",
        action="append",
        required=True,
        metavar="[NAME=]DIR",
        help="folder that holds scored_<set>: exp/avsep_<tag>, or a folder of an "
        "--inference_tag within it; NAME: in the tables (default: the config's "
        "'system'); repeat; trainings of one name are the seeds of one system",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=["test"],
        help="which scored_<set>; several, as test_2src test_3src, are also put into "
        "one table by number of sources, compare_by_sources.md and .csv",
    )
    parser.add_argument("--output_dir", required=True, help="where the files go")
    parser.add_argument(
        "--corpus",
        help="whose published scores stand in the table, e.g. MUSIC (None: none; all "
        "are listed below it)",
    )
    parser.add_argument(
        "--corpus_note",
        help="text at the top: what the corpus is (None: as in their RESULTS.md)",
    )
    parser.add_argument(
        "--over",
        metavar="KEY",
        help="also draw the scores over this value of the configs, e.g. "
        "criterions.alignment.weight (lambda): compare_<set>_over.csv and .png",
    )
    parser.add_argument(
        "--over_missing",
        metavar="VALUE",
        help="the value to use where a config has none",
    )
    parser.add_argument(
        "--plots", type=str2bool, default=True, help="draw pictures (true or false)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--log_level", default="INFO", help="verbosity of the log")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    if args.resamples < 1 or args.seed < 0:
        raise InputError(
            f"--resamples {args.resamples}, --seed {args.seed}: expected at least 1, 0."
        )
    if args.corpus_note is None:
        folders = (Path(e.partition("=")[2] or e) for e in args.experiment)
        args.corpus_note = corpus_notes(folders)
    results = {}
    for name in dict.fromkeys(args.set):
        one = argparse.Namespace(**{**vars(args), "set": name})
        results[name] = compare_set(one, scored_on(name, args))
    if len(results) > 1:
        compare_numbers(args, results)


if __name__ == "__main__":
    sys.exit(main())
