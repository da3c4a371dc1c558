"""The separator of iQuery and DGFNet: a query per class asks motion and sound."""

from typing import (
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import torch
from torch import Tensor, nn

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.fused_unet_decoder import FusedUNetDecoder
from espnet2_avsep.layers.gated_fusion import GATES, GatedFusion
from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.layers.queries import BuiltQueries, ClassQueries
from espnet2_avsep.layers.query_transformer import QueryTransformer
from espnet2_avsep.layers.standardise import Standardise
from espnet2_avsep.layers.unet import UNetEncoder, level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator

QUERIES = ("class", "label_free")
FUSED_MAPS = ("network", "transformer")


class Explanation(NamedTuple):
    """What a mask came from.

    H and W are rows and columns of the map that is fused, without padding.

    Attributes:
        gate: Share sigma of the visual features, (B, N, H, W); None without a gate.
        attention: Where each decoder layer's query of the source looks in the sound,
            (B, N, layers, H, W); mean of the heads. What is missing to a sum of 1 goes
            to the padding.
        motion: The same of the steps of motion, (B, N, S); None without motion.
    """

    gate: Optional[Tensor]
    attention: Tensor
    motion: Optional[Tensor]


class _Pass(NamedTuple):
    """What one pass has computed; shapes as in Explanation, N first."""

    logits: Tensor
    bottleneck: Tensor
    gate: Optional[Tensor]
    weights: List[Tensor]
    place: Tuple[int, int]


class QuerySeparator(AbsAVSeparator):
    """U-Net whose output maps are weighed by the decoded query of each source.

    Chen et al., "iQuery: Instruments as Queries for Audio-Visual Sound Separation",
    CVPR 2023; Yu and Sun, "DGFNet: End-to-End Audio-Visual Source Separation Based on
    Dynamic Gating Fusion", ICMR 2025, which adds the audio attention and the gate. With
    the U-Net's map F_mid at 1/8 of the resolution and its maps F_a at the end,

        F_d = Fusion(F_mid, object)            replaces F_mid; F_mid without a gate
        q   = Transformer(Query(class, object), motion, F_d)
        M   = MLP(q) . F_a

    Notes:
        Each source has a pass of its own, in which only its query has an object
        feature. What precedes the gate runs once per mixture; with ``gate: none`` and
        with ``fused_map: transformer`` so does the whole U-Net.
        iQuery is ``gate: none`` and ``audio_attention: null``; DGFNet is ``gate:
        dynamic`` and ``audio_attention: every`` ("after each upsampling layer"). Its
        released code has ``gate: multiply``, ``fused_map: transformer``,
        ``audio_attention: [6, 5, 4, 3, 2, 1]``, ``attention_place: before_norm``.
        The options from ``positions`` to ``final_norm``, and
        ``transformer_initialisation``, are the transformer's: see
        QueryTransformer, also for the values of the released code.
        Object features go through a linear layer each for the fusion and the query.

    Args:
        visual_dim: D, size of a visual embedding.
        queries: "class" (the papers: the source's class is given, in tests too) or
            "label_free" (see BuiltQueries).
        num_queries: Learned queries, for "class" at least one a class.
        new_queries: Queries of classes added to a trained model; see ClassQueries.
        motion: Whether there are motion features of each source.
        motion_dim: Size of a motion feature (1024 for I3D).
        motion_standardised: Whether each value of the motion features is given zero
            mean and unit variance (ours), by layers.standardise. For optical flow,
            whose values are so small that a query hardly changes by them.
        gate: "dynamic", "multiply" or "none"; see GatedFusion.
        fused_map: Where F_d replaces F_mid: "network", in the transformer and in the
            U-Net ("the resulting feature F_d replaces F_a^mid in the network"), or
            "transformer", there only.
        audio_attention: Levels of the U-Net with audio attention; see
            layers.fused_unet_decoder.attention_levels.
        attention_groups: Groups of channels of the audio attention.
        attention_place: "after_norm" or "before_norm"; see FusedUNetDecoder.
        channels: Channels of the first level; each level doubles, at most 8 times it.
        layers: Levels of the U-Net.
        middle_level: See FusedUNetDecoder; 3 is 1/8 of the resolution.
        width: Output maps of the U-Net.
        output_bias: Whether the U-Net's last convolution has a bias.
        dim: Width of the transformer.
        heads: Attention heads.
        feedforward_dim: Inner width of the transformer's feed-forward networks.
        decoder_layers: Layers that attend to the sound.
        positions: "index" or "normalised"; see map_positions().
        positions_in_values: See QueryTransformer.
        query_positions: See QueryTransformer.
        motion_positions: See QueryTransformer.
        final_norm: See QueryTransformer.
        bn_statistics: BatchNorm statistics behind the gate; see SourceBatchNorm2d.
        bn_sync: See SourceBatchNorm2d.
        end_bias: See UNetEncoder; false in the released networks.
        initialisation: Initial weights of the U-Net and its attention: null (torch's
            own) or one of layers.initialisation.INITIALISATIONS ("sound_of_pixels": the
            released networks).
        transformer_initialisation: See QueryTransformer.
    """

    # After 300 steps, SI-SDRi of iQuery is 4.7 dB with one rate, 5.9 dB with this.
    rate_factors = {"transformer.": 0.1}
    tiny = {
        "channels": 8,
        "layers": 3,
        "width": 8,
        "middle_level": 2,
        "attention_groups": 4,
        "dim": 16,
        "heads": 2,
        "feedforward_dim": 32,
        "num_queries": 5,
        "motion_dim": 9,
    }

    def __init__(
        self,
        visual_dim: int = 32,
        queries: str = "class",
        num_queries: int = 12,
        new_queries: int = 0,
        motion: bool = True,
        motion_dim: int = 1024,
        motion_standardised: bool = False,
        gate: str = "dynamic",
        fused_map: str = "network",
        audio_attention: Union[None, str, Sequence[int]] = "every",
        attention_groups: int = 8,
        attention_place: str = "after_norm",
        channels: int = 64,
        layers: int = 7,
        middle_level: int = 3,
        width: int = 32,
        output_bias: bool = True,
        dim: int = 256,
        heads: int = 8,
        feedforward_dim: int = 1024,
        decoder_layers: int = 3,
        positions: str = "index",
        positions_in_values: bool = True,
        query_positions: bool = False,
        motion_positions: bool = False,
        final_norm: bool = False,
        bn_statistics: str = "per_source",
        bn_sync: bool = True,
        end_bias: bool = True,
        initialisation: Optional[str] = None,
        transformer_initialisation: Optional[str] = None,
    ):
        super().__init__()
        for name, value, known in (
            ("queries", queries, QUERIES),
            ("gate", gate, GATES),
            ("fused_map", fused_map, FUSED_MAPS),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}: expected one of {known}.")
        if new_queries and queries != "class":
            raise ValueError(
                f"new_queries={new_queries} with queries={queries!r}: only 'class' has "
                "a query for each class."
            )
        widths = level_widths(channels, layers)
        self.visual_dim = visual_dim
        self.motion_dim = motion_dim
        self.needs_motion = motion
        self.needs_labels = queries == "class"
        self.new_classes = new_queries
        self.fused_map = fused_map
        self.layers = layers
        self.middle_level = middle_level
        self.bottleneck_dim = widths[-1]

        self.motion_scale = None
        if motion and motion_standardised:
            self.motion_scale = Standardise(motion_dim)
        self.encoder = UNetEncoder(widths, sync=bn_sync, end_bias=end_bias)
        self.decoder = FusedUNetDecoder(
            widths,
            width,
            middle_level,
            audio_attention,
            attention_groups,
            attention_place,
            statistics=bn_statistics,
            sync=bn_sync,
            output_bias=output_bias,
        )
        for network in (self.encoder, self.decoder):
            initialise(network, initialisation)
        fused = self.decoder.middle_channels
        self.fusion = None
        if gate != "none":
            self.fusion = GatedFusion(fused, visual_dim, gate)
        if self.needs_labels:
            self.queries = ClassQueries(visual_dim, dim, num_queries, new_queries)
        else:
            self.queries = BuiltQueries(visual_dim, dim, num_queries)
        self.transformer = QueryTransformer(
            fused,
            motion_dim if motion else None,
            dim,
            heads,
            feedforward_dim,
            decoder_layers=decoder_layers,
            positions=positions,
            positions_in_values=positions_in_values,
            query_positions=query_positions,
            motion_positions=motion_positions,
            final_norm=final_norm,
            initialisation=transformer_initialisation,
        )
        self.mask_head = nn.Sequential(
            nn.Linear(dim, dim),
            nn.ReLU(),
            nn.Linear(dim, dim),
            nn.ReLU(),
            nn.Linear(dim, width),
        )

    @property
    def num_classes(self) -> Optional[int]:
        """Classes that there are queries for; None where none are asked for."""
        return len(self.queries) if self.needs_labels else None

    @classmethod
    def small_conf(cls, conf: Mapping[str, Any]) -> Dict[str, Any]:
        """See AbsSeparator.small_conf; a quarter of the transformer."""
        small = {**super().small_conf(conf), "dim": 64, "feedforward_dim": 256}
        levels = conf.get("audio_attention")
        if isinstance(levels, (list, tuple)):
            # Counted from the bottleneck, as there.
            cut = conf["layers"] - small["layers"]
            small["audio_attention"] = [n - cut for n in levels if n > cut]
        return small

    def forward(
        self,
        feature: Tensor,
        visual: Tensor,
        motion: Optional[Tensor] = None,
        motion_lengths: Optional[Tensor] = None,
        labels: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """Compute the mask logits of every source; see AbsAVSeparator.forward.

        Args:
            feature: Mixture feature, (B, 1, F, T).
            visual: Visual embedding of each source, (B, N, D).
            motion: Motion features, (B, N, S, motion_dim); with ``motion: true``.
            motion_lengths: Steps of each that are no padding, (B, N).
            labels: Number of each source's class, (B, N); with ``queries: class``.

        Raises:
            ValueError: motion or labels are missing or do not fit.
        """
        done = self._run(feature, visual, motion, motion_lengths, labels)
        return done.logits.transpose(0, 1), done.bottleneck

    @torch.no_grad()
    def explain(
        self,
        feature: Tensor,
        visual: Tensor,
        motion: Optional[Tensor] = None,
        motion_lengths: Optional[Tensor] = None,
        labels: Optional[Tensor] = None,
    ) -> Explanation:
        """Tell what the masks came from; arguments as of forward()."""
        done = self._run(feature, visual, motion, motion_lengths, labels, True)
        shape = (visual.size(1), visual.size(0))
        weights = [weight.unflatten(0, shape) for weight in done.weights]
        seen = weights.pop(0).transpose(0, 1) if self.needs_motion else None
        attention = torch.stack(weights, dim=2).unflatten(3, done.place)
        scale = 2**self.middle_level
        height, width = (-(-size // scale) for size in feature.shape[-2:])
        gate = None
        if done.gate is not None:
            gate = done.gate.transpose(0, 1)[..., :height, :width]
        attention = attention.transpose(0, 1)[..., :height, :width]
        return Explanation(gate, attention, seen)

    def _run(
        self,
        feature: Tensor,
        visual: Tensor,
        motion: Optional[Tensor],
        motion_lengths: Optional[Tensor],
        labels: Optional[Tensor],
        with_weights: bool = False,
    ) -> _Pass:
        self.check_visual(visual)
        motion, padding = self._check_motion(motion, motion_lengths)
        if self.needs_labels and labels is None:
            raise ValueError(
                "queries: class needs the class of every source (labels); give them, "
                "or train with queries: label_free."
            )
        padded, (num_bins, num_frames) = pad_to_multiple(feature, 2**self.layers)
        features = self.encoder(padded)
        audio = fused = self.decoder.middle(features)

        visual = visual.transpose(0, 1)  # (N, B, D)
        gate = None
        if self.fusion is not None:
            fused, gate = self.fusion(audio, visual)  # (N * B, C, H, W)
            if self.fused_map == "network":
                audio = fused
        if labels is not None:
            labels = labels.transpose(0, 1)
        queries, objects, index = self.queries(visual, labels)  # (N * B, Q, dim)
        queries, weights = self.transformer(
            queries, objects, fused, motion, padding, self.queries.hidden, with_weights
        )
        rows = torch.arange(len(index), device=index.device)
        query = self.mask_head(queries[rows, index]).unflatten(0, visual.shape[:2])
        logits = self.decoder.masks(audio, features, query)  # (N, B, F, T)
        return _Pass(
            logits[..., :num_bins, :num_frames],
            features[-1].mean(dim=(-2, -1)),
            gate,
            [weight[rows, index] for weight in weights],
            audio.shape[-2:],
        )

    def _check_motion(
        self, motion: Optional[Tensor], lengths: Optional[Tensor]
    ) -> Tuple[Optional[Tensor], Optional[Tensor]]:
        """Motion (N * B, S, motion_dim), and where it is padding, (N * B, S)."""
        if not self.needs_motion:
            return None, None
        motion = self.check_motion(motion, lengths).transpose(0, 1).flatten(0, 1)
        padding = None
        if lengths is not None:
            lengths = lengths.transpose(0, 1).flatten()
            steps = torch.arange(motion.size(1), device=motion.device)
            padding = steps >= lengths[:, None]
        if self.motion_scale is not None:
            motion = self.motion_scale(motion, padding)
        return motion, padding
