"""The device that an option --device names."""

import re
from typing import TYPE_CHECKING

from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    import torch


def check_device(name: str) -> None:
    """Check the name of a device; imports no torch.

    Raises:
        InputError: there is none of that name.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise InputError(
            f"--device {name!r:.60}: expected auto, cpu, cuda or cuda:N (the GPU of "
            "that number)."
        )


def choose_device(name: str) -> "torch.device":
    """Return the device: "auto" is the GPU where there is one.

    Raises:
        InputError: it cannot be used here.
    """
    check_device(name)
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = re.split(r"[.\n]", str(error))[0]
        raise InputError(
            f"--device {name}: cannot be used here: {reason}. Choose cpu, or auto for "
            "the GPU where there is one."
        ) from error
    return device
