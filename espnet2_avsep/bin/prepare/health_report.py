#!/usr/bin/env python3
"""Write a page that says what stages 1 to 4 made of a corpus (end of stage 4)."""

import argparse
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Write index.html, to be opened in any browser without a network: "
        "clips by class and set, durations, loudness, silent and clipped clips, black "
        "and frozen videos, sample pictures, what is missing and why, the lists of "
        "mixtures, leaks. It may be run after any stage; what is not there yet is said "
        "to be so.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--sets", nargs="+", required=True, help="names of the sets")
    add("--data_dir", default="data", help="holds <set>/ of stage 1")
    add(
        "--dump_dir",
        default="dump/raw",
        help="holds <set>/ and org/<set>/ of stages 2 to 4",
    )
    add("--output_dir", required=True, help="where the page goes")
    add("--fs", type=int, required=True, help="rate of the formatted audio in Hz")
    add(
        "--max_videos",
        type=int,
        default=120,
        help="most videos of which pictures are decoded, over all sets",
    )
    add("--num_pictures", type=int, default=4, help="pictures of each video")
    add("--leaks", help="table of the leak check (None: it was not run)")
    add("--title", default="Health report", help="of the page")
    add("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.report.health_report import write_health_report

    write_health_report(
        args.sets,
        args.data_dir,
        args.dump_dir,
        args.output_dir,
        fs=args.fs,
        max_videos=args.max_videos,
        num_pictures=args.num_pictures,
        leaks=args.leaks,
        title=args.title,
    )


if __name__ == "__main__":
    sys.exit(main())
