"""Efficient multi-scale attention: which positions of a map matter."""

from typing import Any, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d


class EfficientMultiScaleAttention(nn.Module):
    """Weigh the positions of a map by what two scales see in it.

    Ouyang et al., "Efficient Multi-Scale Attention Module with Cross-Spatial Learning",
    ICASSP 2023, with the 3x3 branch of DGFNet (Yu and Sun, ICMR 2025): convolution,
    BatchNorm, ReLU. The channels are split into groups that share all weights. Of the
    maps x of a group, with r and c the means over each row and over each column,

        u = GroupNorm(x * sigmoid(conv1(r)) * sigmoid(conv1(c)))       1x1 branch
        v = ReLU(BatchNorm(conv3(x)))                                  3x3 branch
        a = softmax(mean(u)) . v + softmax(mean(v)) . u                cross-spatial
        y = x * sigmoid(a)

    where mean is over positions, softmax and the products are over channels, and a has
    one value a position.

    Notes:
        Neither paper states the groups of the GroupNorm: here each channel is one.

    Args:
        channels: C.
        groups: Groups of channels; must divide C.
        statistics: See SourceBatchNorm2d.
        sync: See SourceBatchNorm2d.
    """

    def __init__(
        self,
        channels: int,
        groups: int = 8,
        statistics: str = "per_source",
        sync: bool = True,
    ):
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(
                f"attention_groups={groups}: does not divide the {channels} channels "
                "of a level of the U-Net."
            )
        width = channels // groups
        self.groups = groups
        self.axes = nn.Conv2d(width, width, kernel_size=1)
        self.norm = nn.GroupNorm(width, width)
        self.local = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.local_norm = SourceBatchNorm2d(width, statistics, sync)

    def forward(self, x: Tensor, num_sources: int = 1) -> Tensor:
        """Weigh the maps (N * B, C, H, W), source by source, of N sources."""
        batch, _, height, width = x.shape
        # Few channels a group: only the convolution is faster with channels last.
        planes = _Planes.apply(x)
        grouped = planes.view(batch * self.groups, -1, height, width)
        means = torch.cat([grouped.mean(dim=3), grouped.mean(dim=2)], dim=2)
        means = F.conv1d(means, self.axes.weight.squeeze(3), self.axes.bias)
        rows, columns = means.sigmoid().to(x.dtype).split([height, width], dim=2)
        wide = _ScaledAxes.apply(grouped, rows[..., None], columns[:, :, None])
        wide = self.norm(wide)
        local = self.local(grouped.contiguous(memory_format=torch.channels_last))
        local = self.local_norm(local.contiguous(), num_sources)
        local = F.relu(local, inplace=True)
        # Each map of u is normalised over its positions: its mean is the norm's bias.
        bias = self.norm.bias.expand(len(grouped), -1)
        means = local.mean(dim=(2, 3))
        weight = _weighted_sum(bias, local) + _weighted_sum(means, wide)
        return (grouped * weight.sigmoid()).view(x.shape)


class _Planes(torch.autograd.Function):
    """Maps (B, C, H, W) with contiguous planes; the gradient has channels last.

    As x.contiguous(), which takes two to three times as long for maps with channels
    last, and whose gradient would bring the norm before it onto a slow path.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.last = x.is_contiguous(memory_format=torch.channels_last)
        if not ctx.last or x.is_contiguous():
            return x.contiguous()
        return _transposed(x.permute(0, 2, 3, 1).flatten(1, 2)).view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        if not ctx.last:
            return grad
        num, channels, height, width = grad.shape
        grad = _transposed(grad.contiguous().flatten(2))
        return grad.view(num, height, width, channels).permute(0, 3, 1, 2)


def _transposed(x: Tensor) -> Tensor:
    """Copy (B, P, Q) to (B, Q, P), matrix by matrix: torch has a fast path for them."""
    result = x.new_empty(x.size(0), x.size(2), x.size(1))
    for target, matrix in zip(result, x, strict=True):
        target.copy_(matrix.t())
    return result


class _ScaledAxes(torch.autograd.Function):
    """x * rows * columns, for (M, C, H, W), (M, C, H, 1), (M, C, 1, W).

    Autograd would store the product with the rows, and sum products of the size of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(x, rows, columns)
        return (x * rows).mul_(columns)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        x, rows, columns = ctx.saved_tensors
        product = grad * x
        grad_rows = product @ columns.transpose(2, 3)
        grad_columns = rows.transpose(2, 3) @ product
        return (grad * rows).mul_(columns), grad_rows, grad_columns


def _weighted_sum(means: Tensor, maps: Tensor) -> Tensor:
    """Sum maps (M, C, H, W) over C, weighed by the softmax of (M, C): (M, 1, H, W)."""
    weights = means.softmax(dim=1)[:, None]
    return (weights @ maps.flatten(2)).unflatten(2, maps.shape[2:])
