"""What every teacher offers to the alignment loss."""

from abc import ABC, abstractmethod
from typing import Optional, Sequence

import torch


class AbsTeacher(torch.nn.Module, ABC):
    """A frozen map from a waveform to one embedding: no gradient, always in eval mode.

    The model keeps a teacher outside its registered modules, so that neither the saved
    weights nor inference know of it.
    """

    @property
    @abstractmethod
    def output_dim(self) -> int:
        """Width D of the embeddings."""

    @abstractmethod
    def forward(
        self, wav: torch.Tensor, fs: int, keys: Optional[Sequence[str]] = None
    ) -> torch.Tensor:
        """Embed a batch of waveforms.

        Args:
            wav: (B, L) float, samples in [-1, 1].
            fs: Sampling rate of ``wav`` in Hz.
            keys: The B utterance ids, for teachers that look embeddings up.

        Returns:
            (B, D) float32 on the device of ``wav``, without gradient.
        """

    def train(self, mode: bool = True) -> "AbsTeacher":
        """Stay in eval mode, whatever the model around the teacher does."""
        return super().train(False)
