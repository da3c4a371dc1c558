"""What visual_info.yaml says of the encoder of the pictures; imports no network."""

from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError, shown
from espnet2_avsep.visual.visual_options import ENCODERS, FRAMES, MAX_SIZE  # noqa: F401

# Weights of this name are drawn, not trained.
RANDOM = "random"
WEIGHTS_KEYS = ("model", "pretrained", "weights")


def text_refusal(path: Union[str, Path], info: Dict[str, Any]) -> Optional[str]:
    """Return why a model takes no text; None where it does.

    Args:
        path: The visual_info.yaml, for the message.
        info: Its content.
    """
    if info.get("encoder") != "open_clip":
        return (
            f"{path}: the model was trained on pictures encoded by "
            f"{info.get('encoder')!r}, which knows no text. Only models trained on "
            "open_clip embeddings take text; give a picture or an embedding."
        )
    if info.get("pretrained") == RANDOM:
        return (
            f"{path}: the model was trained with a randomly initialised open_clip, "
            "whose text tower has never seen a picture: text says nothing to it. Give "
            "a picture or an embedding, or train with CLIP's weights "
            "(--visual_pretrained openai)."
        )
    return None


def read_info(path: Union[str, Path]) -> Dict[str, Any]:
    """Read a visual_info.yaml.

    Raises:
        InputError: the file is missing, or holds no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file, so the encoder of the pictures is not known. Copy "
            "the visual_info.yaml of the training set here, or give embeddings."
        )
    info = read_yaml(path)
    check_keys(path, info, ("encoder",))
    return info


def check_keys(
    path: Union[str, Path], info: Dict[str, Any], keys: Sequence[str]
) -> None:
    """Check that a description has some keys, of the kinds that are expected.

    Raises:
        InputError: it has not.
    """
    # Models that others have trained do not say their weights.
    kinds = {"size": int, "jpeg_quality": int, "weights": (str, type(None))}
    missing = [k for k in keys if not isinstance(info.get(k), kinds.get(k, str))]
    if missing:
        raise InputError(
            f"{path}: is not the description of an encoder that stage 2 writes: "
            f"{', '.join(missing)} missing or of the wrong kind."
        )
    if "size" in keys and not 1 <= info["size"] <= MAX_SIZE:
        raise InputError(
            f"{path}: size is {shown(info['size'])}; expected 1 to {MAX_SIZE} pixels."
        )
