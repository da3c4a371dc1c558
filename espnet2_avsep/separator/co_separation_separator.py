"""The separator of Co-Separation and AV-Mix-and-Separate: a U-Net, picture tiled."""

from typing import Optional, Tuple

from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.layers.unet import level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator


class CoSeparationSeparator(AbsAVSeparator):
    """U-Net of strided and transposed convolutions, conditioned at the bottleneck.

    Gao and Grauman, "Co-Separating Sounds of Visual Objects", ICCV 2019, as released.
    Each level down is a 4x4 convolution of stride 2, BatchNorm and LeakyReLU(0.2); each
    level up a transposed 4x4 convolution of stride 2, BatchNorm and ReLU, of the level
    below and the skip connection; the last one is the transposed convolution only.

    Notes:
        The way down, and the skip connections' part of each convolution on the way up,
        are computed once per mixture.

    Args:
        visual_dim: D, size of a visual embedding, which is tiled over the bottleneck.
        channels: Channels of the first level; each level doubles, at most 8 times it.
        layers: Levels of the U-Net; both axes are padded to multiples of 2 ** layers.
        bn_statistics: BatchNorm statistics of the way up, "joint" (the release, where
            all objects of a batch are one batch) or "per_source".
        bn_sync: In training over several processes, take the statistics of BatchNorm
            over all of them.
        initialisation: Initial weights: null (torch's own) or one of
            layers.initialisation.INITIALISATIONS.
    """

    tiny = {"channels": 4, "layers": 3}

    def __init__(
        self,
        visual_dim: int = 512,
        channels: int = 64,
        layers: int = 7,
        bn_statistics: str = "joint",
        bn_sync: bool = True,
        initialisation: Optional[str] = "co_separation",
    ):
        super().__init__()
        widths = level_widths(channels, layers)
        self.visual_dim = visual_dim
        self.layers = layers
        self.bottleneck_dim = widths[-1]
        inside = [1, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1)
            for a, b in zip(inside, widths, strict=True)
        )
        self.down_norms = nn.ModuleList(
            SourceBatchNorm2d(width, sync=bn_sync) for width in widths
        )
        # From the bottleneck up; the source's part of each input comes first.
        own = [visual_dim, *reversed(widths[:-1])]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a + skip, out, 4, stride=2, padding=1)
            for a, skip, out in zip(own, reversed(widths), [*own[1:], 1], strict=True)
        )
        self.up_norms = nn.ModuleList(
            SourceBatchNorm2d(width, bn_statistics, bn_sync) for width in own[1:]
        )
        initialise(self, initialisation)

    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsAVSeparator.forward."""
        self.check_visual(visual)
        x, (num_bins, num_frames) = pad_to_multiple(feature, 2**self.layers)
        skips = []
        for conv, norm in zip(self.down, self.down_norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
            skips.append(x)
        bottleneck = x.mean(dim=(-2, -1))

        num_sources = visual.size(1)
        y = visual.transpose(0, 1).flatten(0, 1)[..., None, None]  # (N * B, D, 1, 1)
        y = y.expand(-1, -1, *x.shape[-2:])
        for level, conv in enumerate(self.up):
            y = self._rise(conv, y, skips.pop(), num_sources)
            if level < len(self.up_norms):
                y = self.up_norms[level](y, num_sources).relu()
        logits = y[:, 0].unflatten(0, (num_sources, -1)).transpose(0, 1)
        return logits[..., :num_bins, :num_frames], bottleneck

    @staticmethod
    def _rise(
        conv: nn.ConvTranspose2d, own: Tensor, skip: Tensor, num_sources: int
    ) -> Tensor:
        """The transposed convolution of [own, skip], (N * B, C, H, W) and (B, ...)."""
        first = own.size(1)
        options = {"stride": 2, "padding": 1}
        shared = F.conv_transpose2d(skip, conv.weight[first:], conv.bias, **options)
        result = F.conv_transpose2d(own, conv.weight[:first], **options)
        return (result.unflatten(0, (num_sources, -1)) + shared).flatten(0, 1)
