"""Frozen ResNet-18 (He et al., CVPR 2016): global average of its last feature maps.

Notes:
    The visual network of Sound-of-Pixels and Co-Separation builds on this network; here
    it is frozen and gives one 512-d embedding per picture.
"""

import logging
import os
from typing import Any, Dict, Optional, Tuple

import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.frame_encoder import (
    RANDOM,
    FrameEncoder,
    Preprocessing,
    file_sha256,
    silence,
    warn_random,
    weights_error,
)
from espnet2_avsep.visual.frames import Resize

# What torchvision states for its ImageNet weights of this network.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_PREPROCESSING = Preprocessing(
    resize=Resize((256, 256), "shortest", "bilinear"),
    crop=(224, 224),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)


def load_resnet18(
    pretrained: str = "IMAGENET1K_V1",
    seed: int = 0,
    cache_dir: Optional[str] = None,
    **options,
) -> FrameEncoder:
    """Build a ResNet-18 without its classifier.

    Args:
        pretrained: The name of torchvision weights, the path of a state dict (with or
            without the classifier, "fc."), or "random".
        seed: Of the random weights.
        cache_dir: Where downloads are kept; default: torch's hub folder.
        **options: device, dtype and batch_size of :class:`FrameEncoder`.

    Raises:
        InputError: unknown name, weights that are neither here nor within reach, a
            checkpoint that does not fit.
    """
    network, weights = build_resnet18(pretrained, seed, cache_dir)
    info = {
        "encoder": "resnet18",
        "model": "resnet18",
        "pretrained": pretrained,
        **weights,
    }
    return FrameEncoder(network, _PREPROCESSING, info, **options)


def build_resnet18(
    pretrained: str,
    seed: int = 0,
    cache_dir: Optional[str] = None,
    option: str = "--visual_pretrained",
) -> Tuple[torch.nn.Module, Dict[str, Any]]:
    """Build torchvision's ResNet-18 without its classifier.

    Args:
        pretrained: See :func:`load_resnet18`.
        seed: Of random weights.
        cache_dir: See :func:`load_resnet18`.
        option: What names the weights, for messages.

    Returns:
        The network, and what its weights are, for logs and result files.

    Raises:
        InputError: see :func:`load_resnet18`.
    """
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.resnet18(weights=None)
    network.fc = torch.nn.Identity()
    if pretrained == RANDOM:
        return network, {"weights": warn_random("ResNet-18", seed), "seed": seed}
    path = pretrained
    if not os.path.isfile(path):
        path = _fetch(pretrained, cache_dir, option)
    _load(network, path, option)
    sha256 = file_sha256(path)
    logging.info("ResNet-18: loaded %s (sha256 %s)", path, sha256)
    return network, {"weights": f"sha256 {sha256}"}


def _load(network: torch.nn.Module, path: str, option: str) -> None:
    """Load a state dict, every key of it but the classifier's, without pickle."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
        network.load_state_dict(state, strict=True)
    except Exception as error:
        raise InputError(
            f"{option} {path}: does not fit ResNet-18: {str(error)[:500]}. "
            "A state dict of torchvision's resnet18 was expected."
        ) from error


def _fetch(name: str, cache_dir: Optional[str], option: str) -> str:
    """Return the file of torchvision weights: from the cache, else from the network."""
    import torchvision

    known = torchvision.models.ResNet18_Weights.__members__
    if name not in known:
        raise InputError(
            f"{option} {name}: no such file, and no torchvision weights of "
            f"resnet18; expected one of {', '.join(known)}, the path of a state dict, "
            f"or '{RANDOM}'."
        )
    url = known[name].url
    folder = cache_dir or os.path.join(torch.hub.get_dir(), "checkpoints")
    path = os.path.join(folder, os.path.basename(url))
    if os.path.isfile(path):
        return path
    problem = silence(url)
    if problem is None:
        try:
            os.makedirs(folder, exist_ok=True)
            torch.hub.download_url_to_file(
                url, path, hash_prefix=os.path.splitext(path)[0][-8:], progress=False
            )
            return path
        except (OSError, RuntimeError) as error:
            problem = str(error)
    raise weights_error("ResNet-18", name, folder, url, problem, option)
