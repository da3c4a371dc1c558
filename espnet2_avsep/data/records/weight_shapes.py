"""Names, types and shapes of the tensors in a file of weights, without torch.

A file of torch.save is a zip archive: a pickle that describes the tensors, and their
values apart. Only the description is read, by an unpickler that builds shapes and knows
nothing else: it can call nothing that a file names.
"""

import collections
import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

# A description takes about 150 bytes a tensor.
_MOST_BYTES = 1 << 26
# Name of a tensor -> name of the type of its values, and its shape.
Shapes = Dict[str, Tuple[str, Tuple[int, ...]]]
# Buffers of torch's BatchNorm that are of the parameters' type.
_STATISTICS = ("running_mean", "running_var")


def count_parameters(shapes: Shapes) -> int:
    """Return the number of parameters of a model, without its buffers.

    Most tensors of a model are parameters, all of one type. Its buffers are of other
    types (counts, statistics in float64), or those of BatchNorm.
    """
    types = collections.Counter(kind for kind, _ in shapes.values())
    common = types.most_common(1)[0][0]
    return sum(
        math.prod(shape)
        for name, (kind, shape) in shapes.items()
        if kind == common and name.rpartition(".")[2] not in _STATISTICS
    )


def read_shapes(path: Path) -> Optional[Shapes]:
    """Return type and shape of each tensor of a file of torch.save or .safetensors.

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
        and type(about) is _Tensor
        and all(type(size) is int and size >= 0 for size in about[1])
        for name, about in found.items()
    )


def _in_header(path: Path) -> Shapes:
    """Read the header of a .safetensors file: its length in 8 bytes, then JSON."""
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if length > _MOST_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(f.read(length))
    header.pop("__metadata__", None)
    return {
        name: _Tensor((about["dtype"], tuple(about["shape"])))
        for name, about in header.items()
    }


def _in_pickle(path: Path) -> Shapes:
    with zipfile.ZipFile(path) as z:
        (member,) = (i for i in z.infolist() if i.filename.endswith("/data.pkl"))
        if member.file_size > _MOST_BYTES:
            raise ValueError(f"a description of {member.file_size} bytes")
        with z.open(member) as f:
            return _ShapeUnpickler(f).load()


class _Tensor(tuple):
    """Type and shape; a class of its own, as a file may hold other tuples."""


def _tensor(storage: str, offset: int, size: tuple, *_: Any) -> _Tensor:
    """Stand-in for torch._utils._rebuild_tensor_v2."""
    return _Tensor((storage, tuple(size)))


class _ShapeUnpickler(pickle.Unpickler):
    """Builds dictionaries of shapes; refuses a pickle that asks for anything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for what describes a tensor."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name.endswith("Storage"):
            return name  # the type of the values
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> str:
        """Return the type of values, which are not read."""
        return str(pid[1])
