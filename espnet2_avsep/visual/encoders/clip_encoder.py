"""Frozen image tower of any open_clip model (CLIP, Radford et al., ICML 2021).

Notes:
    The activation follows the weights. OpenAI's were trained with QuickGELU, which
    open_clip's configuration "ViT-B-32" lacks; by a pretrained tag, or in OpenAI's own
    file format, the right activation is set here. A bare state dict does not tell: give
    the model name that ends in "-quickgelu" for it.
"""

import logging
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, NamedTuple, Optional, Tuple

import torch

from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.json_file import parse_json
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.precision import usable_dtype
from espnet2_avsep.visual.encoders.clip_vit import CLIPVisionTransformer, is_plain_vit
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder
from espnet2_avsep.visual.encoders.preprocessing import Preprocessing
from espnet2_avsep.visual.pretrained.open_clip_import import (
    import_open_clip,
    model_config,
)
from espnet2_avsep.visual.pretrained.open_clip_weights import find_weights
from espnet2_avsep.visual.pretrained.weights import warn_random

# The least text tower that open_clip builds.
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
# What OpenAI's archives hold beside the weights.
_CONSTANTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_MAX_CODE = 1 << 26  # bytes of a file of code in them
# What open_clip's models expect, where their weights do not say otherwise.
_PREPROCESSING = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


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
    path, tag = find_weights(model, pretrained, cache_dir)
    settings = _settings(path, tag)
    config = model_config(model)
    state = {} if path is None else _read_tower(path, model)
    if is_plain_vit(config) and (path is None or state):
        dtype = usable_dtype(
            options.get("dtype", "float32"), options.get("device", "cpu")
        )
        tower, expected = _plain_tower(
            model, config, path, state, settings, seed, dtype
        )
    else:
        network = _network(model, path, settings, seed, state)
        tower = network.visual
        open_clip = import_open_clip(model, text=False)
        expected = open_clip.get_model_preprocess_cfg(network)
    info = {"encoder": "open_clip", "model": model, "pretrained": pretrained}
    info.update(_describe(model, path, seed))
    return FrameEncoder(tower, _preprocessing(expected), info, **options)


def build_open_clip(model: str, pretrained: str) -> Tuple[torch.nn.Module, str]:
    """Build an open_clip model with both towers.

    Args:
        model: See :func:`load_open_clip`.
        pretrained: See :func:`load_open_clip`; not "random".

    Returns:
        The model, and what its weights are.

    Raises:
        InputError: see :func:`load_open_clip`.
    """
    path, tag = find_weights(model, pretrained)
    network = _network(model, path, _settings(path, tag))
    return network, _describe(model, path)["weights"]


class _Settings(NamedTuple):
    """What goes with some weights.

    Attributes:
        quick_gelu: Whether their activation is QuickGELU, whatever the model's is.
        preprocess: What replaces the model's preprocessing.
    """

    quick_gelu: bool
    preprocess: Dict[str, Any]


def _settings(path: Optional[str], tag: Dict[str, Any]) -> _Settings:
    """Find activation and preprocessing of weights."""
    if path is None:
        return _Settings(False, {})
    if tag:
        return _Settings(tag.get("quick_gelu", False), tag)
    if _is_torchscript(path):
        return _Settings(True, {})  # only OpenAI ships these
    config = Path(path).parent / "open_clip_config.json"
    if not config.is_file():
        logging.warning(
            "%s: a checkpoint does not tell its activation, and there is no "
            "open_clip_config.json beside it; the model's is used (if these are "
            "OpenAI's weights, give the model name that ends in -quickgelu)",
            path,
        )
        return _Settings(False, {})
    try:
        content = parse_json(config.read_text(encoding="utf-8"))
        quick_gelu = content.get("model_cfg", {}).get("quick_gelu", False)
        return _Settings(quick_gelu, dict(content.get("preprocess_cfg", {})))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{config}: cannot be read ({error}); expected open_clip's configuration, "
            '{"model_cfg": {...}, "preprocess_cfg": {...}}. Fetch it again.'
        ) from error


def _describe(model: str, path: Optional[str], seed: int = 0) -> Dict[str, Any]:
    """Return what weights are, for logs and result files."""
    if path is None:
        return {"weights": warn_random(f"open_clip {model}", seed), "seed": seed}
    sha256 = file_sha256(path)
    logging.info("open_clip %s: loaded %s (sha256 %s)", model, path, sha256)
    return {"weights": f"sha256 {sha256}"}


def _preprocessing(expected: Dict[str, Any]) -> Preprocessing:
    """Return the preprocessing that open_clip's configuration states."""
    size = expected["size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    return Preprocessing(
        resize=Resize(size, expected["resize_mode"], expected["interpolation"]),
        crop=size,
        mean=tuple(expected["mean"]),
        std=tuple(expected["std"]),
        fill=expected["fill_color"],
    )


def _plain_tower(
    model: str,
    config: Dict[str, Any],
    path: Optional[str],
    state: Dict[str, torch.Tensor],
    settings: _Settings,
    seed: int,
    dtype: torch.dtype,
) -> Tuple[CLIPVisionTransformer, Dict[str, Any]]:
    """Build a vision transformer without open_clip, and tell its preprocessing."""
    vision = config["vision_cfg"]
    options = {
        **vision,
        "embed_dim": config["embed_dim"],
        "quick_gelu": settings.quick_gelu or config.get("quick_gelu", False),
        "dtype": dtype,
    }
    if path is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tower = CLIPVisionTransformer(**options)
    else:
        with torch.device("meta"):  # its weights are those of the file
            tower = CLIPVisionTransformer(**options)
        try:
            state = {name: value.to(dtype) for name, value in state.items()}
            tower.load_state_dict(state, strict=True, assign=True)
        except Exception as error:
            raise _misfit(path, model, error) from error
    expected = {"size": vision.get("image_size", 224), **_PREPROCESSING}
    told = settings.preprocess
    expected.update({k: told[k] for k in expected if told.get(k) is not None})
    return tower, expected


def _network(
    model: str,
    path: Optional[str],
    settings: _Settings,
    seed: int = 0,
    state: Optional[Dict[str, torch.Tensor]] = None,
) -> torch.nn.Module:
    """Build a model by open_clip.

    Args:
        model: Its name.
        path: File of the weights; None: random ones.
        settings: What goes with them.
        seed: Of random weights.
        state: Weights of the image tower, where a placeholder of one layer is to stand
            in place of the text tower; {}: of another project's file, which open_clip
            converts; None: both towers are needed.
    """
    text = state is None
    open_clip = import_open_clip(model, text)
    if path is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _build(open_clip, model, text, settings)
    try:
        network = _build(open_clip, model, text or not state, settings)
        if state:
            network.visual.load_state_dict(state, strict=True)
        elif _is_torchscript(path):
            network.load_state_dict(_read_archive(path), strict=True)
        else:
            open_clip.load_checkpoint(network, path, strict=True, weights_only=True)
    except Exception as error:
        raise _misfit(path, model, error) from error
    return network


def _build(
    open_clip: ModuleType, model: str, text: bool, settings: _Settings
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
            force_quick_gelu=settings.quick_gelu,
            force_preprocess_cfg=settings.preprocess,
            **({} if text else {"text_cfg": _NO_TEXT}),
        )
    finally:
        root.setLevel(level)


def _misfit(path: str, model: str, error: Exception) -> InputError:
    return InputError(
        f"--visual_pretrained {path}: does not fit --visual_model {model}: "
        f"{str(error)[:500]}. Name the model that the checkpoint belongs to; the "
        "state dict (.pt, .safetensors) of a whole open_clip model was expected."
    )


def _read_tower(path: str, model: str) -> Dict[str, torch.Tensor]:
    """Read the weights of the image tower, without pickle.

    Returns:
        Name in the tower -> tensor, of files in one storage still on the disk; {} of a
        file whose names are not open_clip's.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return _read_safetensors(path)
        if Path(path).suffix in (".npz", ".npy"):
            return {}
        if _is_torchscript(path):
            state = _read_archive(path)
        else:
            state = torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                mmap=zipfile.is_zipfile(path),
            )
            state = state.get("state_dict", state)
        names = {name: _tower_name(name) for name in state}
        return {short: state[name] for name, short in names.items() if short}
    except Exception as error:
        raise _misfit(path, model, error) from error


def _read_safetensors(path: str) -> Dict[str, torch.Tensor]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = file.keys()
        short = {name: _tower_name(name) for name in names}
        return {short[n]: file.get_tensor(n) for n in names if short[n]}


def _tower_name(name: str) -> Optional[str]:
    """Return a weight's name in the image tower; None of another's."""
    name = name.removeprefix("module.")  # of a training on several GPUs
    return name.removeprefix("visual.") if name.startswith("visual.") else None


def _read_archive(path: str) -> Dict[str, torch.Tensor]:
    """Read the weights of OpenAI's TorchScript archive."""
    _refuse_code(path)
    state = torch.jit.load(path, map_location="cpu").state_dict()
    return {name: value for name, value in state.items() if name not in _CONSTANTS}


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
