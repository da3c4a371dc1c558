"""Wave-U-Net with the visual input joined at its bottleneck."""

from typing import Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.separator.abs_wave_separator import AbsWaveSeparator


class WaveUNetSeparator(AbsWaveSeparator):
    """U-Net on the waveform.

    Stoller et al., "Wave-U-Net: A Multi-Scale Neural Network for End-to-End Audio
    Source Separation", ISMIR 2018, adapted to a visual query.

    Notes:
        Wave-U-Net has one output for each known kind of source and no query. Here, the
        visual embedding, through a linear layer, is tiled over the bottleneck, and the
        decoder runs once per source; the encoder, which sees only the mixture, once
        per mixture. Convolutions are padded, down-sampling is a strided convolution,
        and GroupNorm stands where the paper has no norm: with it, neither the sources
        nor the mixtures of a batch depend on one another.

    Args:
        visual_dim: D, size of a visual embedding.
        channels: Features of the first level, doubled from level to level.
        layers: Levels.
        kernel_size: Of all convolutions, odd.
        stride: Factor by which each level shortens the signal.
        condition_dim: Channels that the visual input becomes at the bottleneck.
    """

    tiny = {"channels": 8, "layers": 2, "condition_dim": 8}

    def __init__(
        self,
        visual_dim: int = 512,
        channels: int = 32,
        layers: int = 6,
        kernel_size: int = 5,
        stride: int = 4,
        condition_dim: int = 512,
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: must be odd.")
        self.visual_dim = visual_dim
        self.stride = stride
        widths = [channels * 2**level for level in range(layers + 1)]
        self.bottleneck_dim = widths[-1]

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv1d(inputs, outputs, kernel_size, padding=kernel_size // 2),
                nn.GroupNorm(_groups(outputs), outputs),
                nn.LeakyReLU(0.2),
            )

        self.down = nn.ModuleList()
        self.shorten = nn.ModuleList()
        self.up = nn.ModuleList()
        inputs = 1
        for width in widths[:-1]:
            self.down.append(block(inputs, width))
            self.shorten.append(
                nn.Conv1d(width, width, kernel_size, stride, kernel_size // 2)
            )
            inputs = width
        self.bottom = block(inputs, widths[-1])
        self.condition = nn.Linear(visual_dim, condition_dim)
        inputs = widths[-1] + condition_dim
        for width in reversed(widths[:-1]):
            self.up.append(block(inputs + width, width))
            inputs = width
        self.last = nn.Conv1d(inputs + 1, 1, kernel_size=1)

    def forward(self, mixture: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsWaveSeparator.forward."""
        self.check_visual(visual)
        num_sources, length = visual.size(1), mixture.size(-1)
        x = F.pad(mixture, (0, -length % self.stride ** len(self.down)))[:, None]
        x = x.to(self.last.weight.dtype)
        inputs, skips = x, []
        for block, shorten in zip(self.down, self.shorten, strict=True):
            skips.append(block(x))
            x = shorten(skips[-1])
        x = self.bottom(x)
        bottleneck = x.mean(dim=-1)

        def repeat(x: Tensor) -> Tensor:
            """(B, C, L) of the mixtures -> (B * N, C, L) of the sources."""
            return x[:, None].expand(-1, num_sources, -1, -1).flatten(0, 1)

        condition = self.condition(visual).flatten(0, 1)[..., None]  # (B * N, C, 1)
        x = torch.cat([repeat(x), condition.expand(-1, -1, x.size(-1))], dim=1)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, skip.size(-1), mode="linear", align_corners=False)
            x = block(torch.cat([x, repeat(skip)], dim=1))
        tracks = self.last(torch.cat([x, repeat(inputs)], dim=1))[:, 0]
        return tracks.unflatten(0, visual.shape[:2])[..., :length], bottleneck


def _groups(channels: int) -> int:
    """Groups of at least 4 channels, 8 of them at most."""
    return next(n for n in (8, 4, 2, 1) if channels % n == 0 and channels >= 4 * n)
