"""Check what an experiment was made from, before its files are touched or used.

avsep made-from training <words>: check that a training, whose command line follows, may
begin or continue in its folder, and write its made_from.json; nothing is written where
it may not; prints "finished" if it has ended, with nothing changed since.
avsep made-from model <options>: check that a model is of the data that are there now.
avsep made-from versions: print the versions of what the stages compute, in one line.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.errors import InputError


@dataclass(kw_only=True)
class Options(Log):
    """The options of ``made-from model``."""

    avsep_exp: str = option(..., "folder of the experiment")
    as_it_is: bool = option(
        False, "true: use the model although the training data have changed"
    )
    made_by: List[str] = option(
        [],
        "visual_info.yaml or motion_info.yaml of features that are to be given to the "
        "model; an error if another encoder made them; repeat",
        repeat=True,
    )


@command
def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command; ``argv`` defaults to the command line."""
    action, *words = argv or ["nothing"]
    if action == "model":
        return check_model(words)
    if action in ("-h", "--help"):
        actions = "training ... | model ... | versions"
        print(f"usage: avsep made-from {actions}\n\n{__doc__.strip()}")
        return 0
    if action == "versions" and not words:
        from espnet2_avsep.data.records.made_from import VERSIONS

        # Of the recipe's stages only: markers of finished experiments hold this line.
        print(*(f"{n}:{v}" for n, v in VERSIONS.items() if isinstance(n, int)))
        return 0
    if action != "training":
        given = " ".join([action, *words[:3]])
        raise InputError(f"{given!r}: expected training, model or versions.")
    setup_logging("INFO")
    from espnet2_avsep.data.records.training_record import start_training

    if start_training(words):
        print("finished")
    return 0


@with_options(Options)
def check_model(args: Options) -> None:
    """Check that a model is of the data that are there now."""
    from espnet2_avsep.data.records.encoder_check import check_encoder
    from espnet2_avsep.data.records.made_from import check_current
    from espnet2_avsep.data.tables.yaml_file import read_yaml

    folder = Path(args.avsep_exp)
    if not folder.is_dir():
        raise InputError(
            f"--avsep_exp {folder}: no such folder; train first (stage 6), or correct "
            "it."
        )
    for path in map(Path, args.made_by):
        info = read_yaml(folder / path.name)
        if info:
            check_encoder(info, read_yaml(path), str(path), str(folder))
    if args.as_it_is:
        return
    try:
        check_current(folder)
    except InputError as error:
        raise InputError(
            f"{error} Train with its own --avsep_tag, or give --skip_train true to use "
            "the model as it is."
        ) from None
