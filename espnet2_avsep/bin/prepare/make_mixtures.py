#!/usr/bin/env python3
"""Draw the fixed mixtures of a valid or test set and write them (stage 4)."""

import argparse
import sys
from typing import List, Optional, Sequence, Union

from espnet2_avsep.cli.command import command, setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Draw mixtures of clips from a seed, or read a list of them, and "
        "write them as float32 wavs and scp files, with the list (mixtures.tsv) and "
        "its SHA-256. Centre segments are used; each source is divided by the "
        "number of sources that sound.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--clips_dir", required=True, help="output_dir of avsep_filter_clips"
    )
    parser.add_argument("--output_dir", required=True, help="where the set goes")
    parser.add_argument(
        "--fs", type=int, required=True, help="sampling rate of the clips in Hz"
    )
    parser.add_argument(
        "--num_sources", type=int, default=2, help="sources of a mixture"
    )
    parser.add_argument(
        "--segment_samples", type=int, default=65280, help="samples of a mixture"
    )
    parser.add_argument(
        "--num_mixtures",
        type=int,
        default=None,
        help="how many to draw (None: as many as there are clips)",
    )
    parser.add_argument(
        "--different_class",
        choices=("true", "false"),
        default="false",
        help="whether the sources of a mixture are of different classes",
    )
    parser.add_argument(
        "--same_class",
        choices=("true", "false"),
        default="false",
        help="whether the sources of a mixture are different clips of one class",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument(
        "--list",
        default=None,
        metavar="FILE",
        help="make these mixtures instead: a mixtures.tsv, or lines of num_sources "
        "clip ids or wav names",
    )
    parser.add_argument(
        "--silence_dbfs",
        type=float,
        default=-60.0,
        help="clips whose centre segment has a lower RMS are not drawn (dB, full scale "
        "= 0)",
    )
    parser.add_argument(
        "--visual_frames", type=int, default=1, help="visual rows of each source"
    )
    parser.add_argument(
        "--visual_stride", type=int, default=1, help="distance of these rows, in rows"
    )
    parser.add_argument(
        "--motion_align",
        choices=("whole", "segment"),
        default="whole",
        help="motion rows of each source, where the clips have motion features: those "
        "of the whole clip, or of its segment",
    )
    parser.add_argument(
        "--silent_sources",
        type=silent_sources,
        default=0,
        metavar="N|P|N,N",
        help="sources that are seen and not heard: a number of them in each mixture, "
        "the probability that a source after the first is silent, or their numbers "
        "from 1, e.g. 2,4",
    )
    parser.add_argument("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
    return parser


def silent_sources(text: str) -> Union[int, float, List[int]]:
    """Read the value of --silent_sources."""
    if "," in text:
        return [int(number) for number in text.split(",") if number]
    return float(text) if "." in text else int(text)


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.data.mixing.mixtures import make_mixtures

    make_mixtures(
        args.clips_dir,
        args.output_dir,
        fs=args.fs,
        num_sources=args.num_sources,
        segment_samples=args.segment_samples,
        num_mixtures=args.num_mixtures,
        different_class=args.different_class == "true",
        same_class=args.same_class == "true",
        seed=args.seed,
        list_file=args.list,
        silence_dbfs=args.silence_dbfs,
        visual_frames=args.visual_frames,
        visual_stride=args.visual_stride,
        motion_align=args.motion_align,
        silent_sources=args.silent_sources,
    )


if __name__ == "__main__":
    sys.exit(main())
