"""Separation that takes one source after the other out of the mixture."""

from typing import NamedTuple

import torch
from torch import Tensor


class RecursionSteps(NamedTuple):
    """What the steps of a recursive separator have led to.

    Attributes:
        rank: Step at which each source was taken, from 0, (B, N).
        logits: Mask logits of these steps, before any refinement, (B, N, F, T).
        rest: Magnitude that the last step has left of the mixture, (B, 1, F, T).
        refined: Whether the separator's own logits are refined ones.
    """

    rank: Tensor
    logits: Tensor
    rest: Tensor
    refined: bool


@torch.no_grad()
def content_order(queries: Tensor) -> Tensor:
    """Order of the queries by their values, first value first (lexicographic).

    An order that depends on what the queries are, and not on how they are listed.
    Queries that are equal in all values keep the order of the list: nothing tells
    them apart.

    Args:
        queries: (B, N, D).

    Returns:
        Numbers of the queries, smallest query first, (B, N).
    """
    difference = queries[:, :, None] - queries[:, None]  # (B, N, N, D)
    first = (difference != 0).to(torch.uint8).argmax(dim=-1, keepdim=True)
    decisive = difference.gather(-1, first)[..., 0]  # (B, N, N)
    return (decisive > 0).sum(dim=-1).argsort(dim=1, stable=True)


def reordered(x: Tensor, order: Tensor) -> Tensor:
    """Take x (B, N, ...) in the order (B, N) of its second axis."""
    return x[torch.arange(len(x), device=x.device)[:, None], order]
