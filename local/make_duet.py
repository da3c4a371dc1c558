#!/usr/bin/env python3
"""Write a duet of the generated corpus to try the separation on.

duet.mp4 shows two players side by side and mixes their sounds; left.jpg and right.jpg
are pictures of them. Both are takes of the test set.
"""

import sys
from dataclasses import dataclass

from espnet2_avsep.cli.options import Log, option, with_options


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    output_dir: str = option(..., "where the files go")
    left: str = option("flute", "instrument on the left")
    right: str = option("cello", "instrument on the right")
    seed: int = option(0, "that of the corpus", least=0)
    duration: float = option(8.0, "in seconds, from 1 to 600", least=1, most=600)


@with_options(Options, script=True)
def main(args: Options) -> None:
    from espnet2_avsep.corpus.mini_music.corpus import Parameters
    from espnet2_avsep.corpus.mini_music.duet import write_duet

    parameters = Parameters(seed=args.seed, duration=args.duration)
    for path in write_duet(args.output_dir, args.left, args.right, parameters):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
