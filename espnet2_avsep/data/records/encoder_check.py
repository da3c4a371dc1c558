"""Whether features were made by the encoder that a model was trained on."""

from pathlib import Path
from typing import Dict, Iterable

from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError

# What stage 2 says of the features of a set, and stage 6 of those of a model.
INFOS = ("visual_info.yaml", "motion_info.yaml")

# What two sets of embeddings must have in common to be of one making.
SAME = ("encoder", "model", "weights", "dim")


def check_features(model: PathLike, folders: Iterable[PathLike]) -> None:
    """Check features that are to be given to a model, as far as both are described.

    Args:
        model: Folder of the model.
        folders: Of sets, as stage 4 leaves them.

    Raises:
        InputError: see :func:`check_encoder`.
    """
    for name in INFOS:
        known = read_yaml(Path(model) / name)
        for path in (Path(folder) / name for folder in folders):
            found = read_yaml(path)
            if known and found:
                check_encoder(known, found, str(path), str(model))


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
