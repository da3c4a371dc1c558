#!/usr/bin/env python3
"""Write a duet of the generated corpus to try the separation on.

duet.mp4 shows two players side by side and mixes their sounds; left.jpg and right.jpg
are pictures of them. Both are takes of the test set.
"""

import argparse
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output_dir", required=True, help="where the files go")
    parser.add_argument("--left", default="flute", help="instrument on the left")
    parser.add_argument("--right", default="cello", help="instrument on the right")
    parser.add_argument("--seed", type=int, default=0, help="that of the corpus")
    parser.add_argument("--duration", type=float, default=8.0, help="in seconds")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    from espnet2_avsep.corpus.mini_music.corpus import Parameters
    from espnet2_avsep.corpus.mini_music.duet import write_duet

    parameters = Parameters(seed=args.seed, duration=args.duration)
    for path in write_duet(args.output_dir, args.left, args.right, parameters):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
