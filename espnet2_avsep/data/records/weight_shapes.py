"""Names and shapes of the tensors in a file of weights, without torch.

A file of torch.save is a zip archive: a pickle that describes the tensors, and their
values apart. Only the description is read, by an unpickler that builds shapes and knows
nothing else: it can call nothing that a file names.
"""

import collections
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

# A description takes about 150 bytes a tensor.
_MOST_BYTES = 1 << 26
Shapes = Dict[str, Tuple[int, ...]]


def read_shapes(path: Path) -> Optional[Shapes]:
    """Return name -> shape of each tensor of a file of torch.save or .safetensors.

    Args:
        path: The file.

    Returns:
        None where it is no such file, is damaged, or holds other things than tensors:
        weights.read_state() says which.
    """
    try:
        found = _in_header(path) if path.suffix == ".safetensors" else _in_pickle(path)
    except Exception:  # what the readers raise varies with the damage
        return None
    return found if _are_shapes(found) else None


def _are_shapes(found: Any) -> bool:
    return isinstance(found, dict) and all(
        type(name) is str
        and type(shape) is tuple
        and all(type(size) is int and size >= 0 for size in shape)
        for name, shape in found.items()
    )


def _in_header(path: Path) -> Shapes:
    """Read the header of a .safetensors file: its length in 8 bytes, then JSON."""
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if length > _MOST_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(f.read(length))
    header.pop("__metadata__", None)
    return {name: tuple(about["shape"]) for name, about in header.items()}


def _in_pickle(path: Path) -> Shapes:
    with zipfile.ZipFile(path) as z:
        (member,) = (i for i in z.infolist() if i.filename.endswith("/data.pkl"))
        if member.file_size > _MOST_BYTES:
            raise ValueError(f"a description of {member.file_size} bytes")
        with z.open(member) as f:
            return _ShapeUnpickler(f).load()


def _shape(storage: None, offset: int, size: tuple, *_: Any) -> Tuple[int, ...]:
    """Stand-in for torch._utils._rebuild_tensor_v2."""
    return tuple(size)


class _ShapeUnpickler(pickle.Unpickler):
    """Builds dictionaries of shapes; refuses a pickle that asks for anything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for what describes a tensor."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _shape
        if module == "torch" and name.endswith("Storage"):
            return name  # the type of the values, which are not read
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> None:
        """Leave the values out."""
