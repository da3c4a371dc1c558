import pytest
import torch
from torch import nn
from torch.nn import functional as F

from espnet2_avsep.layers.unet import (
    UNetDecoder,
    UNetEncoder,
    halve,
    level_widths,
)


def test_level_widths():
    assert level_widths(64, 7) == [64, 128, 256, 512, 512, 512, 512]


def test_shapes_of_the_paper():
    encoder = UNetEncoder(level_widths(4, 7)).eval()
    features = encoder(torch.zeros(1, 1, 256, 256))
    assert [f.shape[-1] for f in features] == [128, 64, 32, 16, 8, 4, 2]
    assert [f.shape[1] for f in features] == [4, 8, 16, 32, 32, 32, 32]


def test_decoder_equals_concatenation_one_source_at_a_time():
    """The split convolution equals the convolution of the concatenated maps."""
    torch.manual_seed(0)
    widths, num_sources, batch = [3, 5, 7], 3, 2
    encoder = UNetEncoder(widths).double()
    decoder = UNetDecoder(widths, condition_channels=4, out_channels=6).double()
    query = torch.randn(num_sources, batch, 6, dtype=torch.float64)
    features = encoder(torch.randn(batch, 1, 16, 24, dtype=torch.float64))
    condition = torch.randn(num_sources, batch, 4, dtype=torch.float64)
    state = {k: v.clone() for k, v in decoder.state_dict().items()}

    def up(x):
        return F.interpolate(
            F.relu(x), scale_factor=2, mode="bilinear", align_corners=True
        )

    expected = []
    for n in range(num_sources):
        tiled = condition[n][:, :, None, None].expand(-1, -1, 2, 3)
        x = torch.cat([features[-1], tiled], dim=1)
        x = F.conv2d(up(x), state["blocks.0.conv.weight"], padding=1)
        x = F.batch_norm(x, None, None, training=True)
        for level, block in ((1, 1), (0, 2)):
            x = torch.cat([features[level], x], dim=1)
            weight = state[f"blocks.{block}.conv.weight"]
            bias = state.get(f"blocks.{block}.conv.bias")
            x = F.conv2d(up(x), weight, bias, padding=1)
            if level > 0:
                x = F.batch_norm(x, None, None, training=True)
        expected.append((query[n][:, :, None, None] * x).sum(dim=1))
    result = decoder(features, condition, query)
    assert result.shape == (3, 2, 16, 24)
    torch.testing.assert_close(result, torch.stack(expected), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (4, 6), (16, 16)])  # positions: 1, 6, 64
def test_halving_small_maps_equals_the_convolution(size, bias):
    """As one matrix product where positions are few, in inference."""
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 96, kernel_size=4, stride=2, padding=1, bias=bias).double()
    conv = conv.to(memory_format=torch.channels_last)
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    called = []
    conv.register_forward_hook(lambda *given: called.append(True))
    with torch.no_grad():
        result = halve(conv, x)
    assert bool(called) == (size == (16, 16))
    expected = conv(x)
    assert result.shape == expected.shape == (2, 96, size[0] // 2, size[1] // 2)
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=1e-12)
    assert halve(conv, x).requires_grad
