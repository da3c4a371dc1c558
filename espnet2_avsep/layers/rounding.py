"""Rounding that lets gradients pass."""

from torch import Tensor


def straight_through_round(x: Tensor) -> Tensor:
    """Return x rounded (halves to even), with the gradient of x.

    Bengio, Léonard and Courville, "Estimating or Propagating Gradients Through
    Stochastic Neurons for Conditional Computation", 2013.
    """
    return x + (x.round() - x).detach()
