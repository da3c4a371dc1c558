import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.layers.unet import (
    QueriedUpBlock,
    UpBlock,
    make_shift_invariant,
)
from espnet2_avsep.layers.upsampled_conv import (
    BLOCK,
    interpolate_taps,
    order_taps,
    tap_weights,
)


def convolve_after_upsampling(x, weight, bias=None):
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    return F.conv2d(x, weight, bias, padding=1)


def compare_gradients(result, expected, inputs):
    """Of a random sum of the values."""
    direction = torch.randn_like(result)
    gradients = [torch.autograd.grad(y, inputs, direction) for y in (result, expected)]
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("maps", [1, 2, 9])
@pytest.mark.parametrize("size", [(1, 3), (2, 2), (5, BLOCK), (BLOCK + 1, 53)])
def test_equals_convolution_of_the_upsampled_map(size, maps):
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    weight = torch.randn(maps, 4, 3, 3, dtype=torch.float64)
    taps = F.linear(x.permute(0, 2, 3, 1), tap_weights(weight))
    result = interpolate_taps(taps).permute(0, 3, 1, 2)
    expected = convolve_after_upsampling(x, weight)
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=1e-12)
    by_maps = F.linear(x.permute(0, 2, 3, 1), tap_weights(weight, by_maps=True))
    torch.testing.assert_close(order_taps(by_maps), taps, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("size", [(2, 3), (40, 4)])
@pytest.mark.parametrize("channels", [64, 5])  # at low resolution, and not
def test_up_block_equals_convolution_of_the_concatenation(channels, size):
    num_sources, batch = 2, 3
    block = UpBlock(channels, 4, 6, norm=False).double()
    x = torch.randn(num_sources * batch, channels, *size, dtype=torch.float64)
    skip = torch.randn(batch, 4, *size, dtype=torch.float64)
    inputs = (x.requires_grad_(), skip.requires_grad_(), *block.parameters())
    assert block._at_low_resolution(x) == (channels == 64)
    joint = torch.cat([skip.repeat(num_sources, 1, 1, 1), x], dim=1)
    expected = convolve_after_upsampling(
        F.relu(joint), block.conv.weight, block.conv.bias
    )
    result = block(x, skip, num_sources)
    torch.testing.assert_close(result, expected, atol=1e-11, rtol=1e-11)
    compare_gradients(result, expected, inputs)


@pytest.mark.parametrize("skip_channels", [0, 64])
def test_weights_of_few_positions_and_their_gradient_are_not_copied(skip_channels):
    """Copies of weights larger than the maps took a tenth of a training step."""
    block = UpBlock(64, skip_channels, 6, norm=False)
    block.to(memory_format=torch.channels_last)
    weight = block.conv.weight
    assert tap_weights(weight, by_maps=True).data_ptr() == weight.data_ptr()
    skip = torch.randn(1, 64, 2, 2) if skip_channels else None
    result = block(torch.randn(2, 64, 2, 2), skip, 2)
    (gradient,) = torch.autograd.grad(result.sum(), weight)
    assert gradient.stride() == weight.stride()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("skip_channels", [0, 3])
def test_queried_block_equals_the_product_with_its_maps(shared, skip_channels):
    num_sources, batch = 3, 2
    block = QueriedUpBlock(4, skip_channels, 5).double()
    rows = batch if shared else num_sources * batch
    x = torch.randn(rows, 4, 6, 7, dtype=torch.float64)
    skip = None
    if skip_channels:
        skip = torch.randn(batch, skip_channels, 6, 7, dtype=torch.float64)
        skip.requires_grad_()
    query = torch.randn(num_sources, batch, 5, dtype=torch.float64)
    inputs = [x.requires_grad_(), query.requires_grad_(), *block.parameters()]
    if skip is not None:
        inputs.append(skip)
    result = block(x, skip, query)
    plain = []
    for n in range(num_sources):
        own = x if shared else x.view(num_sources, batch, 4, 6, 7)[n]
        joint = own if skip is None else torch.cat([skip, own], dim=1)
        maps = convolve_after_upsampling(
            F.relu(joint), block.conv.weight, block.conv.bias
        )
        plain.append((query[n][:, :, None, None] * maps).sum(dim=1))
    expected = torch.stack(plain)
    torch.testing.assert_close(result, expected, atol=1e-11, rtol=1e-11)
    compare_gradients(result, expected, inputs)


@pytest.mark.parametrize("maps", [1, 9])
def test_gradient_is_the_transpose(maps):
    """<g, A x> = <A^T g, x>, across the borders of blocks."""
    taps = torch.randn(2, BLOCK + 3, 2 * BLOCK + 1, 9 * maps, dtype=torch.float64)
    taps.requires_grad_()
    result = interpolate_taps(taps)
    grad = torch.randn_like(result)
    (own,) = torch.autograd.grad(result, taps, grad)
    torch.testing.assert_close((own * taps).sum(), (grad * result).sum())
    step = torch.randn_like(taps)
    torch.testing.assert_close(
        (own * step).sum(), (grad * interpolate_taps(step)).sum()
    )


def test_long_axes_need_no_dense_matrices():
    """300 s are 6,460 points: dense matrices of the axis took 1 GB, and stayed."""
    size = 50_000  # whose dense matrices have 60 GB
    taps = torch.zeros(1, 1, size, 9, dtype=torch.float64)
    x = taps[0, 0, :, 4] = torch.randn(size, dtype=torch.float64)
    result = interpolate_taps(taps)[0, 0, :, 0]
    expected = F.interpolate(
        x[None, None], scale_factor=2, mode="linear", align_corners=True
    )
    torch.testing.assert_close(result, expected[0, 0], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("size", [(1, 3), (2, 2), (5, BLOCK), (BLOCK + 1, 53)])
@pytest.mark.parametrize("channels", [64, 5])  # at low resolution, and not
def test_shift_invariant_blocks_read_columns_at_half_pixels(channels, size):
    """Columns as torch's align_corners=False reads them, rows as True."""
    x = torch.randn(4, channels, *size, dtype=torch.float64)
    rows = F.interpolate(
        F.relu(x), scale_factor=(2, 1), mode="bilinear", align_corners=True
    )
    both = F.interpolate(
        rows, scale_factor=(1, 2), mode="bilinear", align_corners=False
    )
    block = UpBlock(channels, 0, 6, norm=False).double()
    aligned = block(x, None, 2)
    make_shift_invariant(block)
    expected = F.conv2d(both, block.conv.weight, block.conv.bias, padding=1)
    torch.testing.assert_close(block(x, None, 2), expected, atol=1e-11, rtol=1e-11)
    assert (aligned - expected).abs().max() > 1e-3
    last = QueriedUpBlock(channels, 0, 5).double()
    make_shift_invariant(last)
    query = torch.randn(2, 2, 5, dtype=torch.float64)
    maps = F.conv2d(both, last.conv.weight, last.conv.bias, padding=1)
    maps = (query[..., None, None] * maps.unflatten(0, (2, 2))).sum(dim=2)
    torch.testing.assert_close(last(x, None, query), maps, atol=1e-11, rtol=1e-11)


def test_matrices_made_in_inference_serve_a_training_that_follows():
    """They are kept: neither inference tensors nor another type or size return."""
    taps = torch.randn(1, 23, 19, 9, dtype=torch.float64)
    with torch.inference_mode():
        expected = interpolate_taps(taps)
        half = interpolate_taps(taps.float())
        other = interpolate_taps(taps, aligned_columns=False)
    assert half.dtype == torch.float32 and not torch.equal(other, expected)
    learning = taps.clone().requires_grad_()
    result = interpolate_taps(learning)
    torch.testing.assert_close(result.detach(), expected.clone(), atol=0, rtol=0)
    direction = torch.randn_like(taps)
    result.backward(torch.ones_like(result))
    slope = interpolate_taps(taps + direction).sum() - interpolate_taps(taps).sum()
    torch.testing.assert_close((learning.grad * direction).sum(), slope)
