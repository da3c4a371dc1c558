import json

import numpy as np
import pytest
import torch
import yaml

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.build import encoder_from_info, text_encoder_from_info

open_clip = pytest.importorskip("open_clip")

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 12, "width": 64, "heads": 1, "layers": 2},
}
TEXTS = ["a photo of violin", "a photo of accordion"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small open_clip model with weights in a file, and its visual_info.yaml."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "tiny-text.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny-text.json")
    torch.manual_seed(7)
    model = open_clip.create_model("tiny-text", load_weights=False).eval()
    torch.save(model.state_dict(), folder / "weights.pt")
    from espnet2_avsep.visual.build import build_encoder

    encoder = build_encoder("open_clip", "tiny-text", str(folder / "weights.pt"))
    (folder / "visual_info.yaml").write_text(yaml.safe_dump(encoder.info))
    yield folder, model
    open_clip.factory._MODEL_CONFIGS.pop("tiny-text")


def write_info(trained, tmp_path, **changes):
    info = yaml.safe_load((trained[0] / "visual_info.yaml").read_text())
    path = tmp_path / "visual_info.yaml"
    path.write_text(yaml.safe_dump({**info, **changes}))
    return path


def test_rows_are_those_of_encode_text(trained):
    folder, model = trained
    encoder = text_encoder_from_info(folder / "visual_info.yaml")
    rows = encoder.encode(TEXTS)
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("tiny-text")(TEXTS)
        expected = model.encode_text(tokens).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3
    # The pictures' embeddings, beside which they lie, have the same size.
    assert rows.shape[1] == encoder_from_info(folder / "visual_info.yaml").dim


def test_untrained_weights_are_refused(trained, tmp_path):
    path = write_info(trained, tmp_path, pretrained="random", weights="random, seed 0")
    with pytest.raises(InputError, match="text says nothing"):
        text_encoder_from_info(path)


@pytest.mark.parametrize("encoder", ["resnet18", "frames", "precomputed"])
def test_other_encoders_are_refused(trained, tmp_path, encoder):
    path = write_info(trained, tmp_path, encoder=encoder)
    with pytest.raises(InputError, match=f"{encoder}.*knows no text"):
        text_encoder_from_info(path)


def test_other_weights_are_refused(trained, tmp_path):
    path = write_info(trained, tmp_path, weights="sha256 0")
    with pytest.raises(InputError, match="sha256 0"):
        text_encoder_from_info(path)
    with pytest.raises(InputError, match="no such file"):
        text_encoder_from_info(tmp_path / "none.yaml")
