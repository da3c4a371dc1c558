"""laion_clap's HTSAT network, without laion_clap's own start-up."""

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Dict, Optional

import torch

from espnet2_avsep.environment import compiling_alone
from espnet2_avsep.errors import InputError

SAMPLE_RATE = 48000
HOP_SIZE = 480
WINDOW_SIZE = 1024
MEL_BINS = 64
FMIN, FMAX = 50, 14000
CLIP_SAMPLES = 480000

_SIZES: Dict[str, Dict[str, Any]] = {
    "HTSAT-tiny": {
        "embed_dim": 96,
        "depths": [2, 2, 6, 2],
        "num_heads": [4, 8, 16, 32],
    },
    "HTSAT-base": {
        "embed_dim": 128,
        "depths": [2, 2, 12, 2],
        "num_heads": [4, 8, 16, 32],
    },
    "HTSAT-large": {
        "embed_dim": 256,
        "depths": [2, 2, 12, 2],
        "num_heads": [4, 8, 16, 32],
    },
}

_ALIAS = "espnet2_avsep.teacher._laion_clap_module"


def import_htsat() -> ModuleType:
    """Import ``laion_clap/clap_module/htsat.py`` without the two packages around it.

    ``import laion_clap`` loads transformers, webdataset and the training code, asks the
    Hugging Face hub for tokenizers and appends to ``sys.path``; ``clap_module`` loads
    every text tower. ``htsat.py`` needs only two small files beside it, by relative
    import. So the folder is entered into ``sys.modules`` as an empty package under a
    name of our own and the file is imported from there. Nothing of laion_clap's own
    names is touched: a later ``import laion_clap`` finds what it would have found.

    Raises:
        InputError: laion_clap is not installed, or one of its requirements is missing.
    """
    found = find_spec("laion_clap")
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "the CLAP teacher needs the package laion_clap, which is not installed. "
            "Install it with 'pip install laion_clap==1.1.5' (later releases pin "
            "numpy < 2), or train without the alignment loss."
        )
    if _ALIAS not in sys.modules:
        spec = ModuleSpec(_ALIAS, loader=None, is_package=True)
        folder = Path(found.submodule_search_locations[0]) / "clap_module"
        spec.submodule_search_locations.append(str(folder))
        sys.modules[_ALIAS] = module_from_spec(spec)
    try:
        with compiling_alone():
            importlib.import_module("librosa.util.utils")  # of torchlibrosa
        return importlib.import_module(f"{_ALIAS}.htsat")
    except ImportError as error:
        raise InputError(
            f"the CLAP teacher cannot import HTSAT from laion_clap: {error}. Install "
            "laion_clap 1.1.5 with its requirements."
        ) from error


def build_htsat(
    model: str, enable_fusion: bool = False, htsat_conf: Optional[dict] = None
) -> torch.nn.Module:
    """Build HTSAT with freshly drawn weights, in laion_clap's configuration.

    Args:
        model: "HTSAT-tiny", "HTSAT-base" or "HTSAT-large".
        enable_fusion: With the layers for clips longer than 10 s ("aff_2d"), which the
            fusion checkpoints hold.
        htsat_conf: Replaces ``embed_dim``, ``depths`` or ``num_heads`` of the model,
            for networks of another size than the published ones.

    Raises:
        InputError: an unknown model or an unknown key in ``htsat_conf``.
    """
    if model not in _SIZES:
        raise InputError(
            f"CLAP teacher: model {model!r} is not known; choose one of "
            f"{', '.join(_SIZES)}."
        )
    unknown = sorted(set(htsat_conf or {}) - set(_SIZES[model]))
    if unknown:
        raise InputError(
            f"CLAP teacher: htsat_conf has the unknown keys {unknown}; known are "
            f"{', '.join(_SIZES[model])}."
        )
    config = SimpleNamespace(
        sample_rate=SAMPLE_RATE,
        window_size=WINDOW_SIZE,
        hop_size=HOP_SIZE,
        mel_bins=MEL_BINS,
        fmin=FMIN,
        fmax=FMAX,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        return import_htsat().HTSAT_Swin_Transformer(
            **{**_SIZES[model], **(htsat_conf or {})},
            spec_size=256,
            patch_size=4,
            patch_stride=(4, 4),
            num_classes=527,
            window_size=8,
            config=config,
            enable_fusion=enable_fusion,
            fusion_type="aff_2d" if enable_fusion else "None",
        )
