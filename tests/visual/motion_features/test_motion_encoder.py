import numpy as np
import pytest
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.motion_features.motion_encoder import (
    NETWORKS,
    load_motion_encoder,
)
from espnet2_avsep.visual.pretrained import weights

torchvision = pytest.importorskip("torchvision")


@pytest.mark.parametrize("model", NETWORKS)
def test_pictures_are_what_torchvision_states(model):
    weights = torchvision.models.get_model_weights(model).KINETICS400_V1
    stated, expected = weights.transforms(), NETWORKS[model]
    preprocessing = expected.preprocessing
    assert list(preprocessing.crop) == stated.crop_size
    assert list(preprocessing.mean) == stated.mean
    assert list(preprocessing.std) == stated.std
    for height, width in ((360, 640), (480, 360)):
        picture = torch.zeros(1, 1, 3, height, width)
        size = stated.resize_size
        resized = torchvision.transforms.functional.resize(picture[0], size).shape[-2:]
        assert preprocessing.resize.target(height, width) == tuple(resized)
    assert f"frame_rate={expected.rate:g}`" in weights.meta["_docs"]
    assert expected.window >= weights.meta.get("min_temporal_size", 1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return torchvision.models.video.s3d(weights=None).eval()


def test_rows_are_what_goes_into_the_classifier(network, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    encoder, rate = load_motion_encoder("s3d", str(path), batch_size=1)
    assert (encoder.dim, encoder.window, rate) == (1024, 16, 15)
    assert encoder.info["weights"].startswith("sha256 ")
    shape = (1, 16, 224, 224, 3)
    windows = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    row = torch.from_numpy(encoder.encode_fitted(list(windows)))
    # torchvision's own steps, and its own classifier.
    stated = torchvision.models.video.S3D_Weights.KINETICS400_V1.transforms()
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (stated.mean, stated.std))
    batch = torch.from_numpy(windows).permute(0, 4, 1, 2, 3) / 255
    with torch.inference_mode():
        expected = network((batch - mean) / std)
        found = network.classifier(row[:, :, None, None, None]).flatten(1)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_weights_that_do_not_fit_or_are_not_known(network, tmp_path):
    path = tmp_path / "w.pth"
    state = network.state_dict()
    state.pop("features.0.0.0.weight")
    torch.save(state, path)
    with pytest.raises(InputError, match="--motion_pretrained .*does not fit S3D"):
        load_motion_encoder("s3d", str(path))
    with pytest.raises(InputError, match="expected one of KINETICS400_V1"):
        load_motion_encoder("s3d", "IMAGENET1K_V1")
    with pytest.raises(InputError, match="--motion_encoder i3d: unknown; .*s3d"):
        load_motion_encoder("i3d")


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "CONNECT_TIMEOUT", 1)
    with pytest.raises(InputError) as error:
        load_motion_encoder("mvit_v2_s", cache_dir=str(tmp_path))
    for part in (
        *("--motion_pretrained KINETICS400_V1", "MViTv2-S", str(tmp_path)),
        *("mvit_v2_s-ae3be167.pth", "/path/to.pt", "--motion_pretrained random"),
    ):
        assert part in str(error.value)


def test_random_weights_by_seed(caplog):
    encoder, rate = load_motion_encoder("r2plus1d_18", "random", seed=1, batch_size=1)
    assert encoder.info["weights"] == "random, seed 1"
    assert (encoder.dim, encoder.window, rate) == (512, 16, 15)
    assert "R(2+1)D-18: randomly initialised (seed 1)" in caplog.text
