"""The losses of CCoL's three training phases."""

from typing import Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet2_avsep.layers.grounding import SILENT, SOUNDS
from espnet2_avsep.layers.rounding import straight_through_round
from espnet2_avsep.loss.abs_criterion import (
    AbsCriterion,
    SeparationOutput,
    energy_weight,
    ratio_target,
)

ROUNDINGS = ("round", "straight_through")


class CoLearning(AbsCriterion):
    """Grounding and separation, and what they teach each other.

    Tian, Hu and Xu, "Cyclic Co-Learning of Sounding Object Visual Grounding and Sound
    Separation", CVPR 2021, as released. An item has videos of two slots: a source that
    sounds, and the picture of a silent one (``dataset_conf.silent_sources: [2, 4]`` of
    4 sources). Mixtures without silent sources, as in validation, have videos of one
    slot, and all that follows holds with one.

    With CE+(s, v) and CE-(s, v) the cross-entropies to "picture v sounds in s" and "is
    silent", s_k and v_k sound and picture of slot k (0 and 1 of the first video, 2 and
    3 of the second), p_k the probability that v_k sounds in the mixture, m_k the mask
    that v_k asks for, M_k the ratio mask of slot k, and L1w the mean absolute
    difference weighted by log(1 + |X|):

    Phase "grounding":
        L_g = min(CE+(s0, v0), CE+(s0, v1)) + CE-(s2, v0).
    Phase "co_learning":
        L_sep + grounding_weight * [L_g + min(CE+(mix, v0), CE+(mix, v1)) + min(CE+(mix,
        v2), CE+(mix, v3))], with L_sep = [L1w(P0, M0) + L1w(P2, M2)] / 2, P0 =
        round(p0) m0 + round(p1) m1, P2 likewise.
    Phase "cyclic":
        d_k = L1w(m_k, M of its video), r = round(1 - d0 / (d0 + d1)): the slot of the
        lesser distance wins. L_sep + mixture_weight * (L_pos + L_neg) + solo_weight *
        [r CE+(s0, v0) + (1 - r) CE+(s0, v1) + CE-(s2, v0)], with L_pos the CE+ of the
        winners in the mixture, and L_neg the CE- of the losers with d above threshold,
        each a sum over the videos.

    Args:
        max_ratio: Upper bound of a ratio mask.
        weighted: Weight each bin by log(1 + |X|) within [1e-3, 10].
        rounding: How p is rounded in P: "round", which has no gradient (the release),
            or "straight_through", with the gradient of p.
        threshold: A loser whose d is not above this is not called silent: both pictures
            ask for the sound.
        grounding_weight: In the phase co_learning.
        mixture_weight: In the phase cyclic.
        solo_weight: In the phase cyclic.
        eps: Keeps ratios finite where the mixture is silent.
    """

    needs_grounding = True
    # Two sources that sound, each with the picture of a silent one.
    num_sources = 4

    def __init__(
        self,
        max_ratio: float = 5.0,
        weighted: bool = True,
        rounding: str = "round",
        threshold: float = 0.1,
        grounding_weight: float = 0.25,
        mixture_weight: float = 0.25,
        solo_weight: float = 0.5,
        eps: float = 1e-10,
    ):
        super().__init__()
        if rounding not in ROUNDINGS:
            raise ValueError(f"rounding={rounding!r}: expected one of {ROUNDINGS}.")
        self.max_ratio = max_ratio
        self.weighted = weighted
        self.rounding = rounding
        self.threshold = threshold
        self.grounding_weight = grounding_weight
        self.mixture_weight = mixture_weight
        self.solo_weight = solo_weight
        self.eps = eps

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        slots = slots_per_video(output.reference)
        in_mixture, in_solo = cross_entropies(output.grounding.logits, slots)
        positive = in_solo[:, 0, 0, :, SOUNDS]  # CE+(s0, v0), CE+(s0, v1)
        negative = in_solo[:, 1, 0, 0, SILENT]  # CE-(s2, v0)
        if output.grounding.phase == "grounding":
            return positive.amin(dim=-1) + negative

        mask = output.mask.unflatten(1, (-1, slots))  # (B, V, S, F, T)
        first = output.reference[:, ::slots]  # the only source of its video that sounds
        target = ratio_target(first, output.mixture, self.max_ratio, self.eps)
        sounds = output.grounding.logits[:, 0].softmax(dim=-1)[..., SOUNDS]
        sounds = sounds.unflatten(1, (-1, slots))[..., None, None]
        if self.rounding == "round":
            rounded = sounds.round().detach()
        else:
            rounded = straight_through_round(sounds)
        whole = (rounded * mask).sum(dim=2)  # P
        separation = self._distance(whole, target, output.mixture).mean(dim=-1)
        if output.grounding.phase == "co_learning":
            grounding = positive.amin(dim=-1) + negative
            grounding = grounding + in_mixture[..., SOUNDS].amin(dim=-1).sum(dim=-1)
            return separation + self.grounding_weight * grounding

        with torch.no_grad():
            distance = self._distance(
                mask, target[:, :, None], output.mixture[:, :, None]
            )
            wins = winners(distance)  # (B, V, S)
            loses = (~wins) & (distance > self.threshold)
        pos = (wins * in_mixture[..., SOUNDS]).sum(dim=(1, 2))
        neg = (loses * in_mixture[..., SILENT]).sum(dim=(1, 2))
        solo = (wins[:, 0] * positive).sum(dim=-1) + negative
        return separation + self.mixture_weight * (pos + neg) + self.solo_weight * solo

    def _distance(self, mask: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
        """L1w over the last two axes."""
        loss = (mask - target).abs()
        if self.weighted:
            loss = loss * energy_weight(mixture)
        return loss.mean(dim=(-2, -1))


def slots_per_video(reference: Tensor) -> int:
    """Return how many slots the videos of items have: 1, or 2 with silent sources.

    Args:
        reference: Magnitude of each source, (B, N, F, T).

    Raises:
        ValueError: fewer than two sources sound, or it is not the second of each two
            sources that is silent.
    """
    silent = ~reference.flatten(2).any(dim=-1)  # (B, N)
    slots = 2 if silent.any() else 1
    number = reference.size(1)
    expected = torch.arange(number, device=silent.device) % 2 == 1
    if slots == 2 and (number % 2 or not (silent == expected).all()):
        raise ValueError(
            "the criterion co_learning needs items in which every second source is "
            "silent, or none: set dataset_conf.silent_sources to [2, 4], and the "
            "number of sources in training to 4 (--train_ref_nums 4)."
        )
    if number // slots < 2:
        raise ValueError(
            f"the criterion co_learning needs two sources that sound, the items have "
            f"{number // slots}."
        )
    return slots


def cross_entropies(logits: Tensor, slots: int) -> Tuple[Tensor, Tensor]:
    """Return the cross-entropies to both classes, by video and slot.

    Args:
        logits: See Grounding.
        slots: S, slots of a video.

    Returns:
        Of the mixture and each picture, (B, V, S, 2); of the sounding source of each
        video and each picture, (B, V of the sound, V, S, 2). The last axis has CE+ at
        SOUNDS, CE- at SILENT.
    """
    entropy = -F.log_softmax(logits.float(), dim=-1).unflatten(2, (-1, slots))
    return entropy[:, 0], entropy[:, 1::slots]


def winners(distance: Tensor) -> Tensor:
    """Return which slots win: of two, r = round(1 - d0 / (d0 + d1)) for the first one.

    Args:
        distance: d, (B, V, S) with S = 1 or 2.

    Returns:
        Whether a slot wins, (B, V, S). Of equal distances the second one wins, for
        round(0.5) = 0.
    """
    if distance.size(-1) == 1:
        return torch.ones_like(distance, dtype=torch.bool)
    first = distance[..., 0] < distance[..., 1]
    return torch.stack([first, ~first], dim=-1)
