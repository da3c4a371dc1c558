"""The separator of Sound of Pixels: a U-Net whose maps the picture weighs."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.layers.unet import UNetDecoder, UNetEncoder, level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator


class SoundOfPixelsSeparator(AbsAVSeparator):
    """Late fusion without a projection: the visual embedding is the query.

    Zhao et al., "The Sound of Pixels", ECCV 2018. With K maps S_k of the U-Net and the
    picture's K values i_k, the mask is sum_k scale_k sigmoid(i_k) S_k + bias.

    Args:
        visual_dim: K, size of an embedding and number of the U-Net's output maps.
        channels: Channels of the first level; each level doubles, at most 8 times it.
        layers: Levels of the U-Net.
        end_bias: See UNetEncoder; false in the released network.
        initialisation: Initial weights: null (torch's own) or one of
            layers.initialisation.INITIALISATIONS.
    """

    tiny = {"channels": 4, "layers": 3}

    def __init__(
        self,
        visual_dim: int = 32,
        channels: int = 64,
        layers: int = 7,
        end_bias: bool = True,
        initialisation: Optional[str] = None,
    ):
        super().__init__()
        widths = level_widths(channels, layers)
        self.visual_dim = visual_dim
        self.layers = layers
        self.bottleneck_dim = widths[-1]
        self.encoder = UNetEncoder(widths, end_bias=end_bias)
        self.decoder = UNetDecoder(widths, out_channels=visual_dim)
        self.scale = nn.Parameter(torch.ones(visual_dim))
        self.bias = nn.Parameter(torch.zeros(1))
        initialise(self, initialisation)

    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsAVSeparator.forward."""
        self.check_visual(visual)
        padded, (num_bins, num_frames) = pad_to_multiple(feature, 2**self.layers)
        features = self.encoder(padded)
        query = visual.transpose(0, 1).sigmoid() * self.scale  # (N, B, K)
        logits = self.decoder(features, query=query) + self.bias  # (N, B, F, T)
        bottleneck = features[-1].mean(dim=(-2, -1))
        return logits.transpose(0, 1)[..., :num_bins, :num_frames], bottleneck
