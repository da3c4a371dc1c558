"""Efficient multi-scale attention: which positions of a map matter."""

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
        grouped = x.reshape(batch * self.groups, -1, height, width)
        rows = grouped.mean(dim=3, keepdim=True)
        columns = grouped.mean(dim=2, keepdim=True).transpose(2, 3)
        means = self.axes(torch.cat([rows, columns], dim=2)).sigmoid()
        rows, columns = means.split([height, width], dim=2)
        wide = self.norm(grouped * rows * columns.transpose(2, 3))
        local = F.relu(self.local_norm(self.local(grouped), num_sources))
        weight = _weighted_sum(wide, local) + _weighted_sum(local, wide)
        return (grouped * weight.sigmoid()).reshape(x.shape)


def _weighted_sum(one: Tensor, other: Tensor) -> Tensor:
    """Sum the channels of the other, weighed by the means of one: (M, 1, H, W)."""
    weight = one.mean(dim=(2, 3), keepdim=True).softmax(dim=1)
    return (weight * other).sum(dim=1, keepdim=True)
