"""A U-Net decoder in two parts, with a fusion of the map between them."""

from typing import List, Sequence, Union

import torch
from torch import Tensor, nn

from espnet2_avsep.layers.ema_attention import EfficientMultiScaleAttention
from espnet2_avsep.layers.unet import QueriedUpBlock, UpBlock

ATTENTION_PLACES = ("after_norm", "before_norm")


def attention_levels(
    attention: Union[None, str, Sequence[int]], layers: int
) -> List[int]:
    """Return the levels of the U-Net that have audio attention, deepest first.

    Args:
        attention: Levels, 1 (the last up-sampling layer, full resolution) to ``layers``
            (the first one, next to the bottleneck); or "every", "inner" (all but level
            1), None (no level).
        layers: Levels of the U-Net.

    Raises:
        ValueError: another value, or a level that there is not.
    """
    named = {"every": range(1, layers + 1), "inner": range(2, layers + 1)}
    if attention is None:
        return []
    if isinstance(attention, str):
        levels = list(named.get(attention, ()))
    else:
        levels = list(attention)
    known = [type(n) is int and 1 <= n <= layers for n in levels]
    if not levels or not all(known) or len(set(levels)) < len(levels):
        raise ValueError(
            f"audio_attention={attention!r}: expected null, 'every', 'inner' (all but "
            f"level 1) or a list of different levels, 1 (full resolution) to {layers} "
            "(next to the bottleneck)."
        )
    return sorted(levels, reverse=True)


class FusedUNetDecoder(nn.Module):
    """UNetDecoder, split where a map of the mixture becomes one of each source.

    What precedes the split depends on the mixture only and runs once per mixture; so do
    the skip connections' parts of the convolutions behind it (layers/unet.py).

    Args:
        widths: The encoder's channels.
        out_channels: Maps K of the last level.
        middle_level: The map between the parts has 1 / 2**middle_level of the input's
            rows and columns.
        attention: Which up-sampling layers have efficient multi-scale attention; see
            attention_levels(). Where level 1 has it the maps of the last layer have to
            be computed; otherwise their product with the queries is computed directly.
        attention_groups: See EfficientMultiScaleAttention.
        attention_place: "after_norm", the attention follows the layer, or
            "before_norm", it lies between the convolution and the BatchNorm.
        statistics: See SourceBatchNorm2d.
        sync: See SourceBatchNorm2d.
        output_bias: Whether the last convolution has a bias.
    """

    def __init__(
        self,
        widths: Sequence[int],
        out_channels: int = 32,
        middle_level: int = 3,
        attention: Union[None, str, Sequence[int]] = None,
        attention_groups: int = 8,
        attention_place: str = "after_norm",
        statistics: str = "per_source",
        sync: bool = True,
        output_bias: bool = True,
    ):
        super().__init__()
        layers = len(widths)
        if not 1 <= middle_level < layers:
            raise ValueError(
                f"middle_level={middle_level}: expected 1 to {layers - 1}, for a "
                f"U-Net of {layers} levels."
            )
        if attention_place not in ATTENTION_PLACES:
            raise ValueError(
                f"attention_place={attention_place!r}: expected one of "
                f"{ATTENTION_PLACES}."
            )
        levels = attention_levels(attention, layers)
        self.before_norm = attention_place == "before_norm"
        self.middle_channels = widths[middle_level - 1]
        self.num_before = layers - middle_level
        blocks = []
        in_channels, skip_channels = widths[-1], 0
        for out in reversed(widths[:-1]):
            blocks.append(
                UpBlock(
                    in_channels, skip_channels, out, statistics=statistics, sync=sync
                )
            )
            in_channels = skip_channels = out
        self.blocks = nn.ModuleList(blocks)
        if 1 in levels:
            self.last = UpBlock(
                in_channels, skip_channels, out_channels, norm=False, bias=output_bias
            )
        else:
            self.last = QueriedUpBlock(
                in_channels, skip_channels, out_channels, bias=output_bias
            )
        # One entry a level, deepest first; None where the level has no attention.
        self.attentions = nn.ModuleList(
            EfficientMultiScaleAttention(size, attention_groups, statistics, sync)
            if level in levels
            else None
            for level, size in zip(
                range(layers, 0, -1),
                [*reversed(widths[:-1]), out_channels],
                strict=True,
            )
        )
        self.to(memory_format=torch.channels_last)

    def middle(self, features: Sequence[Tensor]) -> Tensor:
        """Decode up to the map between the parts.

        Args:
            features: The encoder's feature maps, of B mixtures.

        Returns:
            (B, middle_channels, F / 2**middle_level, T / 2**middle_level).
        """
        return self._climb(features[-1], features, 0, self.num_before, 1)

    def masks(self, x: Tensor, features: Sequence[Tensor], query: Tensor) -> Tensor:
        """Decode the rest, and weigh the last level's maps.

        Args:
            x: The map between the parts: (N * B, C, H, W), source by source, or
                (B, C, H, W) where it is the same for all sources.
            features: The encoder's feature maps.
            query: (N, B, K), weights of the last level's maps.

        Returns:
            (N, B, F, T).
        """
        number = len(x) // query.size(1)
        x = self._climb(x, features, self.num_before, len(self.blocks), number)
        skip = features[0]
        if isinstance(self.last, QueriedUpBlock):
            return self.last(x, skip, query)
        maps = self.last(x, skip, number)
        maps = self.attentions[-1](maps, number).unflatten(0, (number, -1))
        if number == 1:
            return torch.einsum("nbk,bkft->nbft", query, maps[0])
        return torch.einsum("nbk,nbkft->nbft", query, maps)

    def _climb(
        self,
        x: Tensor,
        features: Sequence[Tensor],
        first: int,
        last: int,
        num_sources: int,
    ) -> Tensor:
        """Run the blocks [first, last)."""
        skips = [None, *reversed(features[:-1])]
        for n in range(first, last):
            attend = self.attentions[n]
            if self.before_norm:
                x = self.blocks[n](x, skips[n], num_sources, attend)
                continue
            x = self.blocks[n](x, skips[n], num_sources)
            if attend is not None:
                x = attend(x, num_sources)
        return x
