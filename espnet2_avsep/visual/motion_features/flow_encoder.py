"""Optical flow as motion features: two pictures in, their flow on a coarse grid out.

A row is the flow from one picture to the next, averaged over the cells of a GRID x GRID
grid, as fractions of the picture's width (x) and height (y), so that it does not depend
on the number of pixels; its last value is 1 where a cut lies between the pictures, and
there the flow is 0. Rows follow each other without gaps, so the path of a point over
any window can be summed up from them: see layers/trajectory.py.

Sound of Motions (Zhao et al., ICCV 2019) takes PWC-Net's flow; torchvision's RAFT
(Teed and Deng, ECCV 2020), the small one, replaces it. Lucas and Kanade's method
needs no weights.
"""

import logging
from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.errors import InputError
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.visual.encoder_info import RANDOM
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder
from espnet2_avsep.visual.encoders.preprocessing import Preprocessing
from espnet2_avsep.visual.motion_features.lucas_kanade import LucasKanade
from espnet2_avsep.visual.motion_features.motion_names import LUCAS_KANADE, RAFT
from espnet2_avsep.visual.pretrained.torchvision_weights import build_network

# Side of the pictures in pixels; they are squashed to squares.
_SIDES = {RAFT: 224, LUCAS_KANADE: 112}
GRID = 28
# Colour histograms that share less than this do not belong to one shot.
_SHARED = 0.5
_BINS = 16


class FlowRows(nn.Module):
    """Two pictures -> the row of their flow; see the module's docstring.

    Args:
        flow: Maps two pictures (B, 3, H, W), 0 to 1, to a flow (B, 2, H, W) in pixels.
        grid: Cells of the grid along each side.
    """

    def __init__(self, flow: nn.Module, grid: int = GRID):
        super().__init__()
        self.flow = flow
        self.grid = grid

    def forward(self, windows: Tensor) -> Tensor:
        """Reduce (B, 3, 2, H, W), values 0 to 1, to (B, 2 * grid ** 2 + 1)."""
        first, second = windows.unbind(dim=2)
        height, width = windows.shape[-2:]
        cut = is_cut(first, second)
        flow = F.adaptive_avg_pool2d(self.flow(first, second), self.grid)
        flow = flow / torch.tensor([width, height]).to(flow)[:, None, None]
        flow = flow.masked_fill(cut[:, None, None, None], 0)
        return torch.cat([flow.flatten(1), cut[:, None].to(flow)], dim=1)


class Raft(nn.Module):
    """torchvision's RAFT with the range of values and the result that FlowRows has."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """See FlowRows; the last of the network's refinements counts."""
        return self.network(2 * first - 1, 2 * second - 1)[-1]


def is_cut(first: Tensor, second: Tensor) -> Tensor:
    """Tell whether a cut lies between two pictures: their colours differ as a whole.

    The histograms of each colour, 16 bins, share less than a half. One threshold on
    neighbouring pictures; fades, which take longer, are not found.

    Args:
        first: (B, 3, H, W), values 0 to 1.
        second: The same shape.

    Returns:
        (B,), bool.
    """
    histograms = []
    for picture in (first, second):
        bins = (picture * _BINS).long().clamp(0, _BINS - 1).flatten(2)
        counts = torch.zeros(*bins.shape[:2], _BINS, device=picture.device)
        counts.scatter_add_(2, bins, torch.ones_like(bins, dtype=counts.dtype))
        histograms.append(counts / bins.size(2))
    shared = torch.minimum(*histograms).sum(dim=2).mean(dim=1)
    return shared < _SHARED


def load_flow_encoder(
    model: str,
    pretrained: Optional[str],
    option: str,
    seed: int = 0,
    cache_dir: Optional[str] = None,
    grid: int = GRID,
    **options: Any,
) -> FrameEncoder:
    """Build what makes rows of optical flow.

    Args:
        model: One of motion_names.FLOWS.
        pretrained: RAFT's weights: torchvision's name, the path of a state dict, or
            "random", whose flow is meaningless. None for Lucas and Kanade's method.
        option: What names the weights on the command line, for messages.
        seed: Of random weights.
        cache_dir: Where downloads are kept; default: torch's hub folder.
        grid: Cells of the grid along each side.
        **options: device, dtype and batch_size of :class:`FrameEncoder`.

    Returns:
        The encoder, which takes windows of two pictures.

    Raises:
        InputError: weights that cannot be had or do not fit, a type other than float32.
    """
    if options.get("dtype", "float32") != "float32":
        raise InputError(
            f"--dtype {options['dtype']}: optical flow needs float32, for differences "
            "of pictures are small; give --dtype float32."
        )
    info: Dict[str, Any] = {"encoder": model, "flow_grid": grid}
    flow: nn.Module
    if model == LUCAS_KANADE:
        if pretrained is not None:
            raise InputError(
                f"{option} {pretrained}: {LUCAS_KANADE} is not a network and has no "
                "weights; leave the option out."
            )
        flow = LucasKanade()
        info.update(weights="none: no learned flow, Lucas and Kanade's method")
        logging.info("%s: %s", model, info["weights"])
    else:
        network, found = _raft(pretrained, option, seed, cache_dir)
        flow = Raft(network)
        info.update(found)
    side = _SIDES[model]
    preprocessing = Preprocessing(
        Resize((side, side), "squash", "bilinear"), (side, side)
    )
    return FrameEncoder(FlowRows(flow, grid), preprocessing, info, window=2, **options)


def _raft(
    pretrained: str, option: str, seed: int, cache_dir: Optional[str]
) -> Tuple[nn.Module, Dict[str, Any]]:
    network, info = build_network(
        *(RAFT, "RAFT", pretrained, option, seed, cache_dir),
        effect=f"so the flow is meaningless; --motion_encoder {LUCAS_KANADE} gives a "
        "real flow without weights",
    )
    if pretrained == RANDOM:
        info["weights"] += ": meaningless flow"
    return network, {"pretrained": pretrained, **info}
