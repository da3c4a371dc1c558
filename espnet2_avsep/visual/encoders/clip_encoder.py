"""Frozen image tower of any open_clip model (CLIP, Radford et al., ICML 2021).

Notes:
    The activation follows the weights. OpenAI's were trained with QuickGELU, which
    open_clip's configuration "ViT-B-32" lacks; by a pretrained tag, or in OpenAI's own
    file format, the right activation is set here. A bare state dict does not tell: give
    the model name that ends in "-quickgelu" for it.
"""

import json
import logging
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Optional, Tuple

import torch

from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder
from espnet2_avsep.visual.encoders.preprocessing import Preprocessing
from espnet2_avsep.visual.pretrained.open_clip_import import import_open_clip
from espnet2_avsep.visual.pretrained.open_clip_weights import find_weights
from espnet2_avsep.visual.pretrained.weights import warn_random

# The least text tower that open_clip builds.
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
# What OpenAI's archives hold beside the weights.
_ARCHIVE_CONSTANTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_MAX_CODE = 1 << 26  # bytes of a file of code in them


def load_open_clip(
    model: str = "ViT-B-32",
    pretrained: str = "openai",
    seed: int = 0,
    cache_dir: Optional[str] = None,
    **options,
) -> FrameEncoder:
    """Build an open_clip image tower; the text tower is dropped.

    Its rows are the projected embeddings as ``encode_image`` returns them, not
    normalised.

    Args:
        model: One of open_clip's model names.
        pretrained: A tag that open_clip knows for the model, the path of a checkpoint
            (.safetensors, a state dict, or OpenAI's TorchScript archive), or "random".
        seed: Of the random weights.
        cache_dir: Where downloads are kept; default: the Hugging Face cache.
        **options: device, dtype and batch_size of :class:`FrameEncoder`.

    Raises:
        InputError: unknown model or tag, weights that are neither here nor within
            reach, a checkpoint that does not fit.
    """
    network, weights = build_open_clip(model, pretrained, seed, cache_dir, text=False)
    return _wrap(network, model, pretrained, weights, options)


def build_open_clip(
    model: str,
    pretrained: str,
    seed: int = 0,
    cache_dir: Optional[str] = None,
    text: bool = True,
) -> Tuple[torch.nn.Module, Dict[str, Any]]:
    """Build an open_clip model.

    Args:
        model: See :func:`load_open_clip`.
        pretrained: See :func:`load_open_clip`.
        seed: Of random weights.
        cache_dir: See :func:`load_open_clip`.
        text: Whether the text tower is needed; without it a placeholder of one layer
            stands in its place, and only the weights of the image tower are loaded.

    Returns:
        The model, and what its weights are, for logs and result files.

    Raises:
        InputError: see :func:`load_open_clip`.
    """
    path, tag = find_weights(model, pretrained, cache_dir)
    open_clip = import_open_clip(model, text)
    if path is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _build(open_clip, model, text, quick_gelu=False, preprocess={})
        weights = warn_random(f"open_clip {model}", seed)
        return network, {"weights": weights, "seed": seed}
    if tag:
        settings = {"quick_gelu": tag.get("quick_gelu", False), "preprocess": tag}
    else:
        settings = _settings_of(path)
    network = _load(open_clip, model, path, text, settings)
    sha256 = file_sha256(path)
    logging.info("open_clip %s: loaded %s (sha256 %s)", model, path, sha256)
    return network, {"weights": f"sha256 {sha256}"}


def _wrap(
    network, model: str, pretrained: str, weights: Dict[str, Any], options
) -> FrameEncoder:
    """Keep the image tower with the preprocessing that open_clip states for it."""
    open_clip = import_open_clip(model, text=False)
    expected = open_clip.get_model_preprocess_cfg(network)
    size = expected["size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    return FrameEncoder(
        network.visual,
        Preprocessing(
            resize=Resize(size, expected["resize_mode"], expected["interpolation"]),
            crop=size,
            mean=tuple(expected["mean"]),
            std=tuple(expected["std"]),
            fill=expected["fill_color"],
        ),
        {
            "encoder": "open_clip",
            "model": model,
            "pretrained": pretrained,
            **weights,
        },
        **options,
    )


def _build(
    open_clip: ModuleType,
    model: str,
    text: bool,
    quick_gelu: bool,
    preprocess: Dict[str, Any],
) -> torch.nn.Module:
    """Build an open_clip model without weights and without the network."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it warns that no weights were loaded
    try:
        return open_clip.create_model(
            model,
            pretrained=None,
            load_weights=False,
            pretrained_image=False,
            pretrained_text=False,
            force_quick_gelu=quick_gelu,
            force_preprocess_cfg=preprocess,
            **({} if text else {"text_cfg": _NO_TEXT}),
        )
    finally:
        root.setLevel(level)


def _load(
    open_clip: ModuleType, model: str, path: str, text: bool, settings: Dict[str, Any]
) -> torch.nn.Module:
    """Build a model and load a checkpoint into it, strictly and without pickle."""
    try:
        state = None
        if _is_torchscript(path):
            _refuse_code(path)
            state = torch.jit.load(path, map_location="cpu").state_dict()
            for key in _ARCHIVE_CONSTANTS:
                state.pop(key, None)
        elif not text and Path(path).suffix not in (".npz", ".npy"):
            state = open_clip.factory.load_state_dict(path, weights_only=True)
        tower = {
            key.removeprefix("visual."): value
            for key, value in (state or {}).items()
            if key.startswith("visual.")
        }
        # Without such keys it is the file of another project: open_clip converts it.
        text = text or not tower
        network = _build(open_clip, model, text, **settings)
        if not text:
            network.visual.load_state_dict(tower, strict=True)
        elif _is_torchscript(path):
            network.load_state_dict(state, strict=True)
        else:
            open_clip.load_checkpoint(network, path, strict=True, weights_only=True)
    except Exception as error:
        raise InputError(
            f"--visual_pretrained {path}: does not fit --visual_model {model}: "
            f"{str(error)[:500]}. Name the model that the checkpoint belongs to; the "
            "state dict (.pt, .safetensors) of a whole open_clip model was expected."
        ) from error
    return network


def _settings_of(path: str) -> Dict[str, Any]:
    """Find activation and preprocessing of a local checkpoint."""
    if _is_torchscript(path):
        return {"quick_gelu": True, "preprocess": {}}  # only OpenAI ships these
    config = Path(path).parent / "open_clip_config.json"
    if not config.is_file():
        logging.warning(
            "%s: a checkpoint does not tell its activation, and there is no "
            "open_clip_config.json beside it; the model's is used (if these are "
            "OpenAI's weights, give the model name that ends in -quickgelu)",
            path,
        )
        return {"quick_gelu": False, "preprocess": {}}
    content = json.loads(config.read_text())
    return {
        "quick_gelu": content.get("model_cfg", {}).get("quick_gelu", False),
        "preprocess": content.get("preprocess_cfg", {}),
    }


def _is_torchscript(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _refuse_code(path: str) -> None:
    """Raise where torch.jit.load would run a method of the archive.

    It calls each ``__setstate__``, which could for instance write files (aten::save).

    Raises:
        ValueError: the archive has such a method; OpenAI's have none.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if re.search(r"/(data|constants)/\d+$|\.debug_pkl$", entry.filename):
                continue  # a tensor; lines of source for error messages
            if entry.file_size > _MAX_CODE or b"__setstate__" in archive.read(entry):
                raise ValueError(f"its {entry.filename} would run code")
