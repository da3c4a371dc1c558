"""The device that an option --device names."""

from typing import TYPE_CHECKING

from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> "torch.device":
    """Return the device: "auto" is the GPU where there is one.

    Raises:
        InputError: it cannot be used here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"{device.type} is not supported.")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name}: cannot be used here: {str(error).splitlines()[0]} "
            "Choose cpu, or auto for the GPU where there is one."
        ) from error
    return device
