"""Logarithmic warping of the frequency axis of a spectrogram, and its inverse."""

import math
from typing import Tuple

import torch
from torch import Tensor, nn

from espnet2_avsep.errors import InputError


class LogFrequencyWarp(nn.Module):
    """Resample the frequency axis so that low frequencies get more rows.

    Zhao et al., "The Sound of Pixels", ECCV 2018; used as it is by CLIPSep, HFRA,
    iQuery and DGFNet. With y in [-1, 1] the position of a row of the result, the row
    read is ``(21 ** ((y + 1) / 2) - 11) / 10``; the inverse reads
    ``2 * log(10 * y + 11) / log(21) - 1``.

    Notes:
        Other implementations call ``grid_sample`` on a grid whose time coordinate is
        ``linspace(-1, 1, T)``; the tests compare the two. Its ``align_corners`` is True
        in CLIPSep, HFRA and DGFNet. Sound of Pixels, Co-Separation and iQuery do not
        give it: True before torch 1.3, False since. AVPC gives False.
        The warp is lossy: the inverse of the warp is a smoothed copy.

    Args:
        num_linear: Rows F of the linear-frequency spectrogram (n_fft / 2 + 1).
        num_log: Rows F' of the log-frequency spectrogram; None leaves the axis linear.
        align_corners: True: -1 and 1 are the centres of the first and the last row, and
            the time axis stays as it is. False: they are the outer edges of these rows,
            zeros lie beyond, and the time axis is stretched likewise by one frame, so
            that the first and the last row and frame lose half of their values.

    Attributes:
        row_weight: Number of linear rows that each row of the result represents, (F',):
            the sum of inverse(x) over its rows is that of row_weight * x.
    """

    row_weight: Tensor

    def __init__(
        self,
        num_linear: int = 513,
        num_log: int | None = 256,
        align_corners: bool = True,
    ):
        super().__init__()
        if num_linear < 2 or (num_log is not None and num_log < 2):
            raise InputError(
                f"LogFrequencyWarp(num_linear={num_linear}, num_log={num_log}): both "
                "must be at least 2 (num_log may be null for a linear axis)."
            )
        self.num_linear = num_linear
        self.num_log = num_log
        self.align_corners = align_corners
        weight = torch.ones(self.output_dim)
        self.register_buffer("row_weight", weight, persistent=False)
        if num_log is None:
            return
        y = torch.linspace(-1, 1, num_log, dtype=torch.float64)
        self._register("warp", (21 ** ((y + 1) / 2) - 11) / 10, num_linear)
        y = torch.linspace(-1, 1, num_linear, dtype=torch.float64)
        self._register("unwarp", torch.log(10 * y + 11) / math.log(21) * 2 - 1, num_log)
        self.row_weight.zero_()
        for rows, share in zip(
            (self.unwarp_lower, self.unwarp_upper), self.unwarp_weights, strict=True
        ):
            self.row_weight.index_add_(0, rows, share[:, 0].to(weight.dtype))

    @property
    def output_dim(self) -> int:
        """Rows of the warped spectrogram."""
        return self.num_log or self.num_linear

    def _register(self, name: str, position: Tensor, num_source: int) -> None:
        """Store the two rows read by each target row, and their weights."""
        lower, upper, weights = _taps(position, num_source, self.align_corners)
        weights = weights.to(torch.get_default_dtype())[..., None]
        for key, value in (("lower", lower), ("upper", upper), ("weights", weights)):
            self.register_buffer(f"{name}_{key}", value, persistent=False)

    def _resample(self, x: Tensor, name: str) -> Tensor:
        # Half precision has too few digits for the weights of positions.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        lower, upper, weights = (
            getattr(self, f"{name}_{key}") for key in ("lower", "upper", "weights")
        )
        lower, upper = x.index_select(-2, lower), x.index_select(-2, upper)
        if self.align_corners:
            return torch.lerp(lower, upper, weights[1].to(x.dtype))
        first, second = weights.to(x.dtype)
        return self._stretch(first * lower + second * upper)

    @staticmethod
    def _stretch(x: Tensor) -> Tensor:
        """What ``align_corners=False`` does to the time axis."""
        frames = x.size(-1)
        position = torch.linspace(-1, 1, frames, dtype=torch.float64)
        lower, upper, weights = _taps(position, frames, align_corners=False)
        first, second = weights.to(x)
        lower, upper = lower.to(x.device), upper.to(x.device)
        return first * x.index_select(-1, lower) + second * x.index_select(-1, upper)

    def forward(self, x: Tensor) -> Tensor:
        """Warp to log frequency: (..., F, T) -> (..., F', T)."""
        self._check(x, self.num_linear)
        return x if self.num_log is None else self._resample(x, "warp")

    def inverse(self, x: Tensor) -> Tensor:
        """Return to linear frequency: (..., F', T) -> (..., F, T)."""
        self._check(x, self.output_dim)
        return x if self.num_log is None else self._resample(x, "unwarp")

    @staticmethod
    def _check(x: Tensor, rows: int) -> None:
        if x.dim() < 2 or x.size(-2) != rows:
            raise InputError(
                f"a spectrogram of shape {tuple(x.shape)} was given; expected "
                f"(..., {rows}, T). Check n_fft and num_log_bins of the config."
            )


def _taps(
    position: Tensor, size: int, align_corners: bool
) -> Tuple[Tensor, Tensor, Tensor]:
    """Bilinear interpolation along one axis, as grid_sample defines it.

    Args:
        position: Where to read, in [-1, 1], (n,).
        size: Number of values of the axis.
        align_corners: See LogFrequencyWarp.

    Returns:
        Lower and upper index, (n,), and the weights of both, (2, n).
    """
    if align_corners:
        at = ((position + 1) / 2 * (size - 1)).clamp(0, size - 1)
        lower = at.floor().clamp(max=size - 2).long()
    else:
        at = ((position + 1) * size - 1) / 2
        lower = at.floor().long()
    upper = lower + 1
    weights = torch.stack([upper - at, at - lower])
    # Values beyond the ends are zeros.
    weights *= torch.stack([(lower >= 0) & (lower < size), upper < size])
    return lower.clamp(0, size - 1), upper.clamp(0, size - 1), weights


def pad_to_multiple(x: Tensor, multiple: int) -> Tuple[Tensor, Tuple[int, int]]:
    """Pad the last two axes at their ends, repeating the edge.

    Args:
        x: (B, C, F, T).
        multiple: Both axes become multiples of it.

    Returns:
        The padded tensor, and (F, T) as they were.
    """
    size = (x.size(-2), x.size(-1))
    if torch.compiler.is_exporting():  # to a graph in which T is free
        whole = (size[1] + multiple - 1) // multiple * multiple
        frame = torch.arange(whole, device=x.device).clamp(max=size[1] - 1)
        x = x.index_select(-1, frame)
    pad_f, pad_t = (-size[0] % multiple, -x.size(-1) % multiple)
    if pad_f or pad_t:
        x = nn.functional.pad(x, (0, pad_t, 0, pad_f), mode="replicate")
    return x, size
