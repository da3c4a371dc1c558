"""Which encoder a name stands for, and the encoder that made given embeddings."""

from pathlib import Path
from typing import Optional, Union

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.clip_encoder import load_open_clip
from espnet2_avsep.visual.frame_encoder import FrameEncoder
from espnet2_avsep.visual.resnet_encoder import load_resnet18

ENCODERS = ("open_clip", "resnet18")


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
        pretrained: Tag, path or "random"; null takes "openai" for open_clip and
            "IMAGENET1K_V1" for ResNet-18.
        seed: Of random weights.
        **options: device, dtype and batch_size of :class:`FrameEncoder`.

    Raises:
        InputError: unknown names, weights that cannot be had or do not fit.
    """
    if encoder == "open_clip":
        return load_open_clip(model, pretrained or "openai", seed, **options)
    if encoder == "resnet18":
        return load_resnet18(pretrained or "IMAGENET1K_V1", seed, **options)
    raise InputError(
        f"--visual_encoder {encoder}: unknown; expected one of {', '.join(ENCODERS)}."
    )


def encoder_from_info(path: Union[str, Path], device: str = "cpu") -> FrameEncoder:
    """Build the encoder that a visual_info.yaml names, with the very same weights.

    Args:
        path: The file that avsep_extract_visual wrote beside the embeddings.
        device: Where to compute.

    Raises:
        InputError: the file is missing, the embeddings were not made by an encoder of
            this package, or the weights found are others than those that made them.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file, so the encoder of the pictures is not known. Copy "
            "the visual_info.yaml of the training set here, or give embeddings."
        )
    info = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if info.get("encoder") not in ENCODERS:
        raise InputError(
            f"{path}: the embeddings come from {info.get('encoder')!r}, not from an "
            f"encoder of this package ({', '.join(ENCODERS)}); give embeddings of the "
            "same making instead of pictures."
        )
    encoder = build_encoder(
        info["encoder"],
        info["model"],
        info["pretrained"],
        info.get("seed", 0),
        device=device,
        dtype=info.get("dtype", "float32"),
        batch_size=1,
    )
    if encoder.info["weights"] != info["weights"]:
        raise InputError(
            f"{path}: names weights with {info['weights']}, but {info['pretrained']} "
            f"has {encoder.info['weights']}. Give the weights that the features of the "
            "training were made with."
        )
    return encoder
