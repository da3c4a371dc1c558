"""A 3x3 convolution of an up-sampled map, done before the up-sampling.

Let up(x) be the bilinear up-sampling by 2 (corners aligned) of one map x, (H, W), and
A_i the matrix (2H, H) that interpolates rows and then moves them by i = -1, 0 or 1,
with zeros moved in; B_j likewise for columns. A zero-padded 3x3 convolution of C maps
is then

    y = sum_c sum_ij w_cij A_i x_c B_j^T = sum_ij A_i (sum_c w_cij x_c) B_j^T

so the sum over the C maps can be taken at the low resolution, as a 1x1 convolution with
nine results ("taps") for each map of the result: a quarter of the multiplications, and
the interpolation of the taps on top, which is small where C is larger than H and W.

It also serves the last layer of late fusion, where each source takes one weighted sum
of the output maps: with the weights folded into the convolution,

    mask_i = sum_k q_ik conv_k(up(x)) = conv(up(x); sum_k q_ik W_k)

those maps are never made. The results equal those of up-sampling first, up to rounding
(see the tests).
"""

from typing import Dict, Tuple

import torch
from torch import Tensor, nn


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
    """Weights (O, C, 3, 3) as those of a 1x1 convolution to the taps, (9 O, C, 1, 1).

    Order of the taps: column tap j, map o, row tap i.
    """
    return weight.permute(3, 0, 2, 1).flatten(0, 2)[..., None, None]


class TapInterpolation(nn.Module):
    """Interpolate and sum the nine low-resolution taps of each map.

    Holds the matrices of the sizes it has seen; it has no parameters.
    """

    def __init__(self):
        super().__init__()
        self._taps: Dict[tuple, Tuple[Tensor, Tensor]] = {}

    def _matrices(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Rows (2 H, 3 H) and columns (3, W, 2 W) for maps like x."""
        height, width = x.shape[-2:]
        key = (height, width, x.dtype, x.device)
        if key not in self._taps:
            rows = interpolation_taps(height).transpose(0, 1).flatten(1)
            columns = interpolation_taps(width).transpose(1, 2)
            self._taps[key] = (rows.to(x), columns.to(x))
        return self._taps[key]

    def forward(self, taps: Tensor) -> Tensor:
        """Sum A_i x_ij B_j^T over i and j.

        Args:
            taps: (M, 9 O, H, W), in the order of tap_weights().

        Returns:
            (M, O, 2 H, 2 W).
        """
        rows, columns = self._matrices(taps)
        num, height, width = taps.size(0), *taps.shape[-2:]
        x = taps.reshape(num, 3, -1, width)  # (M, 3, O * 3 * H, W)
        y = torch.bmm(x[:, 0], columns[0].expand(num, -1, -1))
        for j in (1, 2):
            y = torch.baddbmm(y, x[:, j], columns[j].expand(num, -1, -1))
        return rows @ y.view(num, -1, 3 * height, 2 * width)

    def __getstate__(self) -> dict:
        """Leave the matrices out of copies and pickles."""
        return {**self.__dict__, "_taps": {}}
