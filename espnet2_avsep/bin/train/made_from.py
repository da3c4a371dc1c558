#!/usr/bin/env python3
"""Check what an experiment was made from, before its files are touched or used."""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser(
        "training",
        help="check that a training, whose command line follows, may begin or continue "
        "in its folder, and write its made_from.json; nothing is written where it may "
        "not",
    )
    model = actions.add_parser(
        "model", help="check that a model is of the data that are there now"
    )
    model.add_argument("--avsep_exp", required=True, help="folder of the experiment")
    model.add_argument(
        "--as_it_is",
        type=str2bool,
        default=False,
        help="true: use the model although the training data have changed",
    )
    model.add_argument(
        "--made_by",
        action="append",
        default=[],
        help="visual_info.yaml or motion_info.yaml of features that are to be given to "
        "the model; an error if another encoder made them; repeat",
    )
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    parser = get_parser()
    args, words = parser.parse_known_args(argv)
    setup_logging("INFO")
    if args.action == "training":
        from espnet2_avsep.data.records.training_record import start_training

        start_training(words)
        return
    if words:
        parser.error(f"unknown words: {' '.join(words)}")
    from espnet2_avsep.bin.share.fetch_model import check_encoder
    from espnet2_avsep.data.records.made_from import check_current
    from espnet2_avsep.data.tables.yaml_file import read_yaml
    from espnet2_avsep.errors import InputError

    folder = Path(args.avsep_exp)
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


if __name__ == "__main__":
    sys.exit(main())
