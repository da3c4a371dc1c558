"""Loss of masks that are found one after the other (MP-Net)."""

from torch import Tensor
from torch.nn import functional as F

from espnet2_avsep.loss.abs_criterion import (
    AbsCriterion,
    SeparationOutput,
    energy_weight,
    ratio_target,
)

MASKS = ("binary", "ratio")


class RecursiveMaskLoss(AbsCriterion):
    """Distance to the ideal masks, later steps counting more, and to an empty rest.

    Xu, Dai and Lin, "Recursive Visual Sound Separation Using Minus-Plus Net", ICCV
    2019, as released. With D_n the mean distance of the mask of step n (n = 1 ... N) to
    its target, w the weight of a bin and R what the last step leaves,

        L = sum_n 2^(n-1) D_n / N + rest_weight * mean(w relu(R - rest_floor)).

    Targets relate to the mixture, not to the rest. Where masks are refined (plus
    stage), the first sum is that of the masks before and that of the masks after.

    Notes:
        In the release the second term has no gradient; here it has.

    Args:
        mask: "binary": cross-entropy to X_i > threshold * X; "ratio": |mask - X_i / X|,
            the quotient clamped to [0, max_ratio].
        threshold: See ``mask``.
        max_ratio: See ``mask``.
        weighted: Weight each bin by log(1 + |X|) within [1e-3, 10].
        rest_weight: Factor of the second term.
        rest_floor: Magnitude of the rest that counts as empty.
    """

    needs = "logits"
    needs_steps = True

    def __init__(
        self,
        mask: str = "binary",
        threshold: float = 0.5,
        max_ratio: float = 2.0,
        weighted: bool = True,
        rest_weight: float = 1.0,
        rest_floor: float = 1e-2,
    ):
        super().__init__()
        if mask not in MASKS:
            raise ValueError(f"mask={mask!r}: expected one of {', '.join(MASKS)}.")
        self.mask = mask
        self.threshold = threshold
        self.max_ratio = max_ratio
        self.weighted = weighted
        self.rest_weight = rest_weight
        self.rest_floor = rest_floor

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        steps, mixture = output.steps, output.mixture
        bins = energy_weight(mixture) if self.weighted else mixture.new_ones(())
        order = 2.0**steps.rank / steps.rank.size(1)  # (B, N)
        estimates = [steps.logits]
        if steps.refined:
            estimates.append(output.logits)
        loss = self.rest_weight * (
            (bins * (steps.rest - self.rest_floor).relu()).mean(dim=(1, 2, 3))
        )
        for logits in estimates:
            distance = (bins * self._distance(logits, output)).mean(dim=(2, 3))
            loss = loss + (order * distance).sum(dim=1)
        return loss

    def _distance(self, logits: Tensor, output: SeparationOutput) -> Tensor:
        """Distance of each bin to its target, (B, N, F, T)."""
        if self.mask == "binary":
            target = output.reference > self.threshold * output.mixture
            return F.binary_cross_entropy_with_logits(
                logits, target.to(logits.dtype), reduction="none"
            )
        target = ratio_target(output.reference, output.mixture, self.max_ratio)
        return (logits.sigmoid() - target).abs()
