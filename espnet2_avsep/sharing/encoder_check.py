"""Whether features were made by the encoder that a model was trained on."""

from typing import Dict

from espnet2_avsep.errors import InputError

# What two sets of embeddings must have in common to be of one making.
SAME = ("encoder", "model", "weights", "dim")


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
