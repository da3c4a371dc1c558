"""Read, load and write weights without running code that a file may hold."""

import zipfile
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

import torch

from espnet2_avsep.data.tables.key_check import shorten
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


def read_checkpoint(
    path: PathLike, allowed: Sequence[Any] = (), mmap: bool = False
) -> Dict[str, Any]:
    """Read a .safetensors file, or one of torch.save with nothing but tensors.

    A pickle that asks for anything but tensors and plain values is refused
    (``weights_only``).

    Args:
        path: The file.
        allowed: What else a pickle may ask for; see torch.serialization.safe_globals.
        mmap: Map a file of torch.save into memory instead of reading it whole.

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
        is_zip = zipfile.is_zipfile(path)  # else written by torch.save before 1.6
        if is_zip:
            _check_size(path)
        with torch.serialization.safe_globals(list(allowed)):
            state = torch.load(
                path, map_location="cpu", weights_only=True, mmap=mmap and is_zip
            )
    except Exception as error:  # what the readers raise varies with the damage
        # A KeyError of the unpickler says no more than a number, and torch's
        # UnpicklingError advises to load the file without weights_only.
        words = [type(error).__name__, *str(error).splitlines()[:1]]
        reason = words[0] if words[0] == "UnpicklingError" else ": ".join(words)
        raise InputError(
            f"{path}: cannot be read as a file of weights ({reason}). It may be "
            "incomplete, or hold more than tensors, which is not read: take another "
            "file (of another epoch), fetch it again, or train again."
        ) from error
    if not isinstance(state, dict):
        raise InputError(
            f"{path}: holds {type(state).__name__}, expected names and tensors."
        )
    return state


def _check_size(path: Path) -> None:
    with zipfile.ZipFile(path) as z:
        total = sum(info.file_size for info in z.infolist())
    if total > path.stat().st_size + _SLACK:
        raise ValueError(f"it would unpack to {total} bytes")


def load_strict(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], where: str, hint: str
) -> None:
    """Load weights into a module; every name and shape must fit.

    Counts of batches that a BatchNorm has seen may be missing, as in files of torch
    before 0.4.1.

    Args:
        module: The module.
        state: Its tensors.
        where: The beginning of the error message: what does not fit what.
        hint: The end of the error message: how to fix it.

    Raises:
        InputError: missing, unexpected or differently shaped tensors, all counted.
    """
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state]
    faults = {
        "missing": [k for k in missing if not k.endswith("num_batches_tracked")],
        "unexpected": [key for key in state if key not in wanted],
        "of another shape": [
            f"{key} is {tuple(state[key].shape)}, expected {tuple(wanted[key].shape)}"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ],
    }
    if any(faults.values()):
        found = "; ".join(
            f"{len(keys)} {fault}: {shorten(keys)}"
            for fault, keys in faults.items()
            if keys
        )
        raise InputError(f"{where}: {found}. {hint}")
    module.load_state_dict(state, strict=True)


def write_safetensors(
    path: PathLike, state: Dict[str, torch.Tensor], **about: str
) -> None:
    """Write tensors, each with its own memory, and words on them."""
    from safetensors.torch import save

    tensors = {key: value.contiguous().clone() for key, value in state.items()}
    with atomic_write(path, "wb") as f:
        f.write(save(tensors, metadata={"format": "pt", **about}))
