"""Binary cross-entropy on ideal binary masks."""

from torch import Tensor
from torch.nn import functional as F

from espnet2_avsep.loss.abs_criterion import (
    AbsCriterion,
    SeparationOutput,
    energy_weight,
)


class BinaryMaskBCE(AbsCriterion):
    """Cross-entropy to the mask X_i > threshold * X.

    Zhao et al., "The Sound of Pixels", ECCV 2018; CLIPSep and the released code of
    HFRA use it too. Mean over bins and sources.

    Args:
        threshold: Share of the mixture's magnitude above which a bin belongs to a
            source.
        weighted: Weight each bin by log(1 + |X|) within [1e-3, 10].
    """

    needs = "logits"
    model_conf = {"mask_max": 1.0, "mask_activation": "sigmoid"}

    def __init__(self, threshold: float = 0.5, weighted: bool = True):
        super().__init__()
        self.threshold = threshold
        self.weighted = weighted

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        target = output.reference > self.threshold * output.mixture
        loss = F.binary_cross_entropy_with_logits(
            output.logits, target.to(output.logits.dtype), reduction="none"
        )
        if self.weighted:
            loss = loss * energy_weight(output.mixture)
        return loss.mean(dim=(1, 2, 3))
