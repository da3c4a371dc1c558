"""Whether features are of the encoder whose features a model was trained on."""

from pathlib import Path
from typing import Dict, Iterable

from espnet2_avsep.data.conditions import WITH_ROWS
from espnet2_avsep.data.tables.clip_folder import features_folder
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError

# Stage 2 describes the features of a set in these files; stage 6 copies them.
INFOS = ("visual_info.yaml", *(f"{c.stem}_info.yaml" for c in WITH_ROWS))

# What features of the same encoder have in common.
SAME = ("encoder", "model", "weights", "dim")


def check_features(model: PathLike, folders: Iterable[PathLike]) -> None:
    """Check the features of sets against those that a model was trained on.

    Only features that both folders describe can be compared.

    Args:
        model: Folder of the model.
        folders: Of clips or mixtures of sets, made by stage 4.

    Raises:
        InputError: see :func:`check_encoder`.
    """
    for name in INFOS:
        known = read_yaml(Path(model) / name)
        for path in (features_folder(folder) / name for folder in folders):
            found = read_yaml(path)
            if known and found:
                check_encoder(known, found, str(path), str(model))


def check_encoder(model: Dict, features: Dict, path: str, name: str) -> None:
    """Check that features are of the encoder that a model was trained with.

    Args:
        model: Content of an info file (INFOS) of the model.
        features: Content of the same file of a set.
        path: The set's file, for the message.
        name: The model, for the message.

    Raises:
        InputError: they are of another encoder, or of other weights of it.
    """
    if "precomputed" in (model.get("encoder"), features.get("encoder")):
        keys = ("dim",)  # the encoder is not known
    else:
        keys = SAME
    different = [
        f"{key}: {features.get(key)!r}, the model has {model.get(key)!r}"
        for key in keys
        if features.get(key) != model.get(key)
        and not (key == "weights" and model.get(key) is None)  # not known
    ]
    if different:
        raise InputError(
            f"{path}: these features were made by another encoder than those that "
            f"{name} was trained on ({'; '.join(different)}). Run stage 2 with the "
            "encoder and weights of the model, into another --dumpdir."
        )
