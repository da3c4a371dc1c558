"""Copy a recipe, with everything that it needs, into a folder of its own.

It gets run.sh, avsep.sh, conf, local and utils.
"""

from dataclasses import dataclass

from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import QuietLog


@dataclass(kw_only=True)
class Options(QuietLog):
    """The options of the command."""

    folder: str = option(
        ..., "where to; it must not hold anything yet", positional=True, output=True
    )
    corpus: str = option(
        "mini_music",
        "which recipe: mini_music needs no corpus; an unknown name lists all",
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.sharing.recipe import new_recipe

    folder = new_recipe(args.folder, args.corpus)
    print(f"{folder}: run ./run.sh --help there, and see README.md")
