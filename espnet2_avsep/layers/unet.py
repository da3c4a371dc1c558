"""The U-Net ladder of the visually guided separators, encoder and decoder apart.

The encoder sees only the mixture, so it runs once per mixture. The decoder runs once
per source. Inside it, a convolution of the concatenation [skip, x] is the sum of a
convolution of each part, and the skip's part is the same for every source:

    conv(up([skip, x_i]), [W_s, W_x]) = conv(up(skip), W_s) + conv(up(x_i), W_x)

so that part, too, is computed once per mixture. Convolutions of up-sampled maps are
computed at the low resolution where that is cheaper, and with late fusion the product
of the output maps with each source's query is folded into the weights of the last
convolution (both: layers/upsampled_conv.py). Weights and results are those of the plain
network. Maps and weights lie in memory with the channels innermost (channels last):
convolutions need no reordering then, and sums over channels are plain matrix products.
"""

from typing import Callable, List, Optional, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from espnet2_avsep.layers.upsampled_conv import (
    interpolate_taps,
    order_taps,
    tap_weights,
)

# A convolution of this many times fewer positions than maps is one matrix product: half
# of the time of torch's with 512 maps and 4 or 16 positions, the same with 64.
_FEW = 8


def level_widths(channels: int, layers: int) -> List[int]:
    """Channels of each level: doubled from level to level, up to 8 times the first.

    Raises:
        ValueError: fewer than 2 levels.
    """
    if layers < 2:
        raise ValueError(f"layers={layers}: the U-Net needs at least 2 levels.")
    return [channels * min(2**level, 8) for level in range(layers)]


class UNetEncoder(nn.Module):
    """Strided 4x4 convolutions, each halving both axes.

    Zhao et al., "The Sound of Pixels", ECCV 2018. BatchNorm on the input; level 1 has
    neither activation before nor norm after it, the last level no norm.

    Args:
        widths: Channels of each level, first level first.
        in_channels: Channels of the input.
        sync: See SourceBatchNorm2d.
        end_bias: Whether the first and the last convolution, which no norm follows,
            have a bias (the released networks have none).
    """

    def __init__(
        self,
        widths: Sequence[int],
        in_channels: int = 1,
        sync: bool = True,
        end_bias: bool = True,
    ):
        super().__init__()
        self.input_norm = SourceBatchNorm2d(in_channels, sync=sync)
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
                    bias=end_bias and not with_norm,
                )
            )
            self.norms.append(
                SourceBatchNorm2d(sizes[level + 1], sync=sync)
                if with_norm
                else nn.Identity()
            )
        self.to(memory_format=torch.channels_last)

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
            x = norm(halve(conv, x))
            features.append(x)
        return features


def halve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 4x4 convolution of stride 2, where it pays as one matrix product.

    torch's convolution on a CPU first copies the weights into an order of its own. For
    few positions (the deep levels of one mixture) that takes longer than all else; a
    product with the weights as they are stored needs no copy.

    Args:
        conv: A convolution of an encoder.
        x: (B, C, H, W).

    Returns:
        (B, C', H / 2, W / 2).
    """
    positions = x.numel() // (4 * x.size(1))
    if (
        x.device.type != "cpu"
        or x.dtype not in (torch.float32, torch.float64)
        or torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or positions * _FEW > conv.out_channels
    ):
        return conv(x)
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    patches = x.unfold(1, 4, 2).unfold(2, 4, 2)  # (B, H / 2, W / 2, C, 4, 4)
    patches = patches.permute(0, 1, 2, 4, 5, 3).flatten(3)
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(patches, weight, conv.bias).permute(0, 3, 1, 2)


def up_sample(x: Tensor, aligned_time: bool = True) -> Tensor:
    """Up-sample maps (M, C, H, W) by 2, bilinearly; see ``make_shift_invariant``."""
    if aligned_time:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    x = F.interpolate(x, scale_factor=(2, 1), mode="bilinear", align_corners=True)
    return F.interpolate(x, scale_factor=(1, 2), mode="bilinear", align_corners=False)


def make_shift_invariant(network: nn.Module) -> None:
    """Let U-Nets treat all frames alike, wherever in the input they are.

    The published U-Nets align the corners of up-sampled maps: where between its
    neighbours a frame is read depends on its place in the input. Afterwards every frame
    is read as the one in the middle was, and shifting the input by a multiple of
    2 ** layers frames shifts the output. Masks change a little, most of all at the
    ends; the frequency axis stays as it is.

    Modules that up-sample the time axis have the attribute ``aligned_time``, see
    up_sample().
    """
    for module in network.modules():
        if hasattr(module, "aligned_time"):
            module.aligned_time = False


class UpBlock(nn.Module):
    """ReLU, bilinear up-sampling by 2, 3x3 convolution, norm; skip and source apart.

    Args:
        in_channels: Channels of the part that differs between sources.
        skip_channels: Channels of the part that belongs to the mixture (0: none).
        out_channels: Channels of the result.
        norm: Whether BatchNorm follows.
        statistics: See SourceBatchNorm2d.
        sync: See SourceBatchNorm2d.
        bias: Whether the convolution has a bias; None: where no norm follows.
    """

    aligned_time = True

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        norm: bool = True,
        statistics: str = "per_source",
        sync: bool = True,
        bias: Optional[bool] = None,
    ):
        super().__init__()
        self.skip_channels = skip_channels
        self.conv = nn.Conv2d(
            skip_channels + in_channels,
            out_channels,
            kernel_size=3,
            padding=1,
            bias=not norm if bias is None else bias,
        )
        self.norm = SourceBatchNorm2d(out_channels, statistics, sync) if norm else None

    def _at_low_resolution(self, x: Tensor) -> bool:
        """Whether convolving first is cheaper.

        On a CPU it is where the input maps are many, whatever their size; measured in
        float32, and in bfloat16, whose direct convolution gains more than its
        interpolation does. (On a GPU memory traffic counts more than multiplications.)
        """
        if x.device.type != "cpu" or torch.compiler.is_exporting():
            return False
        bfloat16 = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        least = 128 if bfloat16 else 64
        return x.size(1) >= min(least, 16 * self.conv.out_channels)

    def forward(
        self,
        x: Tensor,
        skip: Optional[Tensor],
        num_sources: int,
        attend: Optional[Callable[[Tensor, int], Tensor]] = None,
    ) -> Tensor:
        """Run the block.

        Args:
            x: (N * B, C_in, H, W), source by source.
            skip: (B, C_skip, H, W) or None, shared by the sources.
            num_sources: N.
            attend: Applied to the maps and N before the norm.

        Returns:
            (N * B, C_out, 2 H, 2 W).
        """
        weight, bias = self.conv.weight, self.conv.bias
        low = self._at_low_resolution(x)
        # Few positions: their taps are reordered, not the weights.
        by_maps = low and x.numel() // x.size(1) < weight.size(1)
        if low:
            weight = tap_weights(weight, by_maps)
        shared_weight = weight
        if self.skip_channels:
            # One split: slices would have gradients of full size, and their sum.
            sizes = [self.skip_channels, weight.size(1) - self.skip_channels]
            shared_weight, weight = weight.split(sizes, dim=1)

        def convolve(x: Tensor, weight: Tensor) -> Tensor:
            x = F.relu(x)
            if low:
                return F.linear(x.permute(0, 2, 3, 1), weight)
            return F.conv2d(up_sample(x, self.aligned_time), weight, padding=1)

        y = convolve(x, weight)
        if skip is not None:
            shared = convolve(skip, shared_weight)
            by_source = y.unflatten(0, (num_sources, -1))
            if torch.is_grad_enabled():
                y = (by_source + shared).flatten(0, 1)
            else:
                by_source += shared
        if low:
            if by_maps:
                y = order_taps(y)
            y = interpolate_taps(y, self.aligned_time).permute(0, 3, 1, 2)
        if bias is not None:
            y = y + bias[:, None, None]
        if attend is not None:
            y = attend(y, num_sources)
        return y if self.norm is None else self.norm(y, num_sources)


class QueriedUpBlock(nn.Module):
    """The last up-block of late fusion: one weighted sum of its maps per source.

    Equals the inner product of each source's query with the maps of an UpBlock without
    norm, maps that are not made: the query is folded into the convolution's weights.

    Args:
        in_channels: Channels of the part that differs between sources.
        skip_channels: Channels of the part that belongs to the mixture (0: none).
        out_channels: Maps K that a query weighs.
        bias: Whether the convolution has a bias.
    """

    aligned_time = True

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        bias: bool = True,
    ):
        super().__init__()
        self.skip_channels = skip_channels
        self.conv = nn.Conv2d(
            skip_channels + in_channels,
            out_channels,
            kernel_size=3,
            padding=1,
            bias=bias,
        )

    def forward(self, x: Tensor, skip: Optional[Tensor], query: Tensor) -> Tensor:
        """Run the block.

        Args:
            x: (N * B, C_in, H, W), source by source, or (B, C_in, H, W) where the
                decoder did not see the sources.
            skip: (B, C_skip, H, W) or None.
            query: (N, B, K).

        Returns:
            (N, B, 2 H, 2 W).
        """
        if torch.compiler.is_exporting():
            return self._plain(x, skip, query)
        num_sources, batch = query.shape[:2]
        # Weights of the nine taps, column tap first: (N, B, 9, C).
        weight = self.conv.weight.permute(0, 3, 2, 1)  # (K, 3, 3, C)
        weight = torch.einsum("nbk,kjic->nbjic", query, weight).flatten(2, 3)
        height, width = x.shape[-2:]
        # Sources as one more axis of x; a decoder that did not see them has one.
        x = F.relu(x).unflatten(0, (-1, batch))
        own = weight[..., self.skip_channels :]
        taps = self._mix(own, x)
        if skip is not None:
            shared = weight[..., : self.skip_channels]
            taps = taps + self._mix(shared, F.relu(skip)[None])
        taps = taps.reshape(num_sources * batch, height, width, 9)
        result = interpolate_taps(taps, self.aligned_time)[..., 0]
        result = result.unflatten(0, (num_sources, batch))
        if self.conv.bias is None:
            return result
        return result + (query @ self.conv.bias)[..., None, None]

    def _plain(self, x: Tensor, skip: Optional[Tensor], query: Tensor) -> Tensor:
        """Do the same with the maps, in operations that a graph can hold."""

        def convolve(x: Tensor, weight: Tensor) -> Tensor:
            x = up_sample(F.relu(x), self.aligned_time)
            return F.conv2d(x, weight, padding=1).unflatten(0, (-1, query.size(1)))

        maps = convolve(x, self.conv.weight[:, self.skip_channels :])
        if skip is not None:
            maps = maps + convolve(skip, self.conv.weight[:, : self.skip_channels])
        if self.conv.bias is not None:
            maps = maps + self.conv.bias[:, None, None]
        return (query[..., None, None] * maps).sum(dim=2)

    @staticmethod
    def _mix(weight: Tensor, x: Tensor) -> Tensor:
        """Weigh maps (N or 1, B, C, H, W) by (N, B, 9, C): (N, B, H * W, 9)."""
        return x.flatten(3).transpose(2, 3) @ weight.transpose(2, 3)


class UNetDecoder(nn.Module):
    """The way back up, with a condition joined at the bottleneck.

    Args:
        widths: The encoder's channels.
        condition_channels: Channels joined to the bottleneck (0: none).
        out_channels: Maps of the last level.
        statistics: See SourceBatchNorm2d.
        queried: Whether a query per source weighs the maps of the last level (late
            fusion); otherwise there is one map, the mask itself.
        sync: See SourceBatchNorm2d.
    """

    def __init__(
        self,
        widths: Sequence[int],
        condition_channels: int = 0,
        out_channels: int = 32,
        statistics: str = "per_source",
        queried: bool = True,
        sync: bool = True,
    ):
        super().__init__()
        blocks = []
        # The bottleneck is the mixture's part of the first block, the condition the
        # source's part. Without a condition the bottleneck is all there is.
        in_channels, skip_channels = condition_channels, widths[-1]
        if condition_channels == 0:
            in_channels, skip_channels = widths[-1], 0
        for out in reversed(widths[:-1]):
            blocks.append(
                UpBlock(
                    in_channels, skip_channels, out, statistics=statistics, sync=sync
                )
            )
            in_channels = skip_channels = out
        if queried:
            last = QueriedUpBlock(in_channels, skip_channels, out_channels)
        else:
            last = UpBlock(in_channels, skip_channels, 1, norm=False)
        self.blocks = nn.ModuleList([*blocks, last])
        self.queried = queried
        self.to(memory_format=torch.channels_last)

    def forward(
        self,
        features: Sequence[Tensor],
        condition: Optional[Tensor] = None,
        query: Optional[Tensor] = None,
        bottleneck: Optional[Tensor] = None,
    ) -> Tensor:
        """Decode once per source, all sources in one batch.

        Args:
            features: The encoder's feature maps, of B mixtures.
            condition: (N, B, C_cond), tiled over the bottleneck; None decodes once per
                mixture, up to the last level.
            query: (N, B, K), weights of the last level's maps; None without late
                fusion.
            bottleneck: (N, B, C, F', T'), what each source decodes in place of the
                encoder's last map; without a condition.

        Returns:
            (N, B, F, T).
        """
        if condition is not None:
            num_sources, skip = condition.size(0), features[-1]
            x = condition.flatten(0, 1)[:, :, None, None]
            x = x.expand(-1, -1, *skip.shape[-2:])
        elif bottleneck is not None:
            num_sources, x, skip = bottleneck.size(0), bottleneck.flatten(0, 1), None
        else:
            num_sources, x, skip = 1, features[-1], None
        skips = [skip, *reversed(features[:-1])]
        *blocks, last = self.blocks
        for block, skip in zip(blocks, skips[:-1], strict=True):
            x = block(x, skip, num_sources)
        if self.queried:
            return last(x, skips[-1], query)
        return last(x, skips[-1], num_sources)[:, 0].unflatten(0, (num_sources, -1))
