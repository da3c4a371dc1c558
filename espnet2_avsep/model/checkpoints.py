"""The files from which a training continues: complete, or set aside."""

import collections
import datetime
import logging
import os
import zipfile
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
import torch

from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.errors import InputError

CHECKPOINT = "checkpoint.pth"
PREVIOUS = "checkpoint.previous.pth"
BROKEN = "checkpoint.broken.pth"
# Links to weights of epochs, and averages of them.
_BEST = ("latest.pth", "*.best.pth", "*.ave.pth", "*.ave_*best.pth")

# What ESPnet keeps in a checkpoint besides tensors: values and times of the reporter,
# counters of the schedulers.
_ALLOWED = [
    datetime.timedelta,
    collections.Counter,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    np.float64(0).__reduce__()[0],
]


def is_complete(path: Path) -> bool:
    """Whether torch.save finished the file, by the checksums of all its records."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, FileNotFoundError, EOFError):
        return False


def read_checkpoint(path: Path) -> Dict[str, Any]:
    """Read what ESPnet's trainer has saved, onto the CPU; no code in it is run.

    Raises:
        InputError: it holds something else.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            states = torch.load(path, map_location="cpu", weights_only=True)
        states["model"], states["reporter"]["epoch"], states["optimizers"]
    except Exception as error:  # what torch.load raises depends on the content
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: expected a checkpoint of ESPnet's trainer, which cannot be read "
            f"from it: {reason}. Move it away, or give this training another "
            "--avsep_tag (or --output_dir)."
        ) from error
    return states


def newest_checkpoint(folder: Path) -> Optional[Path]:
    """Make ``checkpoint.pth`` the newest complete checkpoint of a training.

    A file that was cut off (the training was killed while writing it, the disk was
    full) is renamed to ``checkpoint.broken.pth``, and the one before takes its place.

    Returns:
        Its path; None where there is none.
    """
    newest = folder / CHECKPOINT
    for path in (newest, folder / PREVIOUS):
        if not path.exists():
            continue
        if is_complete(path):
            os.replace(path, newest)
            return newest
        os.replace(path, folder / BROKEN)
        logging.warning(
            f"{path} is incomplete: the training was stopped while it was written, or "
            f"the disk was full. It is renamed to {BROKEN}."
        )
    return None


def make_room_for_next(folder: Path) -> None:
    """Keep the last checkpoint under another name while the next one is written."""
    if (folder / CHECKPOINT).exists():
        os.replace(folder / CHECKPOINT, folder / PREVIOUS)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints, the links to the best weights, and averages of weights.

    So nothing separates with the weights of the previous training. Files of single
    epochs stay until they are overwritten.
    """
    for pattern in (CHECKPOINT, PREVIOUS, BROKEN, *_BEST):
        for path in folder.glob(pattern):
            path.unlink()


def flush(path: Path) -> None:
    """Wait until a file is on the disk."""
    if path.exists():
        with path.open("rb") as f:
            os.fsync(f.fileno())


def save_weights(weights: Dict[str, Any], path: Path) -> None:
    """Write weights, or a whole checkpoint, completely or not at all."""
    with atomic_write(path, "wb") as f:
        torch.save(weights, f)


def link(path: Path, target: str) -> None:
    """Make ``path`` a symbolic link to a file beside it, in one step."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)
