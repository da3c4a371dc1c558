"""Frozen ResNet-18 (He et al., CVPR 2016): global average of its last feature maps.

Notes:
    The visual network of Sound-of-Pixels and Co-Separation builds on this network; here
    it is frozen and gives one 512-d embedding per picture.
"""

from typing import Any, Dict, Optional, Tuple

import torch

from espnet2_avsep.media.picture import Resize
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder
from espnet2_avsep.visual.encoders.preprocessing import Preprocessing
from espnet2_avsep.visual.pretrained.torchvision_weights import build_network

DEFAULT_WEIGHTS = "IMAGENET1K_V1"
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
    pretrained: str = DEFAULT_WEIGHTS,
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
    return build_network(
        "resnet18", "ResNet-18", pretrained, option, seed, cache_dir, without="fc"
    )
