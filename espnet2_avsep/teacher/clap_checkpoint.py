"""CLAP checkpoints: find, download, verify, and read the audio half of them."""

import logging
import os
import re
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np
import torch

from espnet2_avsep.data.cache import cache_dir as package_cache_dir
from espnet2_avsep.data.fetch import FetchError, fetch_file
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.errors import InputError
from espnet2_avsep.weights import read_checkpoint

# name -> (model, enable_fusion): the files of the hub's repository lukewys/laion_clap
PUBLISHED: Dict[str, Tuple[str, bool]] = {
    "630k-best.pt": ("HTSAT-tiny", False),
    "630k-audioset-best.pt": ("HTSAT-tiny", False),
    "630k-fusion-best.pt": ("HTSAT-tiny", True),
    "630k-audioset-fusion-best.pt": ("HTSAT-tiny", True),
    "music_audioset_epoch_15_esc_90.14.pt": ("HTSAT-base", False),
    "music_speech_epoch_15_esc_89.25.pt": ("HTSAT-base", False),
    "music_speech_audioset_epoch_15_esc_89.98.pt": ("HTSAT-base", False),
}

_TIMEOUT = 30  # seconds without an answer before a download is given up
_WRAPPERS = re.compile(r"^((module|model)\.)+")
_TEXT = re.compile(r"^(text_|token_embedding|positional_embedding|ln_final)")


class AudioState(NamedTuple):
    """The audio half of a checkpoint.

    Attributes:
        branch: HTSAT's tensors, without the prefix ``audio_branch.``.
        projection: The projection's, without the prefix ``audio_projection.``.
        text: Number of tensors of the text tower, which were left unread.
        other: Number of other tensors that were left unread (logit scales, ...).
    """

    branch: Dict[str, torch.Tensor]
    projection: Dict[str, torch.Tensor]
    text: int
    other: int


def default_cache_dir() -> Path:
    """``$ESPNET2_AVSEP_CACHE/clap``, or ``~/.cache/espnet2_avsep/clap``."""
    return package_cache_dir("clap")


def find_checkpoint(
    checkpoint: str,
    checksum: Optional[str] = None,
    cache_dir: Union[str, Path, None] = None,
) -> Tuple[Path, str]:
    """Find a checkpoint, by path or by published name, and verify it.

    A published name is looked for in the cache folder and downloaded where it is not
    there. Its SHA-256 is written beside it (``<name>.sha256``) the first time and
    compared every later time. A file given by path is compared with ``checksum`` only.

    Args:
        checkpoint: A path, or a name in ``PUBLISHED``.
        checksum: The SHA-256 that the file must have, in hexadecimal.
        cache_dir: Where downloads are kept; default ``default_cache_dir()``.

    Returns:
        The path and the file's SHA-256.

    Raises:
        InputError: no such file, no network, or another checksum than wanted.
    """
    path = Path(checkpoint).expanduser()
    cached = not path.is_file()
    if cached:
        if checkpoint not in PUBLISHED:
            raise InputError(
                f"CLAP checkpoint {checkpoint!r}: no such file, and not the name of a "
                f"published checkpoint ({', '.join(PUBLISHED)}). Give a path, one of "
                "these names, or 'random' for a randomly initialised teacher."
            )
        path = Path(cache_dir or default_cache_dir()).expanduser() / checkpoint
        if not path.is_file():
            _download(checkpoint, path)
    digest = _sha256(path)
    if checksum is not None and digest != checksum.strip().lower():
        raise InputError(
            f"{path}: its SHA-256 is {digest}, but the option checksum requires "
            f"{checksum}. The file is damaged or another one: remove it (a published "
            "checkpoint is then downloaded again) or correct the option."
        )
    if cached:
        _compare_with_record(path, digest)
    return path, digest


def _compare_with_record(path: Path, digest: str) -> None:
    """Compare with ``<path>.sha256`` (the format of sha256sum), or write that file."""
    record = path.with_name(path.name + ".sha256")
    if not record.is_file():
        try:
            with atomic_write(record) as f:
                f.write(f"{digest}  {path.name}\n")
        except (OSError, InputError) as error:  # a cache that others may only read
            logging.warning(f"{record}: the checksum cannot be recorded: {error}")
        return
    recorded = record.read_text(encoding="utf-8").split(maxsplit=1)[:1]
    if recorded != [digest]:
        raise InputError(
            f"{path}: its SHA-256 is {digest}, but {' '.join(recorded)} was recorded "
            f"in {record} when the file was first used. The file has changed since: "
            "remove both files and let the checkpoint be downloaded again."
        )


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: the checkpoint cannot be read: {error}.") from error


def _download(name: str, path: Path) -> None:
    """Fetch a published checkpoint; ``path`` appears only when it is complete.

    ``HF_ENDPOINT`` (a mirror of the hub) and ``HF_HUB_OFFLINE`` mean what they mean to
    every program that uses the hub.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{endpoint}/lukewys/laion_clap/resolve/main/{name}"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise _cannot_download(
            url, path, "the environment variable HF_HUB_OFFLINE is set"
        )
    try:
        fetch_file(url, path, timeout=_TIMEOUT)
    except (FetchError, OSError) as error:  # OSError: the disk is full
        raise _cannot_download(url, path, str(error)) from error


def _cannot_download(url: str, path: Path, reason: str) -> InputError:
    return InputError(
        f"CLAP checkpoint {path.name}: {url} cannot be downloaded: {reason}. Without "
        f"network, fetch the file elsewhere and put it at {path} (the folder is chosen "
        "by the option cache_dir or the environment variable ESPNET2_AVSEP_CACHE), or "
        "give its path in the teacher's option checkpoint; 'checkpoint: random' asks "
        "for a randomly initialised teacher, which is good for trying things out only."
    )


def read_audio_state(path: Path) -> AudioState:
    """Read the tensors of the audio branch and its projection; leave the rest unread.

    Known layouts are laion_clap's (``{"state_dict": {"module.audio_branch...": ..}}``)
    and a plain state dict, as a pickle or as safetensors, with or without the prefixes
    ``module.`` and ``model.``. Pickles are loaded with ``weights_only=True``, memory
    mapped where the format allows it.

    Raises:
        InputError: the file cannot be read, or holds no audio branch.
    """
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    else:
        tensors = _read_pickle(path)
    state = AudioState({}, {}, 0, 0)
    text = other = 0
    for key, tensor in tensors.items():
        part, _, name = _WRAPPERS.sub("", key).partition(".")
        if part == "audio_branch":
            state.branch[name] = tensor
        elif part == "audio_projection":
            state.projection[name] = tensor
        elif _TEXT.match(part):
            text += 1
        else:
            other += 1
    if not state.branch:
        raise InputError(
            f"{path}: holds no tensors named audio_branch.*, as a laion_clap "
            f"checkpoint does; the first names found are {shorten(tensors)}."
        )
    return state._replace(text=text, other=other)


def _read_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as f:
            names = f.keys()
            unread = torch.empty(0)
            return {
                name: f.get_tensor(name) if "audio_" in name else unread
                for name in names
            }
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as safetensors: {error}. The file is damaged or "
            "of another format; fetch it again."
        ) from error


def _read_pickle(path: Path) -> Mapping[str, torch.Tensor]:
    # laion_clap's training keeps the epoch and the best scores beside the weights as
    # numpy scalars. Making one runs no foreign code, so their constructor is allowed,
    # here and for this call only, under its name before and after numpy 2.
    scalar = np.float64(0).__reduce__()[0]
    allowed: List = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4")),
    ]
    loaded = read_checkpoint(path, allowed, mmap=True)
    state = loaded.get("state_dict", loaded)
    if not isinstance(state, dict):
        raise InputError(
            f"{path}: holds a {type(state).__name__} under the key 'state_dict'; "
            "expected names and tensors."
        )
    return {key: value for key, value in state.items() if torch.is_tensor(value)}
