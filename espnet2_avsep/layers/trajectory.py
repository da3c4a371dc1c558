"""Paths of points over time, summed up from rows of optical flow."""

import math
from typing import Tuple

import torch
from torch import Tensor
from torch.nn import functional as F


def flow_grid(dim: int) -> int:
    """Return the side G of the grid of rows of 2 * G ** 2 + 1 values.

    Raises:
        ValueError: rows of flow have another size.
    """
    grid = math.isqrt((dim - 1) // 2) if dim > 2 else 0
    if grid < 1 or 2 * grid**2 + 1 != dim:
        raise ValueError(
            f"motion_dim={dim}: rows of optical flow have 2 * grid ** 2 + 1 values "
            "(1569 with a grid of 28); extract them with --motion_encoder raft_small "
            "or lucas_kanade."
        )
    return grid


def split_rows(rows: Tensor) -> Tuple[Tensor, Tensor]:
    """Split rows of flow (M, S, 2 * G ** 2 + 1).

    Returns:
        The flow (M, S, 2, G, G), x then y, in fractions of the picture's sides, and
        whether a cut lies in each step, (M, S).
    """
    grid = flow_grid(rows.size(-1))
    return rows[..., :-1].unflatten(-1, (2, grid, grid)), rows[..., -1] > 0.5


def trajectories(flow: Tensor, cut: Tensor, window: int) -> Tensor:
    """Follow the points of a regular grid: deep dense trajectories.

    Zhao et al., "The Sound of Motions", ICCV 2019: G_0 is the grid of points,
    G_{t+1} = G_t + flow_t sampled (bilinearly) at G_t. The points start anew at the
    grid every ``window`` steps, and after a cut.

    Args:
        flow: (M, S, 2, G, G) in fractions of the picture's sides; the value of a cell
            is that of its middle.
        cut: Whether a cut lies in a step, (M, S).
        window: Steps of a trajectory.

    Returns:
        Displacements G_{t+1} - G_0 of every step, (M, S, 2, G, G), in fractions of the
        picture's sides; in the type of ``flow``.
    """
    grid, dtype = flow.size(-1), flow.dtype
    # Half precision has too few digits for places, and torch 2.11's grid_sample on a
    # CPU for the weights between them.
    flow = flow.to(torch.promote_types(dtype, torch.float32))
    middles = (torch.arange(grid, device=flow.device) + 0.5) / grid * 2 - 1
    start = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), dim=-1)
    start = start.to(flow)  # (G, G, 2), x then y, from -1 to 1
    moved = torch.zeros_like(flow[:, 0])
    steps = []
    for step in range(flow.size(1)):
        if step % window == 0:
            moved = torch.zeros_like(moved)
        else:
            moved = moved.masked_fill(cut[:, step, None, None, None], 0)
        # Of a picture that is 2 wide, as grid_sample has it.
        places = start + 2 * moved.permute(0, 2, 3, 1)
        moved = moved + F.grid_sample(
            flow[:, step],
            places,
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        steps.append(moved)
    return torch.stack(steps, dim=1).to(dtype)
