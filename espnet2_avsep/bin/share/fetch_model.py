#!/usr/bin/env python3
"""Put a published or packed model where stages 7 and 8 look for a trained one."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Dict, Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.errors import InputError

# What two sets of embeddings must have in common to be of one making.
SAME = ("encoder", "model", "weights", "dim")


def get_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Fetch a model and write its config.yaml, weights and "
        "visual_info.yaml into the folder of an experiment. The last line printed is "
        "the name of its weights there.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--model",
        required=True,
        help="folder or zip file of a packed model, folder of a training, user/name on "
        "the Hugging Face hub, or zoo:<tag> of espnet_model_zoo",
    )
    parser.add_argument("--revision", help="branch, tag or commit, on the hub")
    parser.add_argument("--output_dir", required=True, help="folder of the experiment")
    parser.add_argument(
        "--made_by",
        action="append",
        default=[],
        help="visual_info.yaml or motion_info.yaml of features that are to be given to "
        "the model; an error if another encoder made them; repeat",
    )
    parser.add_argument("--log_level", default="INFO", help="verbosity of the log")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.data.tables.yaml_file import read_mapping
    from espnet2_avsep.sharing.source import PACK_INFO, default_weights, find_model

    files = find_model(args.model, args.revision)
    weights = files.weights or default_weights(files.config.parent)
    folder = files.config.parent
    for path in args.made_by:
        info = read_mapping(folder / Path(path).name)
        check_encoder(info, read_mapping(Path(path)), path, args.model)

    output = Path(args.output_dir)
    origin = output / "fetched_from"
    if (output / "config.yaml").exists() and not origin.exists():
        raise InputError(
            f"{output}: holds an experiment that was trained here; give the fetched "
            "model its own --avsep_tag."
        )
    read_mapping(files.config)
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; the model is not complete.")
    read_mapping(folder / "visual_info.yaml")
    infos = [p for p in folder.glob("*_info.yaml") if p.name != PACK_INFO]
    with atomic_write(origin) as f:
        f.write(f"{files.origin}\n")
    for source in (files.config, weights, *infos):
        with source.open("rb") as f, atomic_write(output / source.name, "wb") as g:
            shutil.copyfileobj(f, g)
    if files.config.name != "config.yaml":
        (output / files.config.name).replace(output / "config.yaml")
    print(weights.name)


def check_encoder(model: Dict, features: Dict, path: str, name: str) -> None:
    """Raise an InputError unless the features are of the making the model knows."""
    if "precomputed" in (model.get("encoder"), features.get("encoder")):
        keys = ("dim",)  # what made them is not on record
    else:
        keys = SAME
    different = [
        f"{key}: {features.get(key)!r}, the model has {model.get(key)!r}"
        for key in keys
        if features.get(key) != model.get(key)
        and not (key == "weights" and model.get(key) is None)  # not on record
    ]
    if different:
        raise InputError(
            f"{path}: these features were made by another encoder than those that "
            f"{name} was trained on ({'; '.join(different)}). Run stage 2 with the "
            "encoder and weights of the model, into another --dumpdir."
        )


if __name__ == "__main__":
    sys.exit(main())
