"""Training curves, read from what the trainer wrote into its log."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from espnet2_avsep.data.tables.scp import PathLike

_EPOCH = re.compile(r"\b(\d+)epoch results: (.*)")
_PART = re.compile(r"\[(\w+)\] ")
_VALUE = re.compile(r"([\w/.]+)=([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf))(?:,|$)")
# Of these nobody learns how well it went.
_PLUMBING = re.compile(
    r".*_time|time|total_count|clip|loss_scale|optim\d+_lr\d+|silent_redraws|grad_norm"
    r"|phase|cpu_seconds"
)
PARTS = ("train", "valid")


class Curve(NamedTuple):
    """One quantity over the epochs.

    Attributes:
        name: As in the log, e.g. "loss".
        values: Part ("train", "valid") -> epoch -> value.
        same: Names of other quantities that have the same values.
    """

    name: str
    values: Dict[str, Dict[int, float]]
    same: Tuple[str, ...] = ()


def read_curves(folder: PathLike) -> List[Curve]:
    """Read the curves of a training.

    A training that was stopped and went on has several logs, train.1.log being the one
    before train.log, and so on. Where an epoch was done again, it counts as it was
    last, and the epochs that had followed it do not count.

    Args:
        folder: Of the training.

    Returns:
        The loss, then the others in the order of the log; empty without a log.
        Quantities with the same values, as the loss and its only criterion, are one.
    """
    folder = Path(folder)
    logs = [path for path in folder.glob("train*.log") if _age(path) is not None]
    curves: Dict[str, Dict[str, Dict[int, float]]] = {}
    for path in sorted(logs, key=_age, reverse=True):
        with path.open(encoding="utf-8", errors="replace") as f:
            for line in f:
                found = _EPOCH.search(line)
                if found:
                    _forget(curves, int(found[1]))
                    _add(curves, int(found[1]), found[2])
    found: Dict[str, Curve] = {}
    for name in sorted(curves, key=lambda name: name != "loss"):
        key = repr(curves[name])
        first = found.setdefault(key, Curve(name, curves[name]))
        if first.name != name:
            found[key] = first._replace(same=(*first.same, name))
    return list(found.values())


def _age(path: Path):
    """Number of a log, 0 being the newest; None of another file."""
    found = re.fullmatch(r"train(?:\.(\d+))?\.log", path.name)
    return int(found[1] or 0) if found else None


def _forget(curves: Dict[str, Dict[str, Dict[int, float]]], first: int) -> None:
    """Remove the values of an epoch and of those after it, and what is left empty."""
    for name, parts in list(curves.items()):
        for part, values in list(parts.items()):
            parts[part] = {n: value for n, value in values.items() if n < first}
            if not parts[part]:
                del parts[part]
        if not parts:
            del curves[name]


def _add(curves: Dict[str, Dict[str, Dict[int, float]]], epoch: int, text: str) -> None:
    _, *pieces = _PART.split(text)
    for part, values in zip(pieces[::2], pieces[1::2], strict=True):
        if part not in PARTS:
            continue
        for name, value in _VALUE.findall(values):
            if not _PLUMBING.fullmatch(name):
                curve = curves.setdefault(name, {}).setdefault(part, {})
                curve[epoch] = float(value)
