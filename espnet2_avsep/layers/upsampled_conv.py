"""A 3x3 convolution of an up-sampled map, done before the up-sampling.

Let up(x) be the bilinear up-sampling by 2 (corners aligned) of one map x, (H, W), and
A_i the matrix (2H, H) that interpolates rows and then moves them by i = -1, 0 or 1,
with zeros moved in; B_j likewise for columns. A zero-padded 3x3 convolution of C maps
is then

    y = sum_c sum_ij w_cij A_i x_c B_j^T = sum_ij A_i (sum_c w_cij x_c) B_j^T

so the sum over the C maps can be taken at the low resolution, as a 1x1 convolution with
nine results ("taps") for each map of the result: a quarter of the multiplications, and
the interpolation of the taps on top. A row of A_i has two values other than zero, next
to each other, so the matrices are never made: the interpolation works on blocks of
``BLOCK`` rows, and its cost per value does not depend on H and W. With the channels
innermost ("channels last") the 1x1 convolution and both sums of the interpolation are
matrix products.

It also serves the last layer of late fusion, where each source takes one weighted sum
of the output maps: with the weights folded into the convolution,

    mask_i = sum_k q_ik conv_k(up(x)) = conv(up(x); sum_k q_ik W_k)

those maps are never made. The results equal those of up-sampling first, up to rounding
(see the tests).
"""

import functools
from typing import Any, Iterator, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Rows (or columns) of the low resolution that one matrix product interpolates.
BLOCK = 16
# Fewer maps than this make products too narrow; the batch joins them.
_FEW_MAPS = 8


def interpolation_blocks(size: int, aligned: bool = True) -> Tensor:
    """The matrices A_-1, A_0, A_1 of an axis of ``size`` points, cut into blocks.

    With ``aligned`` the first and the last row are the first and the last point
    (torch's align_corners). Without, row r is read at point r / 2 - 1 / 4, whatever the
    size, which is what an aligned axis does in its middle.

    Block b holds the rows [2 b BLOCK, 2 (b + 1) BLOCK) of the result and the points
    [b BLOCK - 1, (b + 1) BLOCK + 1) that they need, whether or not these exist.

    Returns:
        (blocks, 2 BLOCK, (BLOCK + 2) * 3), the three taps of a point side by side;
        float64.
    """
    rows = torch.arange(2 * size)
    if aligned:  # row * (size - 1) / (2 size - 1)
        position, unit = rows * (size - 1), 2 * size - 1
    else:
        position, unit = (2 * rows - 1).clamp(0, 4 * (size - 1)), 4
    lower = position // unit
    weight = (position % unit).double() / unit
    blocks = -(-size // BLOCK)
    matrix = torch.zeros(blocks, 2 * BLOCK, BLOCK + 2, 3, dtype=torch.float64)
    for tap in range(3):
        # The row that moves here; zeros beyond the ends.
        row = rows[max(1 - tap, 0) : 2 * size - max(tap - 1, 0)]
        moved = row + tap - 1
        block = row // (2 * BLOCK)
        point = lower[moved] - block * BLOCK + 1
        matrix[block, row % (2 * BLOCK), point, tap] = 1 - weight[moved]
        matrix[block, row % (2 * BLOCK), point + 1, tap] = weight[moved]
    return matrix.flatten(2)


@functools.lru_cache(maxsize=64)
def _cached_blocks(
    size: int, aligned: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """interpolation_blocks(), which are the same for every batch and chunk."""
    with torch.inference_mode(False):  # also for a training that follows
        return interpolation_blocks(size, aligned).to(device, dtype)


def _blocks_for(taps: Tensor, size: int, aligned: bool) -> Tensor:
    """The blocks of an axis in the type of ``taps``; not to be written into."""
    if torch.compiler.is_compiling():  # sizes and tensors are symbols
        return interpolation_blocks(size, aligned).to(taps)
    return _cached_blocks(size, aligned, taps.dtype, taps.device)


def tap_weights(weight: Tensor, by_maps: bool = False) -> Tensor:
    """Weights (O, C, 3, 3) as those of a linear map to the taps, (9 O, C).

    Args:
        weight: The convolution's weights.
        by_maps: Order of the taps. False: column tap j, row tap i, map o, as
            interpolate_taps() takes them. True: o, i, j, as weights with channels last
            lie in memory, so that neither they nor their gradient are copied;
            order_taps() brings the taps into the other order.
    """
    return weight.permute((0, 2, 3, 1) if by_maps else (3, 2, 0, 1)).flatten(0, 2)


def order_taps(taps: Tensor) -> Tensor:
    """Bring taps (M, H, W, 9 O) from the order o, i, j into the order j, i, o."""
    return taps.unflatten(-1, (-1, 3, 3)).permute(0, 1, 2, 5, 4, 3).flatten(3)


def interpolate_taps(taps: Tensor, aligned_columns: bool = True) -> Tensor:
    """Interpolate and sum the nine taps of each map: sum A_i x_ij B_j^T over i and j.

    Args:
        taps: (M, H, W, 9 O), in the order of tap_weights().
        aligned_columns: See interpolation_blocks(); rows always are.

    Returns:
        (M, 2 H, 2 W, O).
    """
    taps = taps.unflatten(-1, (3, 3, -1))  # (M, H, W, j, i, O)
    if taps.size(-1) >= _FEW_MAPS:
        return _Interpolation.apply(taps, aligned_columns)
    joined = taps.permute(1, 2, 3, 4, 5, 0)  # (H, W, j, i, O, M)
    result = _Interpolation.apply(joined.flatten(4)[None], aligned_columns)[0]
    return result.unflatten(-1, joined.shape[4:]).permute(3, 0, 1, 2)


class _Interpolation(torch.autograd.Function):
    """The sums over j and i: (M, H, W, j, i, O) -> (M, 2 H, 2 W, O).

    The matrices are constants, so the backward pass is their transpose; it writes into
    the gradient in place, which slices and concatenations would not.
    """

    @staticmethod
    def forward(ctx: Any, taps: Tensor, aligned_columns: bool) -> Tensor:
        num, height, width, _, _, maps = taps.shape
        ctx.columns = _blocks_for(taps, width, aligned_columns)
        ctx.rows = _blocks_for(taps, height, True)
        x = _multiply_columns(ctx.columns, taps)  # (M, H, i, 2 W, O)
        x = _multiply(ctx.rows, x.view(num, 3 * height, -1))  # (M, 2 H, (2 W, O))
        return x.view(num, 2 * height, 2 * width, maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None]:
        num, height, width, maps = grad.shape
        height, width = height // 2, width // 2
        x = _multiply_transposed(ctx.rows, grad.reshape(num, 2 * height, -1))
        x = x.view(num, height, 3, 2 * width, maps)
        return _multiply_columns_transposed(ctx.columns, x), None


def _multiply(blocks: Tensor, x: Tensor) -> Tensor:
    """Interpolate an axis: (batch, (size, tap), C) -> (batch, 2 size, C)."""
    size = x.size(1) // 3
    if len(blocks) == 1:
        return _whole(blocks, size).expand(len(x), -1, -1).bmm(x)
    result = x.new_empty(len(x), 2 * size, x.size(2))
    for matrix, points, rows in _blocks(blocks, size):
        matrix = matrix.expand(len(x), -1, -1)
        torch.bmm(matrix, x[:, points], out=result[:, rows])
    return result


def _multiply_columns(blocks: Tensor, taps: Tensor) -> Tensor:
    """Interpolate columns: (M, H, W, j, i, O) -> (M, H, i, 2 W, O).

    A block of columns is a batch of products whose result is contiguous: torch computes
    others one by one. With few maps it is one product for all rows.
    """
    num, height, width, _, _, maps = taps.shape
    if maps < _FEW_MAPS:
        x = taps.permute(2, 3, 0, 1, 4, 5).reshape(1, 3 * width, -1)
        x = _multiply(blocks, x).view(2 * width, num, height, 3, maps)
        return x.permute(1, 2, 3, 0, 4).contiguous()
    x = taps.reshape(num * height, 3 * width, 3 * maps)
    result = x.new_empty(num, height, 3, 2 * width, maps)
    for matrix, points, rows in _blocks(blocks, width):
        part = matrix.expand(len(x), -1, -1).bmm(x[:, points])
        result[:, :, :, rows] = part.view(num, height, -1, 3, maps).transpose(2, 3)
    return result


def _multiply_transposed(blocks: Tensor, grad: Tensor) -> Tensor:
    """Gradient of _multiply(): (batch, 2 size, C) -> (batch, (size, tap), C)."""
    size = grad.size(1) // 2
    if len(blocks) == 1:
        matrix = _whole(blocks, size).transpose(0, 1)
        return matrix.expand(len(grad), -1, -1).bmm(grad)
    result = grad.new_zeros(len(grad), 3 * size, grad.size(2))
    for matrix, points, rows in _blocks(blocks, size):
        matrix = matrix.transpose(0, 1).expand(len(grad), -1, -1)
        result[:, points].baddbmm_(matrix, grad[:, rows])
    return result


def _multiply_columns_transposed(blocks: Tensor, grad: Tensor) -> Tensor:
    """Gradient of _multiply_columns(): (M, H, i, 2 W, O) -> (M, H, W, j, i, O)."""
    num, height, _, width, maps = grad.shape
    width //= 2
    if maps < _FEW_MAPS:
        x = grad.permute(3, 0, 1, 2, 4).reshape(1, 2 * width, -1)
        x = _multiply_transposed(blocks, x).view(width, 3, num, height, 3, maps)
        return x.permute(2, 3, 0, 1, 4, 5)
    if len(blocks) == 1:
        x = grad.transpose(2, 3).reshape(num * height, 2 * width, 3 * maps)
        x = _multiply_transposed(blocks, x)
    else:
        x = grad.new_zeros(num * height, 3 * width, 3 * maps)
        for matrix, points, rows in _blocks(blocks, width):
            part = grad[:, :, :, rows].transpose(2, 3).flatten(0, 1).flatten(2)
            x[:, points] += matrix.transpose(0, 1).expand(len(part), -1, -1).bmm(part)
    return x.view(num, height, width, 3, 3, maps)


def _whole(blocks: Tensor, size: int) -> Tensor:
    """The matrix of an axis of one block."""
    return next(_blocks(blocks, size))[0]


def _blocks(blocks: Tensor, size: int) -> Iterator[Tuple[Tensor, slice, slice]]:
    """Matrix of each block, and the slices of (points, taps) and rows it belongs to."""
    for number, block in enumerate(blocks):
        first, last = number * BLOCK, min((number + 1) * BLOCK, size)
        low, high = max(first - 1, 0), min(last + 1, size)
        inner = slice(3 * (low - first + 1), 3 * (high - first + 1))
        yield (
            block[: 2 * (last - first), inner],
            slice(3 * low, 3 * high),
            slice(2 * first, 2 * last),
        )
