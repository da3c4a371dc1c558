"""Read and write files of weights without running code that they may hold."""

import zipfile
from pathlib import Path
from typing import Any, Dict

import torch

from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.errors import InputError

SAFETENSORS = ".safetensors"
# Records of a file of torch.save are stored, not compressed: more than this beyond the
# file's size.
_SLACK = 1 << 20


def read_state(path: PathLike) -> Dict[str, torch.Tensor]:
    """Read the weights of a model: names and tensors, nothing else.

    Raises:
        InputError: see :func:`read_checkpoint`; or it holds other things.
    """
    state = read_checkpoint(path)
    strange = [str(k) for k, v in state.items() if not isinstance(v, torch.Tensor)]
    if strange:
        raise InputError(
            f"{path}: {', '.join(strange[:5])}: no tensor. Expected only weights, "
            "as training writes them (valid.si_sdr_i.best.pth), not a checkpoint of it."
        )
    return state


def read_checkpoint(path: PathLike) -> Dict[str, Any]:
    """Read a .safetensors file, or one of torch.save with nothing but tensors.

    A pickle that asks for anything but tensors and plain values is refused
    (``weights_only``).

    Returns:
        Names to tensors, or to what else a file of torch.save may hold.

    Raises:
        InputError: the file is missing, damaged, refused, or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights.")
    try:
        if path.suffix == SAFETENSORS:
            from safetensors.torch import load_file

            return load_file(path)
        _check_size(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what the readers raise varies with the damage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: cannot be read as a file of weights ({reason}). It may be "
            "incomplete, or hold more than tensors, which is not read: take another "
            "epoch's file, fetch it again, or train again."
        ) from error
    if not isinstance(state, dict):
        raise InputError(
            f"{path}: holds {type(state).__name__}, expected names and tensors."
        )
    return state


def _check_size(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return  # torch.save before 1.6
    with zipfile.ZipFile(path) as z:
        total = sum(info.file_size for info in z.infolist())
    if total > path.stat().st_size + _SLACK:
        raise ValueError(f"it would unpack to {total} bytes")


def write_safetensors(
    path: PathLike, state: Dict[str, torch.Tensor], **about: str
) -> None:
    """Write tensors, each with its own memory, and words on them."""
    from safetensors.torch import save

    tensors = {key: value.contiguous().clone() for key, value in state.items()}
    with atomic_write(path, "wb") as f:
        f.write(save(tensors, metadata={"format": "pt", **about}))
