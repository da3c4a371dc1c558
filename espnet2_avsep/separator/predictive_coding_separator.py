"""Predictive coding: picture and sound agree in several cycles."""

from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.unet import level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator


class PredictiveCodingSeparator(AbsAVSeparator):
    """A ladder of representations that predict the one below and learn from the error.

    Song and Zhang, "Visually Guided Sound Source Separation with Audio-Visual
    Predictive Coding", 2023, after the predictive coding network of Wen et al., ICML
    2018. With representations r_0 (the spectrogram's maps) to r_L and a visual input
    joined to r_L, each cycle goes down and up once:

        down:  p_l = D_l r_(l+1),   r_l <- (1 - b_l) r_l + b_l p_l       l = L-1 ... 1
        up:    e_l = r_l - p_l,     r_(l+1) <- act(r_(l+1) + a_l U_l e_l)  l = 0 ... L-1

    U_l is a strided 4x4 convolution, D_l a transposed one; a_l and b_l are learned
    rates of each channel. The last cycle goes down alone: the mask is made from the
    last prediction of r_0 and from r_0 itself. The picture acts at the top alone.

    Notes:
        Adapted: written from the description of the equations, not from released code;
        the released network's widths, its weight sharing and its picture network are
        not reproduced. Here the visual embedding is projected to the top's channels
        and added there in each cycle. The first way up, which no source's picture
        enters, is computed once per mixture.

    Args:
        visual_dim: D, size of a visual embedding.
        channels: Channels of r_1; each level doubles, at most 8 times it.
        layers: Levels L above the spectrogram.
        cycles: Cycles T.
        width: Maps of r_0, made of the spectrogram by a 3x3 convolution.
    """

    def __init__(
        self,
        visual_dim: int = 512,
        channels: int = 32,
        layers: int = 7,
        cycles: int = 4,
        width: int = 16,
    ):
        super().__init__()
        if layers < 2 or cycles < 1:
            raise ValueError(
                f"layers={layers}, cycles={cycles}: at least 2 and 1 are needed."
            )
        self.visual_dim = visual_dim
        self.cycles = cycles
        sizes = [width, *level_widths(channels, layers)]
        self._bottleneck_dim = sizes[-1]
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.up = nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1) for a, b in pairs])
        self.down = nn.ModuleList([nn.ConvTranspose2d(b, a, 4, 2, 1) for a, b in pairs])
        # GroupNorm: the representations change from cycle to cycle.
        self.norms = nn.ModuleList([nn.GroupNorm(_groups(b), b) for _, b in pairs])
        self.rate_up = nn.ParameterList(
            [nn.Parameter(torch.ones(b, 1, 1)) for _, b in pairs]
        )
        # Of the levels between r_0, which is given, and the top, which none predicts.
        self.rate_down = nn.ParameterList(
            [nn.Parameter(torch.zeros(b, 1, 1)) for _, b in pairs[:-1]]
        )
        self.condition = nn.Linear(visual_dim, sizes[-1])
        self.head = nn.Conv2d(2 * width, 1, 3, padding=1)

    @property
    def bottleneck_dim(self) -> int:
        """Channels of the top."""
        return self._bottleneck_dim

    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsAVSeparator.forward."""
        self.check_visual(visual)
        padded, (num_bins, num_frames) = pad_to_multiple(feature, 2 ** len(self.up))
        # The first way up: nothing is predicted yet, so the error is all there is.
        levels = [self.stem(padded)]
        for level in range(len(self.up)):
            levels.append(self._learn(level, None, levels[level]))
        bottleneck = levels[-1].mean(dim=(-2, -1))

        num_sources = visual.size(1)
        levels = [
            x[:, None].expand(-1, num_sources, -1, -1, -1).flatten(0, 1) for x in levels
        ]
        condition = self.condition(visual).flatten(0, 1)[..., None, None]
        for cycle in range(self.cycles):
            levels[-1] = levels[-1] + condition
            predictions = self._predict(levels)
            if cycle < self.cycles - 1:
                for level, prediction in enumerate(predictions):
                    error = levels[level] - prediction
                    levels[level + 1] = self._learn(level, levels[level + 1], error)
        logits = self.head(torch.cat([predictions[0], levels[0]], dim=1))[:, 0]
        logits = logits.unflatten(0, visual.shape[:2])
        return logits[..., :num_bins, :num_frames], bottleneck

    def _learn(self, level: int, above: Optional[Tensor], error: Tensor) -> Tensor:
        """What level + 1 becomes by the error of its prediction of the level."""
        step = self.rate_up[level] * self.up[level](error)
        if above is not None:
            step = above + step
        return F.leaky_relu(self.norms[level](step), 0.2)

    def _predict(self, levels: List[Tensor]) -> List[Tensor]:
        """Go down; change the levels between, and return all predictions."""
        predictions = [levels[0]] * (len(levels) - 1)
        for level in reversed(range(len(levels) - 1)):
            predictions[level] = self.down[level](levels[level + 1])
            if level > 0:
                share = self.rate_down[level - 1].sigmoid()
                gap = predictions[level] - levels[level]
                levels[level] = levels[level] + share * gap
        return predictions


def _groups(channels: int) -> int:
    """Groups of at least 4 channels, 8 of them at most."""
    return next(n for n in (8, 4, 2, 1) if channels % n == 0 and channels >= 4 * n)
