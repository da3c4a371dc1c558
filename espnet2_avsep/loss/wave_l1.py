"""L1 distance between estimated and true waveforms."""

from torch import Tensor

from espnet2_avsep.loss.abs_criterion import AbsCriterion, SeparationOutput


class WaveL1(AbsCriterion):
    """Mean absolute difference of the samples, over all sources.

    The loss of Wave-U-Net and ResUNetDecouple+.
    """

    needs = "tracks"

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        return (output.tracks - output.sources).abs().mean(dim=(-2, -1))
