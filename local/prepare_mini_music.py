#!/usr/bin/env python3
"""Generate the embedded corpus of the mini_music recipe, in MUSIC's layout.

Synthesised melodies of eight instruments with drawn, moving pictures, as mp4 files
(H.264 and AAC). The same seed gives the same corpus. An interrupted run is continued;
a folder made with other parameters is generated anew.
"""

import logging
import sys
import time
from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, with_options

# Set -> takes of each instrument, and of all together with --same_instrument true or
# --bow_speed true.
TAKES = {"train": (8, 64), "valid": (2, 12), "test": (3, 24)}


def takes_option(name: str) -> Optional[int]:
    """Declare the option of a set's takes."""
    takes, more = TAKES[name]
    return option(
        None,
        f"videos of each instrument in {name} (default: {takes}; with "
        f"--same_instrument true {more}, with --bow_speed true {more // 2})",
        least=1,
        most=10_000,
    )


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    corpus_dir: str = option(..., "where the corpus goes", output=True)
    seed: int = option(0, "of everything random", least=0)
    train_takes: Optional[int] = takes_option("train")
    valid_takes: Optional[int] = takes_option("valid")
    test_takes: Optional[int] = takes_option("test")
    duration: float = option(
        8.0,
        "seconds of every video; the recipe's segments need 5.7",
        above=0,
        most=3600,
    )
    instruments: Optional[List[str]] = option(
        None, "generate only these instruments (default: all)", metavar="NAME"
    )
    same_instrument: bool = option(
        False,
        "true: only cellos, all of one timbre and one drawing, whose bow moves while a "
        "note sounds, so that only motion tells two of them apart",
    )
    bow_speed: bool = option(
        False,
        "true: only cellos of one drawing, bowed slowly or in a tremolo, which sounds "
        "otherwise, so that only the kind of motion tells two of them apart",
    )
    nj: int = option(2, "processes", least=1)


@with_options(Options, script=True)
def main(args: Options) -> None:
    from espnet2_avsep.corpus.mini_music.corpus import (
        BOWED,
        TREMOLO,
        Parameters,
        generate,
    )

    begin = time.monotonic()
    options = {}
    for name, (many, all_of_one) in TAKES.items():
        given = getattr(args, f"{name}_takes")
        default = many
        if args.same_instrument:
            default = all_of_one
        elif args.bow_speed:
            default = all_of_one // 2
        options[f"{name}_takes"] = default if given is None else given
    if args.instruments is not None:
        options["instruments"] = tuple(args.instruments)
    elif args.same_instrument:
        options["instruments"] = (BOWED,)
    elif args.bow_speed:
        options["instruments"] = (BOWED, TREMOLO.name)
    parameters = Parameters(
        seed=args.seed,
        duration=args.duration,
        same_instrument=args.same_instrument,
        bow_speed=args.bow_speed,
        **options,
    )

    def report(message: str) -> None:
        logging.info("%s (%.0f s)", message, time.monotonic() - begin)

    takes = generate(args.corpus_dir, parameters, args.nj, report)
    report(f"{args.corpus_dir}: complete, {len(takes)} videos")


if __name__ == "__main__":
    sys.exit(main())
