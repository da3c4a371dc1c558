#!/usr/bin/env python3
"""Look for clips of valid and test sets that are trained on (stage 4)."""

import argparse
import sys
from typing import List, Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool
from espnet2_avsep.errors import InputError


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Find videos that are in two sets or in two classes, and clips "
        "whose sound is nearly that of a clip of an earlier set (by "
        "fingerprints: other codecs, levels and first samples do not hide it). Writes "
        "a table of all cases, which stage 8 can leave out of the scores. Fingerprints "
        "are kept, so that a run that was cut off goes on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    form = "NAME:DATADIR:CLIPSDIR"
    parser.add_argument(
        "--train_set",
        required=True,
        metavar=form,
        help="name, data/<set> (utt2clip), and the folder of its clips (wav.scp, "
        "utt2spk)",
    )
    parser.add_argument("--valid_set", action="append", default=[], metavar=form)
    parser.add_argument(
        "--test_set", action="append", default=[], metavar=form, help="repeat"
    )
    parser.add_argument("--output", required=True, help="leaks.tsv")
    parser.add_argument(
        "--cache_dir", required=True, help="folder that keeps the fingerprints"
    )
    parser.add_argument(
        "--audio",
        type=str2bool,
        default=True,
        help="false: compare the videos' names only",
    )
    parser.add_argument(
        "--strict",
        type=str2bool,
        default=False,
        help="true: what leaks is an error, after all is written",
    )
    parser.add_argument("--nj", type=int, default=1, help="processes")
    parser.add_argument("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    if args.nj < 1:
        raise InputError(f"--nj {args.nj}: must be at least 1.")
    from espnet2_avsep.corpus.leaks.check import check_leaks
    from espnet2_avsep.corpus.leaks.clip_set import ClipSet

    def read(text: str) -> ClipSet:
        return ClipSet.read(*split_set(text))

    check_leaks(
        read(args.train_set),
        [read(text) for text in args.valid_set],
        [read(text) for text in args.test_set],
        args.output,
        args.cache_dir,
        args.audio,
        args.strict,
        args.nj,
    )


def split_set(text: str) -> List[str]:
    """Split NAME:DATADIR:CLIPSDIR.

    Raises:
        InputError: it has not three parts.
    """
    parts = text.split(":")
    if len(parts) != 3 or not all(parts):
        raise InputError(
            f"{text!r}: expected NAME:DATADIR:CLIPSDIR, and no ':' in the names "
            "themselves."
        )
    return parts


if __name__ == "__main__":
    sys.exit(main())
