"""Tracks that add up to their mixture."""

from torch import Tensor


def mixture_consistent(tracks: Tensor, mixture: Tensor) -> Tensor:
    """Share what the tracks leave of the mixture equally among them.

    Wisdom et al., "Differentiable Consistency Constraints for Improved Deep Speech
    Enhancement", ICASSP 2019, with equal weights: of all tracks that add up to the
    mixture, the nearest to the given ones::

        s_i + (x - sum_j s_j) / N

    Args:
        tracks: s, (B, N, ..., L).
        mixture: x, (B, ..., L).

    Returns:
        (B, N, ..., L).
    """
    rest = mixture[:, None] - tracks.sum(dim=1, keepdim=True)
    return tracks + rest / tracks.size(1)
