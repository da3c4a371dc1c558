"""The U-Net ladder of the visually guided separators, encoder and decoder apart.

The encoder sees the mixture alone, so it runs once per mixture. The decoder runs once
per source. Inside it, a convolution of the concatenation [skip, x] is the sum of a
convolution of each part, and the skip's part is the same for every source:

    conv(up([skip, x_i]), [W_s, W_x]) = conv(up(skip), W_s) + conv(up(x_i), W_x)

so that part, too, is computed once per mixture. Nothing else is rewritten.
"""

from typing import List, Optional, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def level_widths(channels: int, layers: int) -> List[int]:
    """Channels of each level: doubled from level to level, up to 8 times the first."""
    return [channels * min(2**level, 8) for level in range(layers)]


class UNetEncoder(nn.Module):
    """Strided 4x4 convolutions, each halving both axes.

    Zhao et al., "The Sound of Pixels", ECCV 2018. BatchNorm on the input; level 1 has
    neither activation before nor norm after it, the last level no norm.

    Args:
        widths: Channels of each level, first level first.
        in_channels: Channels of the input.
    """

    def __init__(self, widths: Sequence[int], in_channels: int = 1):
        super().__init__()
        self.input_norm = nn.BatchNorm2d(in_channels)
        sizes = [in_channels, *widths]
        last = len(widths) - 1
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for level in range(len(widths)):
            with_norm = 0 < level < last
            self.convs.append(
                nn.Conv2d(
                    sizes[level],
                    sizes[level + 1],
                    kernel_size=4,
                    stride=2,
                    padding=1,
                    bias=not with_norm,
                )
            )
            self.norms.append(
                nn.BatchNorm2d(sizes[level + 1]) if with_norm else nn.Identity()
            )

    def forward(self, x: Tensor) -> List[Tensor]:
        """Return the feature map of every level, before its activation.

        Args:
            x: (B, C_in, F, T), both axes multiples of 2 ** levels.

        Returns:
            Level l (from 1): (B, widths[l - 1], F / 2**l, T / 2**l).
        """
        x = self.input_norm(x)
        features = []
        for level, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if level > 0:
                x = F.leaky_relu(x, 0.2)
            x = norm(conv(x))
            features.append(x)
        return features


class SourceBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over maps of several sources stacked along the batch axis.

    Args:
        num_features: Channels.
        statistics: "per_source" takes the statistics of one source at a time, which
            equals one pass of the decoder per source; "joint" takes them over all
            sources together (faster, other masks in training). In evaluation both are
            the same function.
    """

    def __init__(self, num_features: int, statistics: str = "per_source"):
        super().__init__(num_features)
        self.statistics = statistics

    def forward(self, x: Tensor, num_sources: int = 1) -> Tensor:
        """Normalise (N * B, C, H, W), stacked source by source."""
        if not self.training or num_sources == 1 or self.statistics == "joint":
            return super().forward(x)
        return torch.cat(
            [
                super(SourceBatchNorm2d, self).forward(part)
                for part in x.chunk(num_sources)
            ]
        )


class UpBlock(nn.Module):
    """ReLU, bilinear up-sampling by 2, 3x3 convolution, norm; skip and source apart.

    Args:
        in_channels: Channels of the part that differs between sources.
        skip_channels: Channels of the part that belongs to the mixture (0: none).
        out_channels: Channels of the result.
        norm: Whether BatchNorm follows; without it the convolution has a bias.
        statistics: See SourceBatchNorm2d.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        norm: bool = True,
        statistics: str = "per_source",
    ):
        super().__init__()
        self.skip_channels = skip_channels
        self.conv = nn.Conv2d(
            skip_channels + in_channels,
            out_channels,
            kernel_size=3,
            padding=1,
            bias=not norm,
        )
        self.norm = SourceBatchNorm2d(out_channels, statistics) if norm else None

    @staticmethod
    def _upsample(x: Tensor) -> Tensor:
        return F.interpolate(
            F.relu(x), scale_factor=2, mode="bilinear", align_corners=True
        )

    def forward(self, x: Tensor, skip: Optional[Tensor], num_sources: int) -> Tensor:
        """Run the block.

        Args:
            x: (N * B, C_in, H, W), source by source.
            skip: (B, C_skip, H, W) or None, shared by the sources.
            num_sources: N.

        Returns:
            (N * B, C_out, 2 H, 2 W).
        """
        weight = self.conv.weight
        y = F.conv2d(
            self._upsample(x),
            weight[:, self.skip_channels :],
            self.conv.bias,
            padding=1,
        )
        if skip is not None:
            shared = F.conv2d(
                self._upsample(skip), weight[:, : self.skip_channels], padding=1
            )
            y = (y.unflatten(0, (num_sources, -1)) + shared).flatten(0, 1)
        return y if self.norm is None else self.norm(y, num_sources)


class UNetDecoder(nn.Module):
    """The way back up, with a condition joined at the bottleneck.

    Args:
        widths: The encoder's channels.
        condition_channels: Channels joined to the bottleneck (0: none).
        out_channels: Maps of the result.
        statistics: See SourceBatchNorm2d.
    """

    def __init__(
        self,
        widths: Sequence[int],
        condition_channels: int = 0,
        out_channels: int = 32,
        statistics: str = "per_source",
    ):
        super().__init__()
        if statistics not in ("per_source", "joint"):
            raise ValueError(
                f"bn_statistics={statistics!r}: expected 'per_source' or 'joint'."
            )
        blocks = []
        # The bottleneck is the mixture's part of the first block, the condition the
        # source's part. Without a condition the bottleneck is all there is.
        in_channels, skip_channels = condition_channels, widths[-1]
        if condition_channels == 0:
            in_channels, skip_channels = widths[-1], 0
        for level in range(len(widths) - 1, -1, -1):
            outermost = level == 0
            out = out_channels if outermost else widths[level - 1]
            blocks.append(
                UpBlock(
                    in_channels,
                    skip_channels,
                    out,
                    norm=not outermost,
                    statistics=statistics,
                )
            )
            in_channels = skip_channels = out
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, features: Sequence[Tensor], condition: Optional[Tensor] = None
    ) -> Tensor:
        """Decode once per source, all sources in one batch.

        Args:
            features: The encoder's feature maps, of B mixtures.
            condition: (N, B, C_cond), tiled over the bottleneck; None runs the decoder
                once per mixture (N = 1).

        Returns:
            (N, B, C_out, F, T).
        """
        bottleneck = features[-1]
        if condition is None:
            num_sources, x, skip = 1, bottleneck, None
        else:
            num_sources, skip = condition.size(0), bottleneck
            x = condition.flatten(0, 1)[:, :, None, None]
            x = x.expand(-1, -1, *bottleneck.shape[-2:])
        skips = [skip, *reversed(features[:-1])]
        for block, skip in zip(self.blocks, skips, strict=True):
            x = block(x, skip, num_sources)
        return x.unflatten(0, (num_sources, -1))
