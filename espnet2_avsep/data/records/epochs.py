"""How long a training has been, as its folder tells."""

import os
from pathlib import Path

from espnet2_avsep.data.tables.scp import PathLike


def finished_epochs(folder: PathLike) -> int:
    """Return how many epochs the newest weights of a training are of; 0: unknown."""
    try:
        target = os.readlink(Path(folder) / "latest.pth")
    except OSError:  # a packed model, or no training
        return 0
    number = target.removesuffix("epoch.pth")
    return int(number) if number.isdecimal() else 0
