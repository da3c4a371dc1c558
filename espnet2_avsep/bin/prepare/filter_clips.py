#!/usr/bin/env python3
"""Drop the clips of a set that are too short, silent or incomplete (stage 4)."""

import argparse
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Join the tables of stages 1 to 3, drop clips that are too short, "
        "too long, silent or incomplete, and write the tables of the rest, with the "
        "list of all clips that any stage left out (skipped.tsv, counts.yaml).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data_dir", required=True, help="stage 1: utt2spk, skipped.tsv"
    )
    parser.add_argument(
        "--wav_dir",
        required=True,
        help="stage 3: wav.scp, utt2num_samples, skipped.tsv",
    )
    parser.add_argument(
        "--visual_dir", required=True, help="stage 2: visual.scp, visual_skipped.tsv"
    )
    parser.add_argument(
        "--motion_dir",
        help="stage 2: motion.scp, motion_skipped.tsv; clips without motion features "
        "are then left out (None: motion is not asked for)",
    )
    parser.add_argument("--output_dir", required=True, help="where the tables go")
    parser.add_argument(
        "--fs", type=int, required=True, help="sampling rate of the files in Hz"
    )
    parser.add_argument(
        "--min_wav_duration", type=float, default=0.0, help="least duration in s"
    )
    parser.add_argument(
        "--max_wav_duration",
        type=float,
        default=None,
        help="greatest duration in s (None: no limit)",
    )
    parser.add_argument(
        "--segment_samples", type=int, default=65280, help="least number of samples"
    )
    parser.add_argument(
        "--silence_dbfs",
        type=float,
        default=-60.0,
        help="least RMS of a whole clip in dB, full scale = 0",
    )
    parser.add_argument("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.data.clip_filter import Limits, filter_clips

    filter_clips(
        args.data_dir,
        args.wav_dir,
        args.visual_dir,
        args.output_dir,
        Limits(
            fs=args.fs,
            segment_samples=args.segment_samples,
            min_wav_duration=args.min_wav_duration,
            max_wav_duration=args.max_wav_duration,
            silence_dbfs=args.silence_dbfs,
        ),
        motion_dir=args.motion_dir,
    )


if __name__ == "__main__":
    sys.exit(main())
