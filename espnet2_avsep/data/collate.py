"""Items to batches."""

from typing import Dict, List, Sequence, Tuple

import torch
from torch.nn.functional import pad
from torch.utils.data import default_collate

from espnet2_avsep.data.conditions import WITH_ROWS, Condition, condition_of
from espnet2_avsep.errors import InputError


def collate(items: Sequence[Tuple[str, dict]]) -> Tuple[List[str], Dict]:
    """Stack items of equal shapes; pad rows of conditions to one number of steps.

    Args:
        items: Pairs of a key and a dict name -> numpy array or number.

    Returns:
        The keys, and a dict name -> tensor (B, ...). In a data worker the batch is
        stacked straight into shared memory. Rows of conditions, e.g. ``motion_ref{n}``
        (B, S, D), are padded with zeros to the most of any source in the batch, and
        beside each is ``motion_ref{n}_lengths``, (B,).

    Raises:
        InputError: the items have different names or shapes.
    """
    keys = [key for key, _ in items]
    first_key, first = items[0]
    tensors = []
    for key, data in items:
        if data.keys() != first.keys():
            raise InputError(
                f"{first_key} has {', '.join(sorted(first))}, {key} has "
                f"{', '.join(sorted(data))}; all items of a batch must have the same."
            )
        tensors.append({name: torch.as_tensor(data[name]) for name in first})
    for condition in WITH_ROWS:
        _pad(tensors, condition)
    for name, expected in tensors[0].items():
        for key, tensor in zip(keys, tensors, strict=True):
            if tensor[name].shape != expected.shape:
                raise InputError(
                    f"{name} of {key} has the shape {tuple(tensor[name].shape)}, that "
                    f"of {first_key} {tuple(expected.shape)}; a batch must have one "
                    "shape. Run stages 2 and 4 again, or use batch_size 1."
                )
    return keys, default_collate(tensors)


def _pad(items: List[Dict[str, torch.Tensor]], condition: Condition) -> None:
    """Pad the rows of all sources alike, and note their lengths."""
    names = [name for name in items[0] if condition_of(name) == condition]
    if not names:
        return
    most = max(len(item[name]) for item in items for name in names)
    for item in items:
        for name in names:
            steps = len(item[name])
            item[name] = pad(item[name], (0, 0, 0, most - steps))
            item[f"{name}_lengths"] = torch.tensor(steps)
