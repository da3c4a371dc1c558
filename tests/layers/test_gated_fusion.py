"""The gate lives: made from both inputs, it learns and changes what comes out."""

import pytest
import torch

from espnet2_avsep.layers.gated_fusion import GatedFusion


def build(gate="dynamic"):
    torch.manual_seed(0)
    module = GatedFusion(6, 4, gate)
    return module, torch.randn(3, 6, 5, 7), torch.randn(2, 3, 4)


def test_equals_the_equation():
    module, audio, visual = build()
    fused, gate = module(audio, visual)
    for n in range(2):
        for b in range(3):
            seen = module.projection(visual[n, b])[:, None, None] * audio[b]
            own = module.fused_conv.weight[0, :, 0, 0]
            heard = module.audio_conv.weight[0, :, 0, 0]
            sigma = torch.einsum("c,chw->hw", own, seen)
            sigma = sigma + torch.einsum("c,chw->hw", heard, audio[b])
            sigma = sigma + module.fused_conv.bias + module.audio_conv.bias
            sigma = 1 / (1 + torch.exp(-sigma))
            expected = sigma * seen + (1 - sigma) * audio[b]
            torch.testing.assert_close(gate[n, b], sigma)
            torch.testing.assert_close(fused[3 * n + b], expected)


def test_gradients_reach_both_convolutions():
    module, audio, visual = build()
    module(audio, visual)[0].square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("open_gate", [False, True])
def test_the_ends_of_the_gate(open_gate):
    """sigma = 0 gives only the audio, sigma = 1 only the product."""
    module, audio, visual = build()
    with torch.no_grad():
        module.fused_conv.weight.zero_()
        module.audio_conv.weight.zero_()
        module.audio_conv.bias.fill_(200.0 if open_gate else -200.0)
    fused, gate = module(audio, visual)
    assert torch.equal(gate, torch.full_like(gate, float(open_gate)))
    expected = audio.repeat(2, 1, 1, 1)
    if open_gate:
        other, _, _ = build("multiply")
        other.projection.load_state_dict(module.projection.state_dict())
        expected, no_gate = other(audio, visual)
        assert no_gate is None
    torch.testing.assert_close(fused, expected, atol=0, rtol=0)


def test_dynamic_is_not_multiplication():
    module, audio, visual = build()
    other, _, _ = build("multiply")
    other.projection.load_state_dict(module.projection.state_dict())
    difference = module(audio, visual)[0] - other(audio, visual)[0]
    assert difference.abs().mean() > 0.1
    names = {name.split(".")[0] for name, _ in other.named_parameters()}
    assert names == {"projection"}


def test_unknown_gate():
    with pytest.raises(ValueError, match="gate='open'"):
        GatedFusion(6, 4, "open")
