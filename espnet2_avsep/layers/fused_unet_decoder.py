"""The U-Net's way back up in two parts, with a fusion of the map between them."""

from typing import Optional, Sequence

import torch
from torch import Tensor, nn

from espnet2_avsep.layers.ema_attention import EfficientMultiScaleAttention
from espnet2_avsep.layers.unet import QueriedUpBlock, UpBlock

ATTENTIONS = (None, "inner", "every")


class FusedUNetDecoder(nn.Module):
    """UNetDecoder, cut where a map of the mixture becomes one of each source.

    What lies before the cut depends on the mixture alone and runs once; so do, behind
    it, the skip connections' parts of the convolutions (layers/unet.py).

    Args:
        widths: The encoder's channels.
        out_channels: Maps K of the last level.
        middle_level: The map between the parts has 1 / 2**middle_level of the input's
            rows and columns.
        attention: Where efficient multi-scale attention follows an up-sampling layer:
            None, "inner" (all but the last layer) or "every". With "every" the maps of
            the last layer have to be made; else their product with the queries is taken
            without them.
        attention_groups: See EfficientMultiScaleAttention.
        statistics: See SourceBatchNorm2d.
        sync: See SourceBatchNorm2d.
    """

    def __init__(
        self,
        widths: Sequence[int],
        out_channels: int = 32,
        middle_level: int = 3,
        attention: Optional[str] = None,
        attention_groups: int = 8,
        statistics: str = "per_source",
        sync: bool = True,
    ):
        super().__init__()
        if not 1 <= middle_level < len(widths):
            raise ValueError(
                f"middle_level={middle_level}: expected 1 to {len(widths) - 1}, for a "
                f"U-Net of {len(widths)} levels."
            )
        if attention not in ATTENTIONS:
            raise ValueError(
                f"audio_attention={attention!r}: expected one of {ATTENTIONS}."
            )
        self.middle_channels = widths[middle_level - 1]
        self.num_before = len(widths) - middle_level
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
        if attention == "every":
            self.last = UpBlock(in_channels, skip_channels, out_channels, norm=False)
        else:
            self.last = QueriedUpBlock(in_channels, skip_channels, out_channels)
        self.attentions = None
        if attention is not None:
            sizes = [*reversed(widths[:-1])] + [out_channels] * (attention == "every")
            self.attentions = nn.ModuleList(
                EfficientMultiScaleAttention(size, attention_groups, statistics, sync)
                for size in sizes
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
            x = self.blocks[n](x, skips[n], num_sources)
            if self.attentions is not None:
                x = self.attentions[n](x, num_sources)
        return x
