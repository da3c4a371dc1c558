import hashlib

import numpy as np
import pytest
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.encoders.resnet_encoder import load_resnet18
from espnet2_avsep.visual.pretrained import weights

torchvision = pytest.importorskip("torchvision")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(7)
    return torchvision.models.resnet18(weights=None).eval()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (256, 300, 3), np.uint8)


@pytest.mark.parametrize("with_classifier", [True, False])
def test_rows_are_global_averages(network, image, tmp_path, with_classifier):
    state = network.state_dict()
    if not with_classifier:
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    path = tmp_path / "resnet18.pth"
    torch.save(state, path)
    encoder = load_resnet18(str(path), batch_size=1)
    assert encoder.dim == 512
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert encoder.info["weights"] == f"sha256 {sha256}"
    crop = image[16:240, 38:262]
    batch = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    batch = (batch - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.inference_mode():
        for name, layer in network.named_children():
            if name == "avgpool":
                break
            batch = layer(batch)
    expected = batch.mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(encoder.encode([image]), expected, rtol=1e-4, atol=1e-4)


def test_preprocessing_is_that_of_torchvision(image):
    from PIL import Image

    encoder = load_resnet18("random", batch_size=1)
    transform = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    for size in (300, 400), (500, 320), (90, 120):
        picture = Image.fromarray(image).resize(size)
        found = encoder.normalise(encoder.fit(np.array(picture))[None])[0]
        torch.testing.assert_close(found, transform(picture), atol=1e-5, rtol=0)


def test_random_weights_by_seed(image, caplog):
    before = torch.random.get_rng_state()
    first = load_resnet18("random", seed=0, batch_size=1)
    again = load_resnet18("random", seed=0, batch_size=1)
    other = load_resnet18("random", seed=1, batch_size=1)
    assert torch.equal(before, torch.random.get_rng_state())
    rows = first.encode([image])
    np.testing.assert_array_equal(rows, again.encode([image]))
    assert np.abs(rows - other.encode([image])).max() > 0.1
    assert first.info["weights"] == "random, seed 0"
    assert "randomly initialised (seed 0)" in caplog.text


def test_unusable_weights(network, tmp_path):
    path = tmp_path / "w.pth"
    state = dict(network.state_dict())
    state.pop("conv1.weight")
    torch.save(state, path)
    with pytest.raises(InputError, match="does not fit ResNet-18"):
        load_resnet18(str(path))
    with pytest.raises(InputError, match="expected one of IMAGENET1K_V1"):
        load_resnet18("openai")


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "CONNECT_TIMEOUT", 1)
    with pytest.raises(InputError) as error:
        load_resnet18("IMAGENET1K_V1", cache_dir=str(tmp_path))
    for part in (str(tmp_path), "download.pytorch.org", "/path/to.pt", "random"):
        assert part in str(error.value)
