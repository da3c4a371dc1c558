#!/usr/bin/env python3
"""Prepare duets as real mixtures without references (stage 4)."""

import argparse
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Write the centre segment of every duet and one embedding for each "
        "of its two players, to be separated but not scored: there are no references. "
        "class_mean prompts a source by the mean embedding of its instrument's "
        "training clips; halves by the left and the right half of the picture.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data_dir", required=True, help="data/<set> of stage 1, with utt2pair")
    add("--wav_dir", required=True, help="output_dir of avsep_format_audio")
    add("--output_dir", required=True, help="where the set goes")
    add("--fs", type=int, required=True, help="sampling rate of the clips in Hz")
    add("--segment_samples", type=int, default=65280, help="samples of a segment")
    add("--silence_dbfs", type=float, default=-60.0, help="least RMS of a clip in dB")
    add("--prompts", choices=("class_mean", "halves"), default="class_mean")
    add("--train_dir", help="the training set of stage 4 (for class_mean)")
    add(
        "--visual_dir",
        action="append",
        default=[],
        help="features of the part of the picture of source 1, then of source 2 (for "
        "halves; repeat)",
    )
    add("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.data.clip_filter import Limits
    from espnet2_avsep.data.mixing.real_mixtures import make_real_mixtures

    make_real_mixtures(
        args.data_dir,
        args.wav_dir,
        args.output_dir,
        Limits(
            fs=args.fs,
            segment_samples=args.segment_samples,
            silence_dbfs=args.silence_dbfs,
        ),
        prompts=args.prompts,
        train_dir=args.train_dir,
        visual_dirs=args.visual_dir,
    )


if __name__ == "__main__":
    sys.exit(main())
