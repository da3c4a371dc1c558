"""Dense optical flow without training: the pyramidal method of Lucas and Kanade."""

from typing import List

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Least side of a picture at the coarsest level in pixels.
_SMALLEST = 12


class LucasKanade(nn.Module):
    """Flow by iterated least squares in a window around each pixel, coarse to fine.

    Lucas and Kanade, "An Iterative Image Registration Technique with an Application to
    Stereo Vision", IJCAI 1981; Bouguet, "Pyramidal Implementation of the Lucas Kanade
    Feature Tracker", 2001. At each level the second picture is warped by the flow found
    so far, and the rest of the flow, d, solves

        (sum_w g g^T + damping I) d = -sum_w g (warped second - first)

    where g is the gradient of the first picture and w a Gaussian window. It has no
    weights, follows what is textured, and gives small values where nothing can be
    followed. A learned network is more accurate on real video.

    Args:
        levels: Most levels of the pyramid, each half as large as the one before.
        iterations: Solutions at each level.
        radius: Radius of the window in pixels.
        damping: Added to the diagonal, for pixel values from 0 to 1: noise of a
            standard deviation of 0.015 has no larger effect than this.
    """

    def __init__(
        self,
        levels: int = 4,
        iterations: int = 3,
        radius: int = 4,
        damping: float = 2e-4,
    ):
        super().__init__()
        for name, value in (
            ("levels", levels),
            ("iterations", iterations),
            ("radius", radius),
            ("damping", damping),
        ):
            if value <= 0:
                raise ValueError(f"{name}={value}: expected a value above 0.")
        self.levels, self.iterations, self.damping = levels, iterations, damping
        places = torch.arange(-radius, radius + 1)
        window = torch.exp(-0.5 * (2 * places / radius) ** 2)
        self.register_buffer("window", window / window.sum(), persistent=False)
        binomial = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("binomial", binomial, persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return where each pixel of the first picture is in the second.

        Args:
            first: (B, 3, H, W), values from 0 to 1.
            second: The same shape.

        Returns:
            Displacements (B, 2, H, W) in pixels, x to the right, then y downwards.
        """
        pictures = torch.stack([first, second], dim=1).mean(dim=2)  # (B, 2, H, W)
        pyramid = self._pyramid(pictures)
        flow = torch.zeros_like(pyramid[-1])
        for level in reversed(pyramid):
            if flow.shape != level.shape:
                scale = torch.tensor(
                    [
                        new / old
                        for new, old in zip(level.shape, flow.shape, strict=True)
                    ]
                )[[3, 2]].to(flow)
                flow = F.interpolate(
                    flow, level.shape[2:], mode="bilinear", align_corners=False
                )
                flow = flow * scale[:, None, None]
            flow = self._refine(level[:, :1], level[:, 1:], flow)
        return flow

    def _pyramid(self, pictures: Tensor) -> List[Tensor]:
        levels = [_filtered(pictures, self.binomial)]
        while len(levels) < self.levels and min(levels[-1].shape[2:]) >= 2 * _SMALLEST:
            smooth = _filtered(levels[-1], self.binomial)
            levels.append(F.avg_pool2d(smooth, 2))
        return levels

    def _refine(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        """Improve the flow (B, 2, H, W) of one level, pictures (B, 1, H, W)."""
        gradient = _gradient(first)
        x, y = gradient[:, :1], gradient[:, 1:]
        tensor = _filtered(torch.cat([x * x, x * y, y * y], dim=1), self.window)
        xx, xy, yy = tensor.unbind(dim=1)
        xx, yy = xx + self.damping, yy + self.damping
        determinant = xx * yy - xy**2
        for _ in range(self.iterations):
            change = warp(second, flow) - first
            b = _filtered(gradient * change, self.window)
            bx, by = b.unbind(dim=1)
            step = torch.stack([xy * by - yy * bx, xy * bx - xx * by], dim=1)
            # A step is right where the pictures are linear: about a pixel. Without
            # smoothing, the flow within a window drifts apart from step to step.
            flow = flow + (step / determinant[:, None]).clamp(-1, 1)
            flow = _filtered(flow, self.binomial)
        return flow


def warp(values: Tensor, flow: Tensor) -> Tensor:
    """Sample maps where a flow points to, bilinearly; the edge is held outside.

    Args:
        values: (B, C, H, W).
        flow: (B, 2, H, W) in pixels, x then y.

    Returns:
        (B, C, H, W): at each pixel p, values at p + flow(p).
    """
    height, width = values.shape[2:]
    y = (torch.arange(height).to(flow) + 0.5) * 2 / height - 1
    x = (torch.arange(width).to(flow) + 0.5) * 2 / width - 1
    grid = torch.stack(
        [x + flow[:, 0] * 2 / width, y[:, None] + flow[:, 1] * 2 / height], dim=-1
    )
    return F.grid_sample(
        values, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter each channel of (B, C, H, W) along both axes, its edges held."""
    radius, channels = len(kernel) // 2, x.size(1)
    kernel = kernel.to(x).expand(channels, 1, 1, -1)
    x = F.pad(x, (radius,) * 4, mode="replicate")
    x = F.conv2d(x, kernel, groups=channels)
    return F.conv2d(x, kernel.transpose(2, 3), groups=channels)


def _gradient(x: Tensor) -> Tensor:
    """Central differences of (B, 1, H, W): (B, 2, H, W), x then y."""
    x = F.pad(x, (1,) * 4, mode="replicate")
    across = (x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2]) / 2
    down = (x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]) / 2
    return torch.cat([across, down], dim=1)
