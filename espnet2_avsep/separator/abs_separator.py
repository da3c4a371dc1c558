"""What every trained separator of the project offers."""

from abc import ABC, abstractmethod
from typing import Tuple

from torch import Tensor, nn


class AbsAVSeparator(nn.Module, ABC):
    """A network: mixture spectrogram and one visual embedding per source -> masks.

    A separator sees no waveform, no file and no config; the STFT, the frequency warp
    and the mask's activation belong to the model around it.
    """

    @property
    @abstractmethod
    def bottleneck_dim(self) -> int:
        """Size of the audio embedding that forward() returns."""

    @abstractmethod
    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """Compute the mask logits of every source.

        Args:
            feature: Mixture feature, (B, 1, F, T).
            visual: Visual embedding of each source, (B, N, D).

        Returns:
            logits: (B, N, F, T), source i conditioned on visual[:, i] alone.
            bottleneck: Embedding of the mixture, (B, bottleneck_dim).
        """
