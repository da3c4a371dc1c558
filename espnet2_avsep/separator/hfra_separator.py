"""The separator of HFRA: a U-Net with middle, late or hierarchical fusion."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.layers.unet import UNetDecoder, UNetEncoder, level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator

CONDITIONS = ("own", "last_source")
FUSIONS = ("middle", "late", "hierarchical")
ACTIVATIONS = {None: nn.Identity, "sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class HFRASeparator(AbsAVSeparator):
    """Visually conditioned U-Net.

    Hu et al., "Audio-Visual Separation with Hierarchical Fusion and Representation
    Alignment", BMVC 2025, eqs. (1), (2) and (5). For source i with visual embedding
    e_i and mixture spectrogram X:

        middle:        M_i = Dec(Tile(Proj2(e_i)) (+) Enc(X))               eq. (1)
        late:          M_i = Proj1(e_i) . Dec(Enc(X))                       eq. (2)
        hierarchical:  M_i = Proj1(e_i) . Dec(Tile(Proj2(e_i)) (+) Enc(X))  eq. (5)

    with (+) the concatenation of channels and . the inner product with the decoder's
    output maps (learned scale per map and one bias, as in Sound of Pixels).

    Notes:
        Enc runs once per mixture, Dec once per source, and each mask comes from its own
        source's condition. (The released code computes every mask from the features of
        the last source.) With late fusion Dec does not see the source and runs once.
        Eq. (1) tiles e itself; here middle fusion has Proj2 as eq. (5) has.

    Args:
        visual_dim: D, size of a visual embedding (512 for CLIP ViT-B/32).
        fusion: "middle", "late" or "hierarchical".
        channels: Channels of the first level; each level doubles, at most 8 times it.
        layers: Levels of the U-Net; both axes are padded to multiples of 2 ** layers.
        width: Output maps of the decoder for late and hierarchical fusion.
        condition_dim: Size of Proj2(e); null takes the bottleneck's width.
        middle_condition: Whose embedding conditions the bottleneck: of each source its
            "own", or that of the "last_source" for all, as HFRA's released code has it
            (for its checkpoints; masks then depend on which source is the last).
        projection_activation: Activation after Proj1 and Proj2: null (the paper: single
            fully connected layers) or "sigmoid" (the released code).
        bn_statistics: BatchNorm statistics of the decoder, "per_source" (equal to one
            pass per source) or "joint".
        bn_sync: In training over several processes, take the statistics of BatchNorm
            over all of them: the same training as in one process.
        end_bias: See UNetEncoder; false in the released networks.
        initialisation: Initial weights: null (torch's own) or one of
            layers.initialisation.INITIALISATIONS ("sound_of_pixels": CLIPSep, HFRA).
    """

    tiny = {"channels": 4, "layers": 3, "width": 5}

    def __init__(
        self,
        visual_dim: int = 512,
        fusion: str = "hierarchical",
        channels: int = 64,
        layers: int = 7,
        width: int = 32,
        condition_dim: Optional[int] = None,
        middle_condition: str = "own",
        projection_activation: Optional[str] = None,
        bn_statistics: str = "per_source",
        bn_sync: bool = True,
        end_bias: bool = True,
        initialisation: Optional[str] = None,
    ):
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion={fusion!r}: expected one of {FUSIONS}.")
        if projection_activation not in ACTIVATIONS:
            raise ValueError(
                f"projection_activation={projection_activation!r}: expected one of "
                f"{tuple(ACTIVATIONS)}."
            )
        if middle_condition not in CONDITIONS:
            raise ValueError(
                f"middle_condition={middle_condition!r}: expected one of {CONDITIONS}."
            )
        if middle_condition == "last_source" and fusion != "hierarchical":
            raise ValueError(
                f"middle_condition={middle_condition!r} with fusion={fusion!r}: only "
                "hierarchical fusion could tell sources apart then."
            )
        activation = ACTIVATIONS[projection_activation]
        widths = level_widths(channels, layers)
        self.visual_dim = visual_dim
        self.layers = layers
        self.middle_condition = middle_condition
        self.bottleneck_dim = widths[-1]

        self.encoder = UNetEncoder(widths, sync=bn_sync, end_bias=end_bias)
        condition_channels = 0
        self.middle_projection = None
        if fusion in ("middle", "hierarchical"):
            condition_channels = condition_dim or widths[-1]
            self.middle_projection = nn.Sequential(
                nn.Linear(visual_dim, condition_channels), activation()
            )
        self.late_projection = None
        if fusion in ("late", "hierarchical"):
            self.late_projection = nn.Sequential(
                nn.Linear(visual_dim, width), activation()
            )
            self.late_scale = nn.Parameter(torch.ones(width))
            self.late_bias = nn.Parameter(torch.zeros(1))
        self.decoder = UNetDecoder(
            widths,
            condition_channels,
            out_channels=width,
            statistics=bn_statistics,
            queried=self.late_projection is not None,
            sync=bn_sync,
        )
        initialise(self, initialisation)

    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsAVSeparator.forward."""
        self.check_visual(visual)
        padded, (num_bins, num_frames) = pad_to_multiple(feature, 2**self.layers)
        features = self.encoder(padded)
        bottleneck = features[-1].mean(dim=(-2, -1))  # (B, C)

        visual = visual.transpose(0, 1)  # (N, B, D)
        condition = None
        if self.middle_projection is not None:
            condition = self.middle_projection(visual)  # (N, B, C_cond)
            if self.middle_condition == "last_source":
                condition = condition[-1:]
        query = None
        if self.late_projection is not None:
            query = self.late_projection(visual) * self.late_scale  # (N, B, K)
        logits = self.decoder(features, condition, query)  # (N, B, F, T)
        if query is not None:
            logits = logits + self.late_bias
        return logits.transpose(0, 1)[..., :num_bins, :num_frames], bottleneck
