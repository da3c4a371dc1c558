"""L1 distance to ideal ratio masks."""

from torch import Tensor

from espnet2_avsep.loss.abs_criterion import (
    AbsCriterion,
    SeparationOutput,
    energy_weight,
    ratio_target,
)


class RatioMaskL1(AbsCriterion):
    """Distance to the mask X_i / X, clamped to [0, max_ratio].

    Gao and Grauman, "Co-Separating Sounds of Visual Objects", ICCV 2019; iQuery and
    DGFNet. Mean over bins and sources.

    Args:
        max_ratio: Upper bound of the target.
        weighted: Weight each bin by log(1 + |X|) within [1e-3, 10].
        eps: Keeps the quotient finite where the mixture is silent.
    """

    def __init__(
        self, max_ratio: float = 5.0, weighted: bool = True, eps: float = 1e-10
    ):
        super().__init__()
        self.max_ratio = max_ratio
        self.weighted = weighted
        self.eps = eps

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        target = ratio_target(
            output.reference, output.mixture, self.max_ratio, self.eps
        )
        loss = (output.mask - target).abs()
        if self.weighted:
            loss = loss * energy_weight(output.mixture)
        return loss.mean(dim=(1, 2, 3))
