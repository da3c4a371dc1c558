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
        Peers call ``grid_sample(align_corners=True)`` on a grid whose time coordinate
        is the identity. That is a linear interpolation along frequency alone, which is
        what is computed here (the tests compare the two).
        The warp is lossy: the inverse of the warp is a smoothed copy.

    Args:
        num_linear: Rows F of the linear-frequency spectrogram (n_fft / 2 + 1).
        num_log: Rows F' of the log-frequency spectrogram; None leaves the axis linear.
    """

    def __init__(self, num_linear: int = 513, num_log: int | None = 256):
        super().__init__()
        if num_linear < 2 or (num_log is not None and num_log < 2):
            raise InputError(
                f"LogFrequencyWarp(num_linear={num_linear}, num_log={num_log}): both "
                "must be at least 2 (num_log may be null for a linear axis)."
            )
        self.num_linear = num_linear
        self.num_log = num_log
        if num_log is None:
            return
        y = torch.linspace(-1, 1, num_log, dtype=torch.float64)
        self._register("warp", (21 ** ((y + 1) / 2) - 11) / 10, num_linear)
        y = torch.linspace(-1, 1, num_linear, dtype=torch.float64)
        self._register("unwarp", torch.log(10 * y + 11) / math.log(21) * 2 - 1, num_log)

    @property
    def output_dim(self) -> int:
        """Rows of the warped spectrogram."""
        return self.num_log or self.num_linear

    def _register(self, name: str, position: Tensor, num_source: int) -> None:
        """Store the two rows read by each target row, and the weight of the second."""
        row = ((position + 1) / 2 * (num_source - 1)).clamp(0, num_source - 1)
        lower = row.floor().clamp(max=num_source - 2).long()
        weight = (row - lower).to(torch.get_default_dtype())
        self.register_buffer(f"{name}_lower", lower, persistent=False)
        self.register_buffer(f"{name}_weight", weight[:, None], persistent=False)

    @staticmethod
    def _interpolate(x: Tensor, lower: Tensor, weight: Tensor) -> Tensor:
        return torch.lerp(
            x.index_select(-2, lower),
            x.index_select(-2, lower + 1),
            weight.to(x.dtype),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Warp to log frequency: (..., F, T) -> (..., F', T)."""
        self._check(x, self.num_linear)
        if self.num_log is None:
            return x
        return self._interpolate(x, self.warp_lower, self.warp_weight)

    def inverse(self, x: Tensor) -> Tensor:
        """Return to linear frequency: (..., F', T) -> (..., F, T)."""
        self._check(x, self.output_dim)
        if self.num_log is None:
            return x
        return self._interpolate(x, self.unwarp_lower, self.unwarp_weight)

    @staticmethod
    def _check(x: Tensor, rows: int) -> None:
        if x.dim() < 2 or x.size(-2) != rows:
            raise InputError(
                f"a spectrogram of shape {tuple(x.shape)} was given; expected "
                f"(..., {rows}, T). Check n_fft and num_log_bins of the config."
            )


def pad_to_multiple(x: Tensor, multiple: int) -> Tuple[Tensor, Tuple[int, int]]:
    """Pad the last two axes at their ends, repeating the edge.

    Args:
        x: (B, C, F, T).
        multiple: Both axes become multiples of it.

    Returns:
        The padded tensor, and (F, T) as they were.
    """
    size = (x.size(-2), x.size(-1))
    pad_f, pad_t = (-size[0] % multiple, -size[1] % multiple)
    if pad_f or pad_t:
        x = nn.functional.pad(x, (0, pad_t, 0, pad_f), mode="replicate")
    return x, size
