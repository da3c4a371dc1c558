"""A 3x3 convolution of an up-sampled map, done before the up-sampling.

Let up(x) be the bilinear up-sampling by 2 (corners aligned) of one map x, (H, W), and
A_i the matrix (2H, H) that interpolates rows and then moves them by i = -1, 0 or 1,
with zeros moved in; B_j likewise for columns. A zero-padded 3x3 convolution of C maps
is then

    y = sum_c sum_ij w_cij A_i x_c B_j^T = sum_ij A_i (sum_c w_cij x_c) B_j^T

so the sum over the C maps can be taken at the low resolution, as a 1x1 convolution with
nine results ("taps") for each map of the result: a quarter of the multiplications, and
the interpolation of the taps on top, which is small where C is larger than H and W.
With the channels innermost ("channels last") the 1x1 convolution and both sums of the
interpolation are plain matrix products.

It also serves the last layer of late fusion, where each source takes one weighted sum
of the output maps: with the weights folded into the convolution,

    mask_i = sum_k q_ik conv_k(up(x)) = conv(up(x); sum_k q_ik W_k)

those maps are never made. The results equal those of up-sampling first, up to rounding
(see the tests).
"""

from typing import Dict, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def interpolation_taps(size: int) -> Tensor:
    """Matrices A_-1, A_0, A_1 of an axis of ``size`` points, (3, 2 size, size)."""
    position = torch.arange(2 * size, dtype=torch.float64)
    position = position * (size - 1) / (2 * size - 1)
    lower = position.floor().clamp(max=max(size - 2, 0)).long()
    weight = position - lower
    rows = torch.arange(2 * size)
    matrix = torch.zeros(2 * size, size, dtype=torch.float64)
    matrix[rows, lower] += 1 - weight
    if size > 1:
        matrix[rows, lower + 1] += weight
    zero = torch.zeros(1, size, dtype=torch.float64)
    return torch.stack(
        [torch.cat([zero, matrix[:-1]]), matrix, torch.cat([matrix[1:], zero])]
    )


def tap_weights(weight: Tensor) -> Tensor:
    """Weights (O, C, 3, 3) as those of a linear map to the taps, (9 O, C).

    Order of the taps: column tap j, row tap i, map o.
    """
    return weight.permute(3, 2, 0, 1).flatten(0, 2)


class TapInterpolation(nn.Module):
    """Interpolate and sum the nine low-resolution taps of each map.

    Holds the matrices of the sizes it has seen; it has no parameters.
    """

    def __init__(self):
        super().__init__()
        self._taps: Dict[tuple, Tuple[Tensor, Tensor]] = {}

    def _matrices(self, x: Tensor, height: int, width: int) -> Tuple[Tensor, Tensor]:
        """Rows (2 H, 3 H), ordered (h', (i, h)), and columns (2 W, 3 W), (w', (w, j)).

        Of the type and on the device of x.
        """
        key = (height, width, x.dtype, x.device)
        if key not in self._taps:
            rows = interpolation_taps(height).transpose(0, 1).flatten(1)
            columns = interpolation_taps(width).permute(1, 2, 0).flatten(1)
            self._taps[key] = (rows.to(x), columns.to(x))
        return self._taps[key]

    def forward(self, taps: Tensor) -> Tensor:
        """Sum A_i x_ij B_j^T over i and j.

        Args:
            taps: (M, H, W, 9 O), in the order of tap_weights().

        Returns:
            (M, 2 H, 2 W, O).
        """
        num, height, width, maps = taps.shape
        rows, columns = self._matrices(taps, height, width)
        taps = taps.view(num, height, width, 3, 3, maps // 9)  # (M, H, W, j, i, O)
        if maps == 9:
            return self._single(taps, rows, columns)
        # Maps stay the innermost axis: each sum is a product with long rows, and
        # only the axis i has to move in between.
        x = taps.flatten(4).reshape(num * height, 3 * width, -1)
        x = torch.bmm(columns.expand(num * height, -1, -1), x)  # (M H, 2 W, 3 O)
        x = x.view(num, height, 2 * width, 3, -1).permute(0, 3, 1, 2, 4)
        x = x.reshape(num, 3 * height, -1)  # (M, 3 H, 2 W O)
        x = torch.bmm(rows.expand(num, -1, -1), x)
        return x.view(num, 2 * height, 2 * width, -1)

    @staticmethod
    def _single(taps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """One map: too narrow for products of its own, so all M join in one."""
        x = taps.permute(0, 2, 3, 5, 4, 1).flatten(4)  # (M, W, j, 1, 3 H)
        x = F.linear(x, rows).permute(0, 3, 4, 1, 2).flatten(3)  # (M, 1, 2 H, 3 W)
        return F.linear(x, columns).permute(0, 2, 3, 1)

    def __getstate__(self) -> dict:
        """Leave the matrices out of copies and pickles."""
        return {**self.__dict__, "_taps": {}}
