"""ResUNetDecouple+ with the visual input joined at its bottleneck."""

from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from espnet2_avsep.separator.abs_wave_separator import AbsWaveSeparator

_EPS = 1e-8


class DecoupledResUNetSeparator(AbsWaveSeparator):
    """Residual U-Net that estimates magnitude and phase apart.

    Kong et al., "Decoupling Magnitude and Phase Estimation with Deep ResUNet for Music
    Source Separation", ISMIR 2021. Of each bin the network gives a bounded mask m, the
    direction of a complex mask (p_r, p_i), and a residual magnitude q:

        |S| = relu(m |X| + q),   phase(S) = phase(X) + phase(p_r + i p_i)

    Notes:
        Adapted to a visual query: the embedding, through a linear layer, is tiled over
        the bottleneck, and the decoder runs once per source, the encoder once per
        mixture. The paper has four residual blocks a level, 143 layers in all, and a
        network for each kind of source; here the number of blocks is an option, 1 by
        default. The Nyquist bin is left out of the network and given back as 0.

    Args:
        visual_dim: D, size of a visual embedding.
        channels: Channels of the levels.
        blocks: Residual blocks of a level.
        window: Samples of the analysis window (Hann) and of the FFT.
        hop: Samples between two frames.
        condition_dim: Channels that the visual input becomes at the bottleneck.
    """

    tiny = {"channels": [8, 8], "window": 64, "hop": 16, "condition_dim": 8}

    def __init__(
        self,
        visual_dim: int = 512,
        channels: Tuple[int, ...] = (32, 64, 128, 256, 384, 384),
        blocks: int = 1,
        window: int = 2048,
        hop: int = 256,
        condition_dim: int = 384,
    ):
        super().__init__()
        if window // 2 % 2 ** len(channels):
            raise ValueError(
                f"window={window}: half of it must be a multiple of 2 ** "
                f"{len(channels)}, the number of levels."
            )
        if not 0 < hop <= window // 2:
            raise ValueError(
                f"hop={hop}: must be at most half of the window, {window}."
            )
        self.visual_dim = visual_dim
        self.window, self.hop = window, hop
        self.levels = len(channels)
        self.bottleneck_dim = channels[-1]
        self.input_norm = SourceBatchNorm2d(window // 2)  # statistics of each row
        self.first = nn.Conv2d(1, channels[0], kernel_size=1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        inputs = channels[0]
        for width in channels:
            self.down.append(_blocks(inputs, width, blocks))
            inputs = width
        self.bottom = _blocks(inputs, inputs, blocks)
        self.condition = nn.Linear(visual_dim, condition_dim)
        inputs += condition_dim
        for width in reversed(channels):
            self.up.append(
                nn.ModuleDict(
                    {
                        "grow": nn.ConvTranspose2d(inputs, width, 2, stride=2),
                        "blocks": _blocks(2 * width, width, blocks),
                    }
                )
            )
            inputs = width
        self.last = nn.Conv2d(inputs, 4, kernel_size=1)

    @classmethod
    def small_conf(cls, conf: Mapping[str, Any]) -> Dict[str, Any]:
        """See AbsSeparator.small_conf; a quarter of the window, for it is slow."""
        return {**super().small_conf(conf), "window": conf["window"] // 4}

    def forward(self, mixture: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsWaveSeparator.forward."""
        self.check_visual(visual)
        device = mixture.device.type
        # The analysis is in float32 always.
        window = torch.hann_window(self.window, device=mixture.device)
        with torch.autocast(device, enabled=False):
            spectrum = torch.stft(
                mixture.float(),
                self.window,
                self.hop,
                window=window,
                pad_mode="constant",
                return_complex=True,
            )[:, :-1]  # (B, F, T)
            magnitude = spectrum.abs()
        maps, bottleneck = self._network(magnitude, visual)
        with torch.autocast(device, enabled=False):
            estimate = decouple(spectrum[:, None], maps.float())  # (B, N, F, T)
            tracks = torch.istft(
                F.pad(estimate.flatten(0, 1), (0, 0, 0, 1)),
                self.window,
                self.hop,
                window=window,
                length=mixture.size(-1),
            )
        return tracks.unflatten(0, visual.shape[:2]), bottleneck

    def _network(self, magnitude: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """Maps (B, N, 4, F, T) of magnitudes (B, F, T), and the bottleneck."""
        num_sources = visual.size(1)
        x = self.input_norm(magnitude.to(self.first.weight.dtype)[..., None])
        x, (_, num_frames) = pad_to_multiple(x[..., 0][:, None], 2**self.levels)
        x = self.first(x)
        skips: List[Tensor] = []
        for blocks in self.down:
            skips.append(blocks(x))
            x = F.avg_pool2d(skips[-1], 2)
        x = self.bottom(x)
        bottleneck = x.mean(dim=(-2, -1))

        def repeat(x: Tensor) -> Tensor:
            """(B, C, F, T) of the mixtures -> (B * N, C, F, T) of the sources."""
            return x[:, None].expand(-1, num_sources, -1, -1, -1).flatten(0, 1)

        condition = self.condition(visual).flatten(0, 1)[..., None, None]
        x = torch.cat([repeat(x), condition.expand(-1, -1, *x.shape[-2:])], dim=1)
        for level, skip in zip(self.up, reversed(skips), strict=True):
            x = level["blocks"](torch.cat([level["grow"](x), repeat(skip)], dim=1))
        maps = self.last(x)[..., :num_frames]
        return maps.unflatten(0, visual.shape[:2]), bottleneck


def decouple(spectrum: Tensor, maps: Tensor) -> Tensor:
    """Estimate of a source from the mixture's spectrum and the network's four maps.

    Args:
        spectrum: Complex, (..., F, T).
        maps: (..., 4, F, T): logits of m, then p_r, p_i and q; see the class.

    Returns:
        Complex, (..., F, T).
    """
    m, real, imaginary, q = maps.unbind(dim=-3)
    magnitude = F.relu(m.sigmoid() * spectrum.abs() + q)
    turn = torch.complex(real, imaginary)
    turn = turn / torch.sqrt(real.square() + imaginary.square() + _EPS)
    size = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + _EPS)
    return magnitude * (spectrum / size) * turn


class _ResidualBlock(nn.Module):
    """Two pre-activated 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norms = nn.ModuleList([_norm(inputs), _norm(outputs)])
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.Conv2d(outputs, outputs, 3, padding=1),
            ]
        )
        self.shortcut: Optional[nn.Module] = None
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.leaky_relu(norm(y), 0.01))
        return y + (x if self.shortcut is None else self.shortcut(x))


def _blocks(inputs: int, outputs: int, number: int) -> nn.Sequential:
    sizes = [inputs] + [outputs] * number
    return nn.Sequential(
        *(_ResidualBlock(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
    )


def _norm(channels: int) -> nn.GroupNorm:
    """GroupNorm, so that the sources of a batch do not depend on one another."""
    groups = next(n for n in (8, 4, 2, 1) if channels % n == 0)
    return nn.GroupNorm(groups, channels)
