"""Zero mean and unit variance by the statistics of all that was seen in training."""

from typing import Optional

import torch
from torch import Tensor, nn

from espnet2_avsep.layers.batch_norm import pooled_moments


class Standardise(nn.Module):
    """Give each value of a feature zero mean and unit variance.

    The statistics are those of all features seen in training so far, by all of its
    processes; they are applied in training as in evaluation and saved with the weights.

    Args:
        dim: D, size of a feature.
        eps: Added to the variance, as a share of its mean over the values.

    Attributes:
        collects: Whether training updates the statistics; false where they are frozen.
    """

    collects = True

    def __init__(self, dim: int, eps: float = 1e-3):
        super().__init__()
        self.eps = eps
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(dim, dtype=torch.float64))

    @torch.no_grad()
    def _update(self, x: Tensor) -> None:
        """Merge the mean and variance of x (M, D) into the running ones."""
        x = x.double()
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        mean, variance, number = pooled_moments(mean, variance, len(x))
        total = self.count + number
        share = number / total
        delta = mean - self.mean
        self.variance.mul_(1 - share).add_(share * variance)
        self.variance.add_(share * (1 - share) * delta**2)
        self.mean.add_(share * delta)
        self.count.copy_(total)

    def forward(self, x: Tensor, padding: Optional[Tensor] = None) -> Tensor:
        """Standardise features.

        Args:
            x: (..., D).
            padding: Features that do not count, (...), true where padded.
        """
        if self.training and self.collects:
            rows = x.flatten(0, -2) if padding is None else x[~padding]
            self._update(rows)
        floor = self.eps * self.variance.mean()
        scale = (self.variance + floor).rsqrt()
        return ((x.double() - self.mean) * scale).to(x.dtype)
