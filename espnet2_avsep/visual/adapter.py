"""From the rows of a batch to one embedding per source, inside the model."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.layers.batch_norm import pooled_moments


class MeanAdapter(nn.Module):
    """Average the frames of each source (CLIPSep: mean of 3 frames; HFRA: one frame).

    Args:
        normalise: Scale the result to unit length.
    """

    def __init__(self, normalise: bool = False):
        super().__init__()
        self.normalise = normalise

    def forward(self, visual: Tensor) -> Tensor:
        """Reduce (B, N, V, D) to (B, N, D)."""
        visual = visual.mean(dim=2)
        return F.normalize(visual, dim=-1) if self.normalise else visual


class StandardiseAdapter(nn.Module):
    """Average the frames, then give each value zero mean and unit variance.

    The statistics are those of all embeddings seen in training so far, by all of its
    processes; they are applied in training as in evaluation and saved with the
    weights. Meant for frozen encoders whose embeddings lie close together (a randomly
    initialised one above all), where nearly all of an embedding is common to every
    picture.

    Args:
        dim: D, size of an embedding.
        eps: Added to the variance, as a share of its mean over the values.
    """

    def __init__(self, dim: int = 512, eps: float = 1e-3):
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

    def forward(self, visual: Tensor) -> Tensor:
        """Reduce (B, N, V, D) to (B, N, D)."""
        visual = visual.mean(dim=2)
        if self.training:
            self._update(visual.flatten(0, 1))
        floor = self.eps * self.variance.mean()
        scale = (self.variance + floor).rsqrt()
        return ((visual.double() - self.mean) * scale).to(visual.dtype)
