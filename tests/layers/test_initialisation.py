import pytest
import torch
from torch import nn

from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.layers.unet import UNetEncoder
from espnet2_avsep.separator.hfra_separator import HFRASeparator
from espnet2_avsep.separator.sound_of_pixels_separator import SoundOfPixelsSeparator


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 64, 4),
        nn.ConvTranspose2d(16, 64, 4),
        nn.BatchNorm2d(4000),
        nn.Linear(64, 256),
    )


@pytest.mark.parametrize(
    ("name", "conv", "linear"),
    [("sound_of_pixels", 1e-3, 1e-4), ("co_separation", 0.02, 0.02)],
)
def test_standard_deviations(name, conv, linear):
    layers = network()
    bias = layers[0].bias.clone()
    layers[2].bias.data.fill_(3)
    initialise(layers, name)
    layers.requires_grad_(False)
    assert layers[0].weight.std() == pytest.approx(conv, rel=0.05)
    assert layers[1].weight.std() == pytest.approx(conv, rel=0.05)
    assert layers[2].weight.mean() == pytest.approx(1, abs=2e-3)
    assert layers[2].weight.std() == pytest.approx(0.02, rel=0.05)
    assert layers[3].weight.std() == pytest.approx(linear, rel=0.05)
    assert layers[2].bias.abs().max() == 0
    assert torch.equal(layers[0].bias, bias)


def test_null_keeps_the_weights_and_unknown_names_are_refused():
    layers = network()
    before = [w.clone() for w in layers.parameters()]
    initialise(layers, None)
    pairs = zip(before, layers.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(ValueError, match="'zeros': expected null or one of sound_of"):
        initialise(layers, "zeros")


@pytest.mark.parametrize(
    "separator",
    [
        SoundOfPixelsSeparator(8, 16, 3, initialisation="sound_of_pixels"),
        HFRASeparator(6, "hierarchical", 16, 3, 8, initialisation="sound_of_pixels"),
    ],
    ids=lambda s: type(s).__name__,
)
def test_masks_of_a_new_network_are_nearly_constant(separator):
    """The released programs start from masks whose std is about 0.01, not 0.16."""
    torch.manual_seed(0)
    feature = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        logits, _ = separator(feature, torch.randn(2, 2, separator.visual_dim))
    assert logits.sigmoid().std() < 0.02


def test_end_bias_only_the_two_convolutions_without_a_norm():
    with_bias = UNetEncoder([2, 4, 8, 8])
    assert [c.bias is not None for c in with_bias.convs] == [True, False, False, True]
    without = UNetEncoder([2, 4, 8, 8], end_bias=False)
    assert [c.bias for c in without.convs] == [None] * 4
    state = {k: v for k, v in with_bias.state_dict().items() if "bias" not in k}
    assert state.keys() <= without.state_dict().keys()
    with_bias.convs[0].bias.data.zero_()
    with_bias.convs[-1].bias.data.zero_()
    without.load_state_dict(
        {k: v for k, v in with_bias.state_dict().items() if k in without.state_dict()}
    )
    x = torch.randn(1, 1, 16, 16)
    for a, b in zip(with_bias(x), without(x), strict=True):
        torch.testing.assert_close(a, b)
