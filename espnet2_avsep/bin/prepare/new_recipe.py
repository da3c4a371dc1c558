#!/usr/bin/env python3
"""Copy a recipe out of the installed package."""

import argparse
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command


def get_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Copy a recipe, with everything that it needs, into a folder of "
        "its own: run.sh, avsep.sh, conf, local, utils.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options, also those of ``avsep new-recipe``."""
    parser.add_argument("folder", help="where to; it must not hold anything yet")
    parser.add_argument(
        "--corpus",
        default="mini_music",
        help="which recipe: mini_music needs no corpus; an unknown name lists all",
    )


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    run(get_parser().parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Copy the recipe."""
    from espnet2_avsep.sharing.recipe import new_recipe

    folder = new_recipe(args.folder, args.corpus)
    print(f"{folder}: run ./run.sh --help there, and see README.md")


if __name__ == "__main__":
    sys.exit(main())
