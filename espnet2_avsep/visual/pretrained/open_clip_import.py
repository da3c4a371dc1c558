"""Import open_clip without the packages that a model's towers do not need."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List

from espnet2_avsep.lean_imports import without_compiler

# open_clip's wrappers of text and image towers from these packages work without them
# until such a tower is built. Their imports take longer than open_clip's own.
_OPTIONAL = {"transformers": "hf_model_name", "timm": "timm_model_name"}
_WRAPPERS = {"transformers": "open_clip.hf_model", "timm": "open_clip.timm_model"}


def import_open_clip(model: str, text: bool = True) -> ModuleType:
    """Return the module open_clip, able to build a model.

    Args:
        model: open_clip's name of the model, e.g. "ViT-B-32".
        text: Whether its text tower is needed.

    Returns:
        open_clip. transformers and timm are imported only where the model's
        configuration names them, or where they are imported already.
    """
    needed = _needed(model, text)
    if "open_clip" in sys.modules:
        lacking = [
            package
            for package in needed
            if getattr(sys.modules.get(_WRAPPERS[package]), package, None) is None
        ]
        if not lacking:
            return sys.modules["open_clip"]
        # It was imported for another model: import it again, with these packages.
        for name in [n for n in sys.modules if n.partition(".")[0] == "open_clip"]:
            del sys.modules[name]
    left_out = [p for p in _OPTIONAL if p not in needed and p not in sys.modules]
    # None in sys.modules: "import <name>" raises ImportError, as if not installed.
    sys.modules.update(dict.fromkeys(left_out))
    try:
        with without_compiler():
            import open_clip
    finally:
        for package in left_out:
            del sys.modules[package]
    return open_clip


def import_tags() -> ModuleType:
    """Return a module that knows the pretrained tags of each model.

    It is open_clip where that is imported; else its module of tags, imported by itself
    and so without torch.
    """
    if "open_clip" in sys.modules:
        return sys.modules["open_clip"]
    package = ModuleType("open_clip")
    package.__path__ = [str(_folder())]
    sys.modules["open_clip"] = package
    # It imports torch, and is used for downloads that we make ourselves.
    left_out = {"safetensors.torch"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(left_out))
    try:
        return importlib.import_module("open_clip.pretrained")
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "open_clip"]:
            del sys.modules[name]
        for name in left_out:
            del sys.modules[name]


def list_models() -> List[str]:
    """Return the names of open_clip's models, sorted."""
    if "open_clip" in sys.modules:  # with those that were added
        return sys.modules["open_clip"].list_models()
    return sorted(path.stem for path in (_folder() / "model_configs").glob("*.json"))


def _needed(model: str, text: bool) -> set:
    """Return which of the optional packages the configuration of a model names."""
    config = model_config(model)
    towers = [config.get("vision_cfg", {}), config.get("text_cfg", {}) if text else {}]
    keys = {key for tower in towers for key in tower}
    return {package for package, key in _OPTIONAL.items() if key in keys}


def model_config(model: str) -> Dict[str, Any]:
    """Return open_clip's configuration of a model; {} of an unknown one.

    It is read from open_clip's folder, unless open_clip is imported already.
    """
    if "open_clip" in sys.modules:  # with those that were added
        return sys.modules["open_clip"].get_model_config(model.replace("/", "-")) or {}
    path = _folder() / "model_configs" / f"{model.replace('/', '-')}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _folder() -> Path:
    """Return open_clip's folder.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'open_clip'", name="open_clip")
    return Path(spec.submodule_search_locations[0])
