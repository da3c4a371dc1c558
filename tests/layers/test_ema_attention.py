"""Efficient multi-scale attention, against its equations written group by group."""

import pytest
import torch

from espnet2_avsep.layers.ema_attention import EfficientMultiScaleAttention


def by_the_equations(module, x):
    """The docstring's equations with plain loops over mixtures and groups."""
    width = x.size(1) // module.groups
    kernel = module.axes.weight[:, :, 0, 0]
    per_group = x.unflatten(1, (module.groups, width))
    local = torch.nn.functional.conv2d(
        per_group.flatten(0, 1), module.local.weight, padding=1
    )
    mean = local.mean(dim=(0, 2, 3), keepdim=True)
    var = local.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
    norm = module.local_norm
    local = (local - mean) / (var + norm.eps).sqrt() * norm.weight[:, None, None]
    local = (local + norm.bias[:, None, None]).clamp(min=0)
    local = local.unflatten(0, per_group.shape[:2])
    result = torch.empty_like(per_group)
    for b in range(len(x)):
        for g in range(module.groups):
            maps = per_group[b, g]
            rows = maps.mean(dim=2)  # (C, H)
            columns = maps.mean(dim=1)  # (C, W)
            row_weight = torch.sigmoid(kernel @ rows + module.axes.bias[:, None])
            column_weight = torch.sigmoid(kernel @ columns + module.axes.bias[:, None])
            u = torch.stack(
                [
                    maps[c] * torch.outer(row_weight[c], column_weight[c])
                    for c in range(width)
                ]
            )
            for c in range(width):
                spread = (u[c].var(unbiased=False) + module.norm.eps).sqrt()
                u[c] = (u[c] - u[c].mean()) / spread * module.norm.weight[c]
                u[c] = u[c] + module.norm.bias[c]
            v = local[b, g]
            a = torch.zeros(maps.shape[1:], dtype=x.dtype)
            for one, other in ((u, v), (v, u)):
                share = torch.softmax(one.mean(dim=(1, 2)), dim=0)
                for c in range(width):
                    a += share[c] * other[c]
            result[b, g] = maps * torch.sigmoid(a)
    return result.flatten(1, 2)


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (6, 6), (4, 1)])
def test_equals_its_equations(channels, groups):
    torch.manual_seed(0)
    module = EfficientMultiScaleAttention(channels, groups).double().train()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1)
    x = torch.randn(3, channels, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        expected = by_the_equations(module, x)
        torch.testing.assert_close(module(x), expected, atol=1e-12, rtol=1e-10)


def test_large_maps_are_normalised_accurately():
    """Channels last, torch's BatchNorm on a CPU is wrong in the third digit here."""
    torch.manual_seed(0)
    module = EfficientMultiScaleAttention(8, 2)
    exact = EfficientMultiScaleAttention(8, 2).double()
    exact.load_state_dict(module.state_dict())
    module.to(memory_format=torch.channels_last)
    x = torch.randn(4, 8, 256, 128).to(memory_format=torch.channels_last)
    with torch.no_grad():
        error = (module(x) - exact(x.double())).abs().max()
    assert error < 1e-5


def test_sources_do_not_share_statistics():
    torch.manual_seed(0)
    module = EfficientMultiScaleAttention(8, 2).train()
    x = torch.randn(4, 8, 4, 4)
    both = module(x, num_sources=2)
    torch.testing.assert_close(both[:2], module(x[:2]))
    torch.testing.assert_close(both[2:], module(x[2:]))


def test_weights_are_shares():
    """A position is weakened by a factor between 0 and 1, one for its whole group."""
    module = EfficientMultiScaleAttention(8, 2).eval()
    x = torch.rand(2, 8, 4, 4) + 0.5
    with torch.no_grad():
        factor = (module(x) / x).unflatten(1, (2, 4))
    assert factor.min() > 0 and factor.max() < 1
    torch.testing.assert_close(factor, factor[:, :, :1].expand_as(factor))
    assert factor.std() > 1e-3


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="attention_groups=8"):
        EfficientMultiScaleAttention(12)
