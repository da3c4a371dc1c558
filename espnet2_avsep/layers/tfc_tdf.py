"""Block of time-frequency convolutions and linear layers over the frequency axis."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.layers.batch_norm import FoldedSequential, SourceBatchNorm2d


class TFCTDFBlock(nn.Module):
    """Convolutions over neighbouring bins, then a linear layer over all rows.

    Choi et al., "Investigating U-Nets with Various Intermediate Blocks for
    Spectrogram-based Singing Voice Separation", ISMIR 2020 (TFC-TDF). The linear layers
    join the partials of a note, which lie far apart; their weights are the same for all
    channels and frames::

        y = x + ReLU(BN(conv(... ReLU(BN(conv(x))))))           time-frequency
        z = y + ReLU(BN(W2 ReLU(BN(W1 y))))                      all rows of a frame

    Notes:
        The paper's convolutions are densely connected; here they have one residual
        connection, as in later versions of this block.

    Args:
        channels: C.
        rows: F, the only number of rows that it takes.
        convs: Number of 3x3 convolutions.
        reduction: W1 has F / reduction outputs, but 8 at least.
        sync: See SourceBatchNorm2d.
    """

    def __init__(
        self,
        channels: int,
        rows: int,
        convs: int = 1,
        reduction: int = 8,
        sync: bool = True,
    ):
        super().__init__()
        self.convs = FoldedSequential(
            *(
                layer
                for _ in range(convs)
                for layer in (
                    nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                    SourceBatchNorm2d(channels, sync=sync),
                    nn.ReLU(inplace=True),
                )
            )
        )
        inner = max(8, rows // reduction)
        self.narrow = nn.Linear(rows, inner, bias=False)
        self.narrow_norm = SourceBatchNorm2d(channels, sync=sync)
        self.wide = nn.Linear(inner, rows, bias=False)
        self.wide_norm = SourceBatchNorm2d(channels, sync=sync)

    def forward(self, x: Tensor) -> Tensor:
        """Process maps (B, C, T, F); frequency is the last axis."""
        x = x + self.convs(x)
        # Products from the left, so that maps in channels-last memory are not copied.
        rows = x.permute(0, 2, 3, 1)  # (B, T, F, C)
        if self.narrow_norm.training or self.wide_norm.training:
            y = _normalise(self.narrow_norm, _product(self.narrow, rows))
            y = F.relu(y, inplace=True)
            y = _normalise(self.wide_norm, _product(self.wide, y))
            y = F.relu(y, inplace=True)
        else:
            y = self._evaluate(rows.flatten(0, 1)).view_as(rows)
        return (rows + y).permute(0, 3, 1, 2)

    def _evaluate(self, frames: Tensor) -> Tensor:
        """Linear layers on (B * T, F, C), with BatchNorm as their scale and shift."""
        scale, shift = self.narrow_norm.scale_and_shift()
        y = torch.bmm(self.narrow.weight.expand(frames.size(0), -1, -1), frames)
        y = F.relu(torch.addcmul(shift, y, scale), inplace=True)
        # The second scale goes to the narrow side.
        scale, shift = self.wide_norm.scale_and_shift()
        wide = self.wide.weight.expand(frames.size(0), -1, -1)
        return F.relu(torch.baddbmm(shift, wide, y * scale), inplace=True)


def _product(layer: nn.Linear, rows: Tensor) -> Tensor:
    """Multiply the weight (M, F) by (B, T, F, C).

    torch.matmul would copy the rows to another order, and their gradient back.
    """
    frames = rows.flatten(0, 1)
    weight = layer.weight.to(frames.dtype)  # once, not for each frame (autocast)
    y = torch.bmm(weight.expand(len(frames), -1, -1), frames)
    return y.unflatten(0, rows.shape[:2])


def _normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a BatchNorm to (B, T, F, C)."""
    return norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
