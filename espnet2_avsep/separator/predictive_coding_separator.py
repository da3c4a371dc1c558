"""Predictive coding: picture and sound agree in several cycles."""

from typing import List, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from espnet2_avsep.layers.unet import up_sample
from espnet2_avsep.separator.abs_separator import AbsAVSeparator

# Rows and columns of the visual maps that the top predicts.
GRID = 2


class PredictiveCodingSeparator(AbsAVSeparator):
    """A ladder of representations that predict the one above and learn from the error.

    Song and Zhang, "Visually Guided Sound Source Separation with Audio-Visual
    Predictive Coding", IEEE TNNLS 2023: the released PCNet-LR. u_1 to u_L are the
    representations, L the top, v the picture's K maps, act LeakyReLU(0.2), and norm a
    BatchNorm of its own for each place and cycle. W_l is a 3x3 convolution and a
    maximum over 2x2, V_l bilinear up-sampling by two and a transposed 3x3 convolution,
    P and Q are 1x1 convolutions; none has a bias. With d_0 the normalised spectrogram,

        start:    d_l = act(norm(W_l d_(l-1))),  u_l = d_l              l = 1 ... L
        refine:   u_L <- act(norm(u_L + a_L Q(v - act(P u_L))))
                  u_l <- act(norm(u_l + a_l V_(l+1)(u_(l+1) - d_(l+1))))  l = L-1 ... 1
        predict:  u_1 <- act((1 - b_1) u_1 + b_1 d_1)
                  d_l <- W_l u_(l-1),
                  u_l <- act(norm((1 - b_l) u_l + b_l d_l))             l = 2 ... L

    it starts and refines; then each cycle predicts and refines. The mask's logits are
    V_1 u_1. a and b are learned rates of each channel, not below 0.

    Notes:
        The release has maps of 256 x 256, so that its top is 2 x 2, as v is. For other
        lengths v is repeated over the top, its left column over the first half of the
        time: masks depend on where in the input a frame is, also where
        make_shift_invariant() has changed the up-sampling. Visual embeddings of another
        size than K * 2 * 2 (frozen CLIP) are mapped to it by a linear layer.
        The start, which no source's picture enters, is computed once per mixture.

    Args:
        visual_dim: D, size of a visual embedding.
        channels: Channels of the first level; each second level doubles, at most 8
            times it.
        layers: Levels L.
        cycles: Cycles after the first refinement.
        width: K, number of visual maps.
        bn_statistics: BatchNorm statistics, "per_source" (the release: one pass per
            source) or "joint".
        bn_sync: In training over several processes, take the statistics of BatchNorm
            over all of them.
    """

    aligned_time = True  # see make_shift_invariant()
    tiny = {"channels": 8, "layers": 3}

    def __init__(
        self,
        visual_dim: int = 64,
        channels: int = 64,
        layers: int = 7,
        cycles: int = 4,
        width: int = 16,
        bn_statistics: str = "per_source",
        bn_sync: bool = True,
    ):
        super().__init__()
        if layers < 2 or cycles < 1:
            raise ValueError(
                f"layers={layers}, cycles={cycles}: at least 2 and 1 are needed."
            )
        self.visual_dim = visual_dim
        self.layers = layers
        self.cycles = cycles
        self.width = width
        sizes = [channels * min(2 ** (level // 2), 8) for level in range(layers)]
        self.bottleneck_dim = sizes[-1]

        def norms(widths: Sequence[int]) -> nn.ModuleList:
            return nn.ModuleList(
                SourceBatchNorm2d(size, bn_statistics, bn_sync) for size in widths
            )

        def rates(value: float) -> nn.ParameterList:
            return nn.ParameterList(
                nn.Parameter(torch.full((size, 1, 1), value)) for size in sizes
            )

        pairs = list(zip([1, *sizes[:-1]], sizes, strict=True))
        self.input_norm = SourceBatchNorm2d(1, sync=bn_sync)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairs
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 3, padding=1, bias=False) for a, b in pairs
        )
        self.predict_visual = nn.Conv2d(sizes[-1], width, 1, bias=False)
        self.visual_error = nn.Conv2d(width, sizes[-1], 1, bias=False)
        self.rate_up = rates(1.0)
        self.rate_down = rates(0.5)
        self.start_norms = norms(sizes)
        self.refine_norms = nn.ModuleList(norms(sizes) for _ in range(cycles + 1))
        self.predict_norms = nn.ModuleList(norms(sizes[1:]) for _ in range(cycles))
        values = width * GRID**2
        self.condition = (
            nn.Identity() if visual_dim == values else nn.Linear(visual_dim, values)
        )

    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsAVSeparator.forward."""
        self.check_visual(visual)
        x, (num_bins, num_frames) = pad_to_multiple(feature, 2**self.layers)
        x = self.input_norm(x)
        start = []
        for level, norm in enumerate(self.start_norms):
            x = F.leaky_relu(norm(self._down(level, x)), 0.2)
            start.append(x)
        bottleneck = x.mean(dim=(-2, -1))

        num_sources = visual.size(1)
        predicted = [x.repeat(num_sources, 1, 1, 1) for x in start]  # d, source by
        current = list(predicted)  # u                                 source
        maps = self.condition(visual).transpose(0, 1).flatten(0, 1)
        maps = maps.unflatten(1, (self.width, GRID, GRID))
        if maps.shape[-2:] != x.shape[-2:]:
            maps = F.interpolate(maps, x.shape[-2:], mode="nearest")
        self._refine(current, predicted, maps, self.refine_norms[0], num_sources)
        for cycle, norms in enumerate(self.predict_norms):
            self._predict(current, predicted, norms, num_sources)
            self._refine(
                current, predicted, maps, self.refine_norms[cycle + 1], num_sources
            )
        logits = self._up(0, current[0])[:, 0]
        logits = logits.unflatten(0, (num_sources, -1)).transpose(0, 1)
        return logits[..., :num_bins, :num_frames], bottleneck

    def _down(self, level: int, x: Tensor) -> Tensor:
        return F.max_pool2d(self.down[level](x), 2)

    def _up(self, level: int, x: Tensor) -> Tensor:
        return self.up[level](up_sample(x, self.aligned_time))

    def _refine(
        self,
        current: List[Tensor],
        predicted: List[Tensor],
        maps: Tensor,
        norms: nn.ModuleList,
        num_sources: int,
    ) -> None:
        """Change the representations by the errors of the predictions, from the top."""
        guess = F.leaky_relu(self.predict_visual(current[-1]), 0.2)
        step = self.visual_error(maps - guess)
        for level in reversed(range(self.layers)):
            if level < self.layers - 1:
                error = current[level + 1] - predicted[level + 1]
                step = self._up(level + 1, error)
            x = current[level] + self.rate_up[level].relu() * step
            current[level] = F.leaky_relu(norms[level](x, num_sources), 0.2)

    def _predict(
        self,
        current: List[Tensor],
        predicted: List[Tensor],
        norms: nn.ModuleList,
        num_sources: int,
    ) -> None:
        """Predict each representation from the one below, and move towards that."""
        for level in range(self.layers):
            if level > 0:
                predicted[level] = self._down(level, current[level - 1])
            share = self.rate_down[level].relu()
            x = (1 - share) * current[level] + share * predicted[level]
            if level > 0:
                x = norms[level - 1](x, num_sources)
            current[level] = F.leaky_relu(x, 0.2)
