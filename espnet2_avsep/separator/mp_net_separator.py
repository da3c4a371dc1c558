"""MP-Net: sounds are taken out one by one, the strongest first, then corrected."""

from typing import Callable, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.layers.recursion import RecursionSteps, content_order, reordered
from espnet2_avsep.layers.unet import UNetDecoder, UNetEncoder, level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator

MASKS = ("binary", "ratio")
# Of a mask that is 0: sigmoid(-100) is 4e-44.
SILENT_LOGIT = -100.0
# Refined masks lie within [EDGE, 1 - EDGE], so that their logits and gradients are
# finite.
EDGE = 1e-3


class MPNetSeparator(AbsAVSeparator):
    """Minus-plus network: a recursion over the sources, and a residual mask for each.

    Xu, Dai and Lin, "Recursive Visual Sound Separation Using Minus-Plus Net", ICCV
    2019. With X the mixture's magnitude, R_0 = X and the queries q_i of the sources,
    step n of the minus stage is

        m_i = sigmoid(<sigmoid(q_i), M-Net(R_(n-1))>)   for each source not taken yet,
        k   = the source whose m_i X has the greatest mean energy,
        R_n = R_(n-1) (1 - m_k),

    so that every step sees what the steps before have left. Masks relate to X. The plus
    stage gives back what was taken too early: with S_n = m_n X of step n,

        r_n = tanh(P-Net(log1p(S_1 + ... + S_(n-1)), log1p(S_n)))
        mask of source n = m_n + r_n (1 - m_n)   where r_n >= 0,
                           m_n + r_n m_n         where r_n < 0.

    Notes:
        Any number of sources: the weights do not depend on it.
        The sum of mask and residual is within [0, 1] by construction; a clamped sum has
        no gradient where M-Net has given a bin away. (The released plus stage cannot
        run; the paper does not state how the sum is bounded.)
        The input of M-Net has no gradient, as released: the logarithm of an almost
        empty rest would have a gradient without bound. Steps learn through their masks
        and through the rest.
        Where energies tie (all of a binary mask may be 0) the query with the smaller
        values is taken first, so that the order of the list never counts. Sources with
        equal queries cannot be told apart: the first listed gets the first sound.

    Args:
        visual_dim: D, size of a visual embedding; where it is not width, a linear layer
            maps it to that.
        channels: Channels of the first level of both U-Nets; each level doubles, at
            most 8 times it.
        layers: Levels of both U-Nets.
        width: K, number of M-Net's output maps.
        mask: "binary": energies are those of rounded masks; "ratio": of the masks.
        stop_db: In evaluation, the recursion of a mixture ends when the energy of the
            rest is below this level of the mixture's, in dB (for instance -20): all
            sources that are not taken by then get masks of 0. null: it never ends
            before all sources are taken.
        end_bias: See UNetEncoder; false in the released network.
        initialisation: Initial weights: null (torch's own) or one of
            layers.initialisation.INITIALISATIONS.
    """

    sees_magnitude = True
    gives_steps = True
    phases = ("minus", "plus", "both")
    model_conf = {"mask_max": 1.0, "mask_activation": "sigmoid"}
    tiny = {"channels": 4, "layers": 3, "width": 5}

    def __init__(
        self,
        visual_dim: int = 16,
        channels: int = 64,
        layers: int = 7,
        width: int = 16,
        mask: str = "binary",
        stop_db: Optional[float] = None,
        end_bias: bool = True,
        initialisation: Optional[str] = None,
    ):
        super().__init__()
        if layers < 2 or width < 1:
            raise ValueError(
                f"layers={layers}, width={width}: at least 2 and 1 are needed."
            )
        if mask not in MASKS:
            raise ValueError(f"mask={mask!r}: expected one of {', '.join(MASKS)}.")
        self.visual_dim = visual_dim
        self.mask = mask
        self.stop_db = stop_db
        widths = level_widths(channels, layers)
        self.bottleneck_dim = widths[-1]
        self.minus = _MinusNet(visual_dim, widths, width, end_bias)
        self.plus = _PlusNet(widths, end_bias)
        # Saved with the weights: those of the minus phase are used without plus stage.
        self.register_buffer("uses_plus", torch.tensor(1))
        initialise(self, initialisation)

    @property
    def stop_db(self) -> Optional[float]:
        """Level of the rest at which the recursion ends, dB; see the class."""
        return self._stop_db

    @stop_db.setter
    def stop_db(self, level: Optional[float]) -> None:
        if level is not None and not level < 0:
            raise ValueError(f"stop_db={level}: expected a level below 0 dB, or null.")
        self._stop_db = level

    def set_phase(self, name: str) -> None:
        """Choose the stages: "minus" alone, or both ("plus" and "both")."""
        super().set_phase(name)
        self.uses_plus.fill_(0 if name == "minus" else 1)

    def forward(
        self,
        feature: Tensor,
        visual: Tensor,
        compress: Callable[[Tensor], Tensor] = torch.log1p,
        row_weight: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """Compute the mask logits of every source.

        Args:
            feature: Magnitude of the mixture, (B, 1, F, T).
            visual: Visual embedding of each source, (B, N, D).
            compress: What M-Net sees of a magnitude.
            row_weight: Number of linear-frequency rows that each row represents, (F,),
                for energies; None: all rows count the same.

        Returns:
            As AbsAVSeparator.forward.
        """
        return self.run(feature, visual, compress, row_weight)[:2]

    def run(
        self,
        feature: Tensor,
        visual: Tensor,
        compress: Callable[[Tensor], Tensor] = torch.log1p,
        row_weight: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor, RecursionSteps]:
        """Compute the mask logits, and tell of the steps; see forward()."""
        self.check_visual(visual)
        magnitude = feature.float()
        if row_weight is None:
            row_weight = magnitude.new_ones(magnitude.size(-2))
        # Everything below sees the sources in an order that is not the list's.
        order = content_order(visual)
        query = self.minus.query(reordered(visual, order))
        taken = self._take_all(magnitude, query, compress, row_weight[:, None])
        logits = taken.logits
        refined = bool(self.uses_plus)
        if refined:
            logits = self._give_back(taken, magnitude)
        # Source listed at place i has place where[i] in the order of the steps.
        where = reordered(taken.pick.argsort(dim=1), order.argsort(dim=1))
        steps = RecursionSteps(
            rank=where,
            logits=reordered(taken.logits, where),
            rest=taken.rest,
            refined=refined,
        )
        return reordered(logits, where), taken.bottleneck, steps

    def _take_all(
        self,
        magnitude: Tensor,
        query: Tensor,
        compress: Callable[[Tensor], Tensor],
        row_weight: Tensor,
    ) -> "_Taken":
        """Run the minus stage.

        Args:
            magnitude: (B, 1, F, T).
            query: (N, B, K).
            compress: See forward().
            row_weight: (F, 1).
        """
        rest = magnitude
        batch = torch.arange(len(magnitude), device=magnitude.device)
        is_left = torch.ones(query.shape[:2], dtype=torch.bool, device=query.device)
        is_left = is_left.transpose(0, 1)  # (B, N)
        goes_on = torch.ones_like(batch, dtype=torch.bool)
        picks: List[Tensor] = []
        logits: List[Tensor] = []
        heard: List[Tensor] = []
        bottleneck = None
        for _ in range(len(query)):
            maps, found = self.minus(compress(rest).detach(), query)
            bottleneck = found if bottleneck is None else bottleneck
            with torch.no_grad():
                masks = (maps > 0).float() if self.mask == "binary" else maps.sigmoid()
                energy = (masks * magnitude * row_weight).sum(dim=(-2, -1))
                # Of equal energies, the first.
                pick = energy.masked_fill(~is_left, -torch.inf).argmax(dim=1)
            own = maps[batch, pick][:, None]  # (B, 1, F, T)
            if self.stop_db is not None and not self.training:
                goes_on = goes_on & self._is_heard(rest, magnitude, row_weight)
                own = own.masked_fill(~goes_on[:, None, None, None], SILENT_LOGIT)
            rest = rest - rest * own.sigmoid()
            is_left = is_left.scatter(1, pick[:, None], False)
            picks.append(pick)
            logits.append(own[:, 0])
            heard.append(goes_on)
        return _Taken(
            torch.stack(picks, dim=1),
            torch.stack(logits, dim=1),
            torch.stack(heard, dim=1),
            rest,
            bottleneck,
        )

    def _is_heard(self, rest: Tensor, magnitude: Tensor, row_weight: Tensor) -> Tensor:
        """Whether the rest of each mixture is not below stop_db, (B,)."""
        left, whole = (
            (x.square() * row_weight).sum(dim=(1, 2, 3)) for x in (rest, magnitude)
        )
        return left > 10 ** (self.stop_db / 10) * whole

    def _give_back(self, taken: "_Taken", magnitude: Tensor) -> Tensor:
        """Run the plus stage; logits in the order of the steps, (B, N, F, T)."""
        mask = taken.logits.sigmoid()
        sound = mask * magnitude
        earlier = torch.cat(
            [torch.zeros_like(sound[:, :1]), sound[:, :-1].cumsum(dim=1)], dim=1
        )
        # Step by step, as SourceBatchNorm2d has it: (N * B, 2, F, T).
        pairs = torch.stack([earlier, sound], dim=2).log1p().transpose(0, 1)
        residual = self.plus(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])
        residual = residual.transpose(0, 1).tanh()
        mask = mask * (1 - residual.abs()) + residual.relu()
        logits = (EDGE + (1 - 2 * EDGE) * mask).logit()
        return logits.masked_fill(~taken.heard[..., None, None], SILENT_LOGIT)


class _Taken(NamedTuple):
    """Result of the minus stage, in the order of its steps.

    Attributes:
        pick: Number of the source that each step has taken, (B, N).
        logits: (B, N, F, T).
        heard: Whether the recursion had not ended before the step, (B, N).
        rest: (B, 1, F, T).
        bottleneck: Of the first step, (B, C).
    """

    pick: Tensor
    logits: Tensor
    heard: Tensor
    rest: Tensor
    bottleneck: Tensor


class _MinusNet(nn.Module):
    """M-Net: a U-Net, whose maps each query weighs; no scale and no bias.

    Args:
        visual_dim: D.
        widths: Channels of the levels.
        width: K.
        end_bias: See UNetEncoder.
    """

    def __init__(self, visual_dim: int, widths: List[int], width: int, end_bias: bool):
        super().__init__()
        self.projection = (
            nn.Identity() if visual_dim == width else nn.Linear(visual_dim, width)
        )
        self.encoder = UNetEncoder(widths, end_bias=end_bias)
        self.decoder = UNetDecoder(widths, out_channels=width)
        self.multiple = 2 ** len(widths)

    def query(self, visual: Tensor) -> Tensor:
        """Weights of the maps, (B, N, D) -> (N, B, K)."""
        return self.projection(visual).transpose(0, 1).sigmoid()

    def forward(self, feature: Tensor, query: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the logits of every source, (B, N, F, T), and the bottleneck, (B, C).

        Args:
            feature: Of the rest, (B, 1, F, T).
            query: (N, B, K).
        """
        x, (num_bins, num_frames) = _padded(feature, self)
        features = self.encoder(x)
        logits = self.decoder(features, query=query).transpose(0, 1).float()
        return logits[..., :num_bins, :num_frames], features[-1].mean(dim=(-2, -1))


class _PlusNet(nn.Module):
    """P-Net: a U-Net of two input maps and one output map.

    Args:
        widths: Channels of the levels.
        end_bias: See UNetEncoder.
    """

    def __init__(self, widths: List[int], end_bias: bool):
        super().__init__()
        self.encoder = UNetEncoder(widths, in_channels=2, end_bias=end_bias)
        self.decoder = UNetDecoder(widths, queried=False)
        self.multiple = 2 ** len(widths)

    def forward(self, pairs: Tensor) -> Tensor:
        """Map the sounds before and the sound itself, (M, 2, F, T), to (M, F, T)."""
        x, (num_bins, num_frames) = _padded(pairs, self)
        residual = self.decoder(self.encoder(x))[0].float()
        return residual[..., :num_bins, :num_frames]


def _padded(x: Tensor, network: nn.Module) -> Tuple[Tensor, Tuple[int, int]]:
    """Pad for a U-Net, in the precision of its weights."""
    x = x.to(network.encoder.convs[0].weight.dtype)
    return pad_to_multiple(x, network.multiple)
