"""Where networks of stage 2 compute."""

from espnet2_avsep.errors import InputError


def choose_device(name: str) -> str:
    """Return the device that --device means; "auto" takes a GPU if there is one.

    Raises:
        InputError: there is no GPU.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {name}: no CUDA device is available; use cpu.")
    return name
