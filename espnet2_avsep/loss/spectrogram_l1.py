"""L1 distance between estimated and true magnitude spectrograms."""

from torch import Tensor

from espnet2_avsep.loss.abs_criterion import AbsCriterion, SeparationOutput


class SpectrogramL1(AbsCriterion):
    """L = sum_i |M_i X - X_i|_1 (HFRA, eqs. 3 and 4).

    Notes:
        The sum over bins is taken as a mean, so that the loss, and with it lambda, does
        not change its scale with the size of the spectrogram. The sum over sources is
        kept.
    """

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        error = output.mask * output.mixture - output.reference
        return error.abs().mean(dim=(-2, -1)).sum(dim=-1)
