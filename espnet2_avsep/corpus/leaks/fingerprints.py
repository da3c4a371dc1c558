"""The fingerprints of a set's clips, computed once and kept in a few files."""

import hashlib
import json
import logging
import multiprocessing
import zlib
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Tuple

import numpy as np

from espnet2_avsep.data.processes import map_in_processes
from espnet2_avsep.data.records.journal import remove_leftovers, signature
from espnet2_avsep.data.records.progress import Progress
from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.data.tables.table_entry import load_npz

# Clips of a file, about; a run that was cut off computes one file again at the most.
_CLIPS_OF_FILE = 256
# The clips that are searched for are fingerprinted from several first samples, as two
# recordings seldom lie the same way under the frames: shifts in parts of a hop.
SHIFTS = 4
# To be raised whenever other fingerprints come out.
_VERSION = 1


class Fingerprints(NamedTuple):
    """Fingerprints of some clips.

    Attributes:
        keys: The clips.
        sizes: (len(keys),): the number of hashes of each clip, of one shift.
        bounds: (len(keys) + 1,): the hashes of clip i are bounds[i] to bounds[i + 1].
        hashes: (n,), uint32.
        frames: (n,), int32: where each hash begins.
    """

    keys: List[str]
    sizes: np.ndarray
    bounds: np.ndarray
    hashes: np.ndarray
    frames: np.ndarray


def make_fingerprints(
    wav: Mapping[str, str], folder: PathLike, shifts: int = 1, nj: int = 1
) -> List[Path]:
    """Fingerprint clips; what is there for the same files already stays.

    Args:
        wav: Clip -> audio file.
        folder: Gets the files; others in it are removed.
        shifts: 1 for clips that are searched in, SHIFTS for those searched for: these
            have the hashes from all first samples.
        nj: Number of processes.

    Returns:
        The files, for ``read_fingerprints``.

    Raises:
        InputError: an audio file cannot be read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    tasks = []
    for number, keys in _groups(list(wav)).items():
        files = {key: wav[key] for key in keys}
        path = folder / f"{number}.npz"
        digest = _digest(files, shifts)
        tasks.append((path, files, shifts, digest))
    wanted = {path for path, *_ in tasks}
    for path in folder.glob("*.npz"):
        if path not in wanted:
            path.unlink()
    todo = [task for task in tasks if not _is_of(task[0], task[3])]
    if todo:
        clips = sum(len(files) for _, files, *_ in todo)
        logging.info("%s: %d of %d clips to be done", folder, clips, len(wav))
    progress = Progress(len(todo), "groups of clips")
    # Torch is not imported before the processes are forked.
    for _ in map_in_processes(_write_group, todo, nj):
        progress.step()
    return sorted(wanted)


def read_fingerprints(path: PathLike) -> Fingerprints:
    """Read one file of ``make_fingerprints``."""
    f = load_npz(path)
    return Fingerprints(
        f["keys"].tolist(), f["sizes"], f["bounds"], f["hashes"], f["frames"]
    )


def fingerprint(
    audio: np.ndarray, shifts: int = 1
) -> Tuple[np.ndarray, np.ndarray, int]:
    """Compute the hashes of a sound and their frames; see ``dsp.peak_hashes``.

    Args:
        audio: (L,), float32.
        shifts: Number of first samples, evenly spread over a hop.

    Returns:
        Hashes (n,), uint32, their frames (n,), int32, and how many of them the sound
        has with its own first sample.
    """
    import torch

    from espnet2_avsep.dsp.peak_hashes import HASH_BITS, HOP, peak_hashes

    joint = []
    for n in range(shifts):
        hashes, frames = peak_hashes(torch.from_numpy(audio[n * HOP // shifts :]))
        joint.append((frames << HASH_BITS | hashes).numpy())
    every = np.unique(np.concatenate(joint))
    hashes = (every & ((1 << HASH_BITS) - 1)).astype(np.uint32)
    return hashes, (every >> HASH_BITS).astype(np.int32), len(joint[0])


def _groups(keys: List[str]) -> Dict[int, List[str]]:
    """Spread clips over groups by their names, so that a new one changes but one."""
    count = 1
    while count * _CLIPS_OF_FILE < len(keys):
        count *= 2
    groups: Dict[int, List[str]] = {}
    for key in sorted(keys, key=str.encode):
        groups.setdefault(zlib.crc32(key.encode()) % count, []).append(key)
    return groups


def _digest(files: Mapping[str, str], shifts: int) -> str:
    state = [_VERSION, shifts, [[key, *signature(files[key])] for key in files]]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _is_of(path: Path, digest: str) -> bool:
    try:
        return str(load_npz(path)["digest"]) == digest
    except (OSError, ValueError, KeyError):
        return False


def _write_group(task: Tuple[Path, Dict[str, str], int, str]) -> None:
    import torch

    from espnet2_avsep.data.audio.audio_io import read_audio

    path, files, shifts, digest = task
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
    found = [fingerprint(read_audio(file)[0], shifts) for file in files.values()]
    bounds = np.cumsum([0, *(len(hashes) for hashes, *_ in found)])
    with atomic_write(path, "wb") as f:
        np.savez(
            f,
            digest=np.array(digest),
            keys=np.array(list(files)),
            sizes=np.array([size for *_, size in found]),
            bounds=bounds,
            hashes=np.concatenate([hashes for hashes, *_ in found]),
            frames=np.concatenate([frames for _, frames, _ in found]),
        )
