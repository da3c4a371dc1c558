"""What separators from waveform to waveform offer."""

from abc import abstractmethod
from typing import Tuple

from torch import Tensor

from espnet2_avsep.separator.abs_separator import AbsSeparator


class AbsWaveSeparator(AbsSeparator):
    """A network: mixture and one visual embedding per source -> tracks.

    It has whatever analysis it needs in itself; the model around it only compares.
    """

    @abstractmethod
    def forward(self, mixture: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """Separate mixtures.

        Args:
            mixture: (B, L), float32 also where the weights are not.
            visual: Visual embedding of each source, (B, N, D).

        Returns:
            tracks: (B, N, L), source i conditioned only on visual[:, i].
            bottleneck: Embedding of the mixture, (B, bottleneck_dim).
        """
