"""Motion encoders: a window of pictures in, one motion feature out.

Frozen video networks are here; optical flow is in flow_encoder.py.

Notes:
    DGFNet and iQuery take I3D of FAME (Ding et al., CVPR 2022); torchvision's networks,
    trained on Kinetics-400, stand in for it. Size, rate and normalisation of the
    pictures are those that torchvision states for the weights; its windows of S3D have
    128 pictures, here they have 16 like those of the others. Pictures are low-pass
    filtered when they are scaled down, torchvision's are not.
"""

from typing import NamedTuple, Optional, Tuple

import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder
from espnet2_avsep.visual.encoders.preprocessing import Preprocessing
from espnet2_avsep.visual.motion_features.flow_encoder import load_flow_encoder
from espnet2_avsep.visual.motion_features.motion_names import FLOWS, WEIGHTS
from espnet2_avsep.visual.pretrained.torchvision_weights import build_network

OPTION = "--motion_pretrained"
_KINETICS = {
    "mean": (0.43216, 0.394666, 0.37645),
    "std": (0.22803, 0.22145, 0.216989),
}


class VideoNetwork(NamedTuple):
    """What a video network expects, and where its classifier is.

    Attributes:
        title: Its name.
        preprocessing: Of each picture.
        rate: Pictures per second of a window.
        window: Pictures of a window.
        classifier: Name of the module that is left out; what goes into it is the
            feature.
    """

    title: str
    preprocessing: Preprocessing
    rate: float
    window: int
    classifier: str


NETWORKS = {
    "s3d": VideoNetwork(
        "S3D",
        Preprocessing(
            Resize((256, 256), "squash", "bilinear"), (224, 224), **_KINETICS
        ),
        rate=15,
        window=16,
        classifier="classifier",
    ),
    "r2plus1d_18": VideoNetwork(
        "R(2+1)D-18",
        Preprocessing(
            Resize((128, 171), "squash", "bilinear"), (112, 112), **_KINETICS
        ),
        rate=15,
        window=16,
        classifier="fc",
    ),
    "mvit_v2_s": VideoNetwork(
        "MViTv2-S",
        Preprocessing(
            Resize((256, 256), "shortest", "bilinear"),
            (224, 224),
            mean=(0.45, 0.45, 0.45),
            std=(0.225, 0.225, 0.225),
        ),
        rate=7.5,
        window=16,
        classifier="head",
    ),
}


def load_motion_encoder(
    model: str = "s3d",
    pretrained: Optional[str] = None,
    seed: int = 0,
    cache_dir: Optional[str] = None,
    **options,
) -> Tuple[FrameEncoder, Optional[float]]:
    """Build a torchvision video network without its classifier, or optical flow.

    A feature of a video network is its own average over the window: 1024 values of
    S3D, 512 of R(2+1)D-18, 768 (the class token) of MViTv2-S. Optical flow: see
    flow_encoder.py.

    Args:
        model: A name of motion_names.WEIGHTS.
        pretrained: The name of torchvision weights, the path of a state dict (with or
            without the classifier), or "random"; None: those of motion_names.WEIGHTS.
        seed: Of random weights.
        cache_dir: Where downloads are kept; default: torch's hub folder.
        **options: device, dtype and batch_size of :class:`FrameEncoder`.

    Returns:
        The encoder, which takes windows, and the pictures per second of these; None:
        one picture at each end of a row's time (optical flow).

    Raises:
        InputError: unknown names, weights that are neither here nor within reach, a
            file that does not fit.
    """
    if model not in WEIGHTS:
        raise InputError(
            f"--motion_encoder {model}: unknown; expected one of {', '.join(WEIGHTS)}."
        )
    pretrained = WEIGHTS[model] if pretrained is None else pretrained
    if model in FLOWS:
        encoder = load_flow_encoder(
            model, pretrained, OPTION, seed, cache_dir, **options
        )
        return encoder, None
    expected = NETWORKS[model]
    network, weights = build_network(
        *(model, expected.title, pretrained, OPTION, seed, cache_dir),
        without=expected.classifier,
    )
    if model == "s3d":
        # The same average over such a window, and bfloat16 works on CPUs.
        network.avgpool = torch.nn.AdaptiveAvgPool3d(1)
    info = {"encoder": model, "pretrained": pretrained, **weights}
    encoder = FrameEncoder(
        network, expected.preprocessing, info, window=expected.window, **options
    )
    return encoder, expected.rate
