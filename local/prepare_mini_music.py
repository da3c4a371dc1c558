#!/usr/bin/env python3
"""Generate the embedded corpus of the mini_music recipe, in MUSIC's layout.

Synthesised melodies of eight instruments with drawn, moving pictures, as mp4 files
(H.264 and AAC). The same seed gives the same corpus. An interrupted run is continued;
a folder made with other parameters is generated anew.
"""

import argparse
import logging
import sys
import time
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool

# Set -> takes of each instrument, and of the only one with --same_instrument true.
TAKES = {"train": (8, 64), "valid": (2, 12), "test": (3, 24)}
FIELDS = ("seed", "duration", "instruments", "same_instrument")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--corpus_dir",
        required=True,
        default=argparse.SUPPRESS,
        help="where the corpus goes",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    for name, (takes, more) in TAKES.items():
        parser.add_argument(
            f"--{name}_takes",
            type=int,
            default=argparse.SUPPRESS,
            help=f"videos of each instrument in {name} (default: {takes}; with "
            f"--same_instrument true {more})",
        )
    parser.add_argument(
        "--duration",
        type=float,
        default=8.0,
        help="seconds of every video; the recipe's segments need 5.7",
    )
    parser.add_argument(
        "--instruments",
        nargs="+",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="generate only these instruments (default: all)",
    )
    parser.add_argument(
        "--same_instrument",
        type=str2bool,
        default=False,
        help="true: only cellos, all of one timbre and one drawing, whose bow moves "
        "while a note sounds, so that only motion tells two of them apart",
    )
    parser.add_argument("--nj", type=int, default=2, help="processes")
    parser.add_argument(
        "--log_level",
        default="INFO",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        help="what is told on stderr",
    )
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.corpus.mini_music.corpus import BOWED, Parameters, generate

    begin = time.monotonic()
    options = {name: value for name, value in vars(args).items() if name in FIELDS}
    if "instruments" in options:
        options["instruments"] = tuple(options["instruments"])
    elif args.same_instrument:
        options["instruments"] = (BOWED,)
    for name, takes in TAKES.items():
        default = takes[args.same_instrument]
        options[f"{name}_takes"] = getattr(args, f"{name}_takes", default)
    parameters = Parameters(**options)

    def report(message: str) -> None:
        logging.info("%s (%.0f s)", message, time.monotonic() - begin)

    takes = generate(args.corpus_dir, parameters, args.nj, report)
    report(f"{args.corpus_dir}: complete, {len(takes)} videos")
    return 0


if __name__ == "__main__":
    sys.exit(main())
