import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.visual.encoders.dilated_resnet import DilatedResNet18
from espnet2_avsep.visual.encoders.frame_networks import (
    CCoLResNet18,
    CoSeparationResNet18,
    PredictiveCodingResNet18,
)


@pytest.fixture(scope="module")
def frames():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 2, 3, 3, 64, 64), generator=generator).byte()


def maps_of(model, frames):
    """Maps of the plain ResNet-18, (B, N, V, 512, 2, 2)."""
    x = (frames.float() - model.mean) / model.std
    return model._features(x.flatten(0, 2)).unflatten(0, frames.shape[:3])


def randomise(norm):
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 1.5)


def normalised(norm, x):
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[
        :, None, None
    ]


@torch.no_grad()
def test_co_separation(frames):
    torch.manual_seed(0)
    model = CoSeparationResNet18(7, 64, "random", maps=5).eval()
    conv, norm, *_, linear = model.projection
    randomise(norm)
    x = torch.einsum(
        "kc,bnvchw->bnvkhw", conv.weight[:, :, 0, 0], maps_of(model, frames)
    )
    x = normalised(norm, x + conv.bias[:, None, None]).relu()
    x = F.linear(x.flatten(3), linear.weight, linear.bias)
    torch.testing.assert_close(model(frames), x.mean(dim=2), atol=1e-5, rtol=1e-4)
    full = CoSeparationResNet18(pretrained="random").projection
    assert full[-1].weight.shape == (512, 6272)  # 128 maps of 7 x 7
    assert full[-1].weight.std() == pytest.approx(0.02, rel=0.01)


def test_co_separation_learns_its_head_where_the_features_are_frozen(frames):
    model = CoSeparationResNet18(7, 64, "random", maps=5, train_features=False).train()
    frozen = {k: v.clone() for k, v in model.features.state_dict().items()}
    before = model.projection[1].running_mean.clone()
    model(frames).square().sum().backward()
    assert all(p.grad is None for p in model.features.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.projection.parameters())
    assert not torch.equal(model.projection[1].running_mean, before)
    for key, value in model.features.state_dict().items():
        assert torch.equal(value, frozen[key]), key


@torch.no_grad()
def test_predictive_coding(frames):
    torch.manual_seed(0)
    model = PredictiveCodingResNet18(4, 64, "random").eval()
    conv, norm, *_ = model.projection
    assert conv.weight.shape == (4, 512, 1, 1)  # 2 x 2 positions are left
    randomise(norm)
    x = torch.einsum(
        "kc,bnvchw->bnvkhw", conv.weight[:, :, 0, 0], maps_of(model, frames)
    )
    x = normalised(norm, x + conv.bias[:, None, None])
    x = torch.where(x > 0, x, 0.2 * x).mean(dim=2).flatten(2)
    assert x.shape == (2, 2, 4 * 2 * 2)
    torch.testing.assert_close(model(frames), x, atol=1e-5, rtol=1e-4)
    full = PredictiveCodingResNet18(pretrained="random")
    assert full.projection[0].weight.shape == (16, 512, 6, 6)
    trained = {k.split(".")[0] for k, p in full.named_parameters() if p.requires_grad}
    assert trained == {"projection"}
    with pytest.raises(ValueError, match="size=32: expected at least 64"):
        PredictiveCodingResNet18(4, 32, "random")


@torch.no_grad()
def test_statistics_of_each_source(frames):
    """Sound of Pixels has one pass of its frame network per source."""
    frames = frames.clone()
    frames[:, 1] = frames[:, 1] // 4
    for statistics in ("per_source", "joint"):
        torch.manual_seed(0)
        model = DilatedResNet18(5, 64, "random", bn_statistics=statistics)
        apart = torch.cat([model(frames[:, n : n + 1]) for n in (0, 1)], dim=1)
        means = model.features.bn1.running_mean.clone()
        torch.manual_seed(0)
        model = DilatedResNet18(5, 64, "random", bn_statistics=statistics)
        together = model(frames)
        if statistics == "per_source":
            torch.testing.assert_close(together, apart)
            torch.testing.assert_close(model.features.bn1.running_mean, means)
        else:
            assert (together - apart).abs().max() > 0.01
    with pytest.raises(ValueError, match="bn_statistics='none'"):
        DilatedResNet18(5, 64, "random", bn_statistics="none")


@torch.no_grad()
@pytest.mark.parametrize("statistics", ["pretrained", "batch"])
def test_statistics_of_a_frozen_network(frames, statistics):
    """AVPC's program leaves its frozen ResNet-18 in training mode."""
    torch.manual_seed(0)
    model = PredictiveCodingResNet18(
        4, 64, "random", frozen_statistics=statistics
    ).train()
    model.features.eval()  # as ESPnetAVSeparationModel.train() does
    before = model.features.bn1.running_mean.clone()
    found = model(frames)
    moved = not torch.equal(model.features.bn1.running_mean, before)
    assert moved == (statistics == "batch")
    # The head's BatchNorm takes the statistics of each source.
    apart = torch.cat([model(frames[:, n : n + 1]) for n in (0, 1)], dim=1)
    torch.testing.assert_close(found, apart, atol=1e-5, rtol=1e-4)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()(frames)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="frozen_statistics='none'"):
        PredictiveCodingResNet18(4, 64, "random", frozen_statistics="none")


@torch.no_grad()
def test_ccol_joins_the_plain_and_the_dilated_network(frames):
    """One pass through the first stages, and yet what two networks give."""
    torch.manual_seed(0)
    model = CCoLResNet18(7, 64, "random").train()
    for module in model.features.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            randomise(module)
    plain = DilatedResNet18(7, 64, "random", dilate=False).eval()
    dilated = DilatedResNet18(7, 64, "random", train_features=False).train()
    for other in (plain, dilated):
        other.features.load_state_dict(model.features.state_dict())
    dilated.projection.load_state_dict(model.projection.state_dict())
    found = model(frames)
    assert found.shape == (2, 2, 7 + 512)
    expected = maps_of(plain, frames).mean(dim=(-2, -1)).amax(dim=2)
    torch.testing.assert_close(found[..., 7:], expected)
    torch.testing.assert_close(found[..., :7], dilated(frames))
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning == ["projection.weight", "projection.bias"]
