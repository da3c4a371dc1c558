"""The encoder of a name, and the encoder that made given embeddings."""

import logging
from pathlib import Path
from typing import Any, Dict, Optional, Union

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.encoder_info import (
    ENCODERS,
    FRAMES,
    WEIGHTS_KEYS,
    check_keys,
    read_info,
    text_refusal,
)
from espnet2_avsep.visual.encoders.clip_encoder import build_open_clip, load_open_clip
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder
from espnet2_avsep.visual.encoders.resnet_encoder import DEFAULT_WEIGHTS, load_resnet18
from espnet2_avsep.visual.encoders.text_encoder import TextEncoder
from espnet2_avsep.visual.frame_packer import FramePacker


def build_encoder(
    encoder: str = "open_clip",
    model: str = "ViT-B-32",
    pretrained: Optional[str] = None,
    seed: int = 0,
    **options,
) -> FrameEncoder:
    """Build a frozen picture encoder by name.

    Args:
        encoder: "open_clip" or "resnet18".
        model: open_clip's model name; ResNet-18 has none.
        pretrained: Tag, path or "random"; None takes "openai" for open_clip and
            "IMAGENET1K_V1" for ResNet-18.
        seed: Of random weights.
        **options: device, dtype and batch_size of :class:`FrameEncoder`.

    Raises:
        InputError: unknown names, weights that cannot be had or do not fit.
    """
    if encoder == "open_clip":
        return load_open_clip(model, pretrained or "openai", seed, **options)
    if encoder == "resnet18":
        return load_resnet18(pretrained or DEFAULT_WEIGHTS, seed, **options)
    raise InputError(
        f"--visual_encoder {encoder}: unknown; expected one of {', '.join(ENCODERS)}, "
        f"or {FRAMES} to pack the pictures themselves."
    )


def encoder_from_info(
    path: Union[str, Path], device: str = "cpu", dtype: Optional[str] = None
) -> Union[FrameEncoder, FramePacker]:
    """Build the encoder that a visual_info.yaml names, with the very same weights.

    Of a training on pictures cut out around objects, it squeezes each picture to its
    square, as those were.

    Args:
        path: The file that avsep_extract_visual wrote beside the embeddings.
        device: Where to compute.
        dtype: Of its weights, see :class:`FrameEncoder`; None: that of the embeddings.

    Raises:
        InputError: the file is missing, the embeddings were not made by an encoder of
            this package, or the weights found are others than those that made them.
    """
    info = read_info(path)
    encoder = _encoder_of(path, info, device, dtype)
    if "boxes" in info:
        logging.warning(
            "%s: the pictures of the training were cut out around objects; give such "
            "crops, too: they are squeezed to the encoder's square, as those were",
            path,
        )
        encoder.preprocessing = encoder.preprocessing.squeezed()
    return encoder


def _encoder_of(
    path: Union[str, Path], info: Dict[str, Any], device: str, dtype: Optional[str]
) -> Union[FrameEncoder, FramePacker]:
    """Build the encoder of a visual_info.yaml; see :func:`encoder_from_info`."""
    if info.get("encoder") == FRAMES:
        check_keys(path, info, ("size", "jpeg_quality"))
        return FramePacker(info["size"], info["jpeg_quality"])
    if info.get("encoder") not in ENCODERS:
        raise InputError(
            f"{path}: the embeddings come from {info.get('encoder')!r}, not from an "
            f"encoder of this package ({', '.join(ENCODERS)}); give embeddings of the "
            "same making instead of pictures."
        )
    check_keys(path, info, WEIGHTS_KEYS)
    encoder = build_encoder(
        info["encoder"],
        info["model"],
        info["pretrained"],
        info.get("seed", 0),
        device=device,
        dtype=dtype or info.get("dtype", "float32"),
        batch_size=32,
        pad=False,
    )
    _check_weights(path, info, encoder.info["weights"])
    return encoder


def text_encoder_from_info(path: Union[str, Path], device: str = "cpu") -> TextEncoder:
    """Build the text tower beside the image tower that a visual_info.yaml names.

    Args:
        path: The file that avsep_extract_visual wrote beside the embeddings.
        device: Where to compute.

    Raises:
        InputError: the file is missing, the embeddings do not come from a trained
            open_clip model, or the weights found are others than those that made them.
    """
    info = read_info(path)
    refusal = text_refusal(path, info)
    if refusal is not None:
        raise InputError(refusal)
    check_keys(path, info, WEIGHTS_KEYS)
    network, weights = build_open_clip(info["model"], info["pretrained"])
    _check_weights(path, info, weights)
    return TextEncoder(network, info["model"], device)


def _check_weights(path: Union[str, Path], info: Dict[str, Any], found: str) -> None:
    if info["weights"] is None:  # of a model that others have trained
        logging.warning("%s: does not say which weights; %s are taken", path, found)
        return
    if found != info["weights"]:
        raise InputError(
            f"{path}: names weights with {info['weights']}, but {info['pretrained']} "
            f"has {found}. Give the weights that the features of the training were "
            "made with."
        )
