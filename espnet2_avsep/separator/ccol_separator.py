"""The separator of CCoL: Sound of Pixels' network, and one that tells what sounds."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.grounding import SOUNDS, GroundingNetwork, ground_heard
from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.layers.rounding import straight_through_round
from espnet2_avsep.layers.unet import UNetDecoder, UNetEncoder, level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator

GATES = (None, "round", "straight_through")
# Logit of a mask that is shut: sigmoid(-30) is 1e-13.
_SHUT = -30.0


class CCoLSeparator(AbsAVSeparator):
    """Separation and grounding networks, which learn from one another.

    Tian, Hu and Xu, "Cyclic Co-Learning of Sounding Object Visual Grounding and Sound
    Separation", CVPR 2021. Masks are those of Sound of Pixels' network; the grounding
    network takes no part in them, unless they are gated. What each learns from the
    other is in loss/co_learning.py.

    Args:
        visual_dim: D, size of a source's embedding.
        maps: K, number of the U-Net's output maps.
        grounding_dim: How many of an embedding's last values the grounding network
            sees; the K before them are the query of the masks (visual_adapter
            resnet18_ccol). Null: the grounding network sees all D values, and a linear
            layer makes the query of them (embeddings of a frozen encoder).
        channels: Channels of the U-Net's first level; each doubles, at most 8 times it.
        layers: Levels of the U-Net.
        grounding_channels: Channels of the grounding network's first convolution.
        gate: Shut the masks of pictures that do not sound, as the second test of the
            paper's program does: null, "round" (the probability, rounded), or
            "straight_through" (the same, with the gradient of the probability).
        end_bias: See UNetEncoder; false in the released network.
        initialisation: Initial weights: null (torch's own) or one of
            layers.initialisation.INITIALISATIONS.
    """

    grounds = learns_grounding = True
    beside_masks = ("grounding.",)
    phases = ("grounding", "co_learning", "cyclic")
    rate_factors = {"grounding.": 0.5}
    tiny = {"channels": 4, "layers": 3, "maps": 5, "grounding_channels": 2}

    def __init__(
        self,
        visual_dim: int = 544,
        maps: int = 32,
        grounding_dim: Optional[int] = None,
        channels: int = 64,
        layers: int = 7,
        grounding_channels: int = 64,
        gate: Optional[str] = None,
        end_bias: bool = True,
        initialisation: Optional[str] = None,
    ):
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate={gate!r}: expected one of {GATES}.")
        if grounding_dim is not None and grounding_dim + maps != visual_dim:
            raise ValueError(
                f"grounding_dim={grounding_dim} and maps={maps} do not add up to "
                f"visual_dim={visual_dim}."
            )
        self.visual_dim = visual_dim
        self.grounding_dim = grounding_dim
        self.gate = gate
        self.phase = self.phases[-1]
        self.query = None
        if grounding_dim is None:
            self.query = nn.Linear(visual_dim, maps)
        widths = level_widths(channels, layers)
        self.layers = layers
        self.bottleneck_dim = widths[-1]
        self.encoder = UNetEncoder(widths, end_bias=end_bias)
        self.decoder = UNetDecoder(widths, out_channels=maps)
        self.scale = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(1))
        for network in (self.encoder, self.decoder):
            initialise(network, initialisation)
        self.grounding = GroundingNetwork(
            grounding_dim or visual_dim,
            grounding_channels,
            initialisation=initialisation,
        )

    def set_phase(self, name: str) -> None:
        """See AbsSeparator.set_phase."""
        super().set_phase(name)
        self.phase = name

    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsAVSeparator.forward.

        In training the masks are not made in the phase "grounding", in which nothing
        learns from them; their logits are zeros then.
        """
        self.check_visual(visual)
        if self.training and self.phase == "grounding":
            logits = feature.new_zeros(*visual.shape[:2], *feature.shape[-2:])
            return logits, feature.new_zeros(len(feature), self.bottleneck_dim)
        if self.query is None:
            query = visual[..., : -self.grounding_dim]
        else:
            query = self.query(visual)
        padded, (num_bins, num_frames) = pad_to_multiple(feature, 2**self.layers)
        features = self.encoder(padded)
        weighed = query.transpose(0, 1).sigmoid() * self.scale  # (N, B, K)
        logits = self.decoder(features, query=weighed) + self.bias  # (N, B, F, T)
        logits = logits.transpose(0, 1)[..., :num_bins, :num_frames]
        bottleneck = features[-1].mean(dim=(-2, -1))
        if self.gate is None:
            return logits, bottleneck
        sounds = self.ground(feature, visual)[:, 0].softmax(dim=-1)[..., SOUNDS]
        if self.gate == "round":
            is_open = sounds.round()
        else:
            is_open = straight_through_round(sounds)
        is_open = is_open[..., None, None]
        return is_open * logits + (1 - is_open) * _SHUT, bottleneck

    def ground(
        self, feature: Tensor, visual: Tensor, heard: Optional[Tensor] = None
    ) -> Tensor:
        """Tell which pictures can be heard in which sounds.

        Args:
            feature: Features of M sounds, (B, M, F, T).
            visual: Embeddings of N pictures, (B, N, D).
            heard: Which sounds are of interest, (B, M); None: all.

        Returns:
            Logits (B, M, N, 2), of layers.grounding.SOUNDS and SILENT; NaN for a sound
            that is of no interest.
        """
        self.check_visual(visual)
        if self.grounding_dim is not None:
            visual = visual[..., -self.grounding_dim :]
        network = self.grounding
        return ground_heard(
            network.embed, lambda sounds: network(sounds, visual), feature, heard
        )
