"""Which model a command uses if none is named."""

import os
from pathlib import Path
from typing import Optional, Tuple

from espnet2_avsep.errors import InputError

VARIABLE = "AVSEP_MODEL"
# Where recipes train, seen from their folder.
TRAININGS = "exp/avsep_*"
MODEL_HELP = (
    "folder of a training (exp/avsep_<tag>), packed model (zip), or user/name on the "
    f"Hugging Face hub (default: the environment variable {VARIABLE}, else the last "
    "trained of ./exp/avsep_*)"
)


def choose_model(given: Optional[str]) -> Tuple[str, str]:
    """Return the model to use, and why it is this one.

    Args:
        given: What the user named; None: nothing.

    Raises:
        InputError: nothing was named, and there is none to be found.
    """
    found = (given, "") if given is not None else default_model()
    if found is None:
        raise InputError(
            f"no model was named, {VARIABLE} is not set, and no training is in "
            f"./{TRAININGS}. Name one: the folder of a training, a packed model, or "
            "user/name on the Hugging Face hub."
        )
    return found


def default_model() -> Optional[Tuple[str, str]]:
    """Return the model to use if none is named, and why; None if there is none."""
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE], f"from the environment variable {VARIABLE}"
    from espnet2_avsep.sharing.source import DEFAULT_WEIGHTS

    trained = [
        (weights.stat().st_mtime, str(folder))
        for folder in Path().glob(TRAININGS)
        for weights in (folder / name for name in DEFAULT_WEIGHTS)
        if weights.is_file() and (folder / "config.yaml").is_file()
    ]
    if not trained:
        return None
    return max(trained)[1], f"the last trained of ./{TRAININGS}"
