"""Separation as the released programs do it: the yardstick of our own.

From the papers and the programs' structure: STFT; a log-frequency warp and its inverse
by grid_sample, on grids that NumPy makes for each mixture; the network in evaluation;
and for each source its own unwarped mask, product and inverse STFT. The programs call
librosa's STFT; here it is torch's, which is faster. The networks are those of
plain_released.py, the weights ours.
"""

import math
from types import MethodType
from typing import Any, Callable, Dict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from tests.benchmarks.plain_released import make_plain
from tests.benchmarks.reference_network import separate


def make_plain_network(model: nn.Module) -> None:
    """Let a model run the released network, in place; for HFRA once per source.

    Args:
        model: Of train_avsep_{hfra,clipsep_late,sound_of_pixels,iquery,dgfnet}_released
            (ESPnetAVSeparationModel).

    Raises:
        ValueError: options of another structure.
    """
    if getattr(model.separator, "middle_projection", None) is None:
        make_plain(model)
        return
    model.separator.to(memory_format=torch.contiguous_format)

    def forward(self: nn.Module, feature: Tensor, visual: Tensor) -> Any:
        padded, (bins, frames) = pad_to_multiple(feature, 2**self.layers)
        logits = separate(self, padded, visual)
        return logits[..., :bins, :frames], feature.new_zeros(())

    model.separator.forward = MethodType(forward, model.separator)


def plain_separation(
    model: nn.Module, mixture: Tensor, visual: Tensor, conditions: Dict[str, Tensor]
) -> Callable[[], Tensor]:
    """Return the separation of one mixture, waveform to waveforms.

    Args:
        model: After make_plain_network(); in evaluation.
        mixture: (1, L).
        visual: (1, N, V, D), or frames (1, N, V, 3, H, W).
        conditions: As of model.separate().

    Returns:
        A function without arguments that returns the tracks, (N, L).
    """
    stft = {"n_fft": model.encoder.n_fft, "hop_length": model.encoder.hop_length}
    stft["window"] = torch.hann_window(model.encoder.n_fft)
    padding = "constant" if model.stft_padding == "zeros" else "reflect"

    @torch.no_grad()
    def run() -> Tensor:
        spectrum = torch.stft(mixture[0], **stft, pad_mode=padding, return_complex=True)
        size, phase = spectrum.abs(), spectrum.angle()
        warped = _warp(model, size[None, None], model.warp.num_log, forward=True)
        embedding = model.visual_adapter(visual)
        feature = model._compress(warped)
        logits, _ = model.separator(feature, embedding, **conditions)
        tracks = []
        for mask in (model.mask_max * logits.sigmoid()).unbind(dim=1):
            linear = _warp(model, mask[:, None], len(size), forward=False)
            estimate = torch.polar(size * linear[0, 0], phase)
            tracks.append(torch.istft(estimate, **stft, length=mixture.size(1)))
        return torch.stack(tracks)

    return run


def _warp(model: nn.Module, x: Tensor, rows: int, forward: bool) -> Tensor:
    """Warp (B, 1, F, T) to ``rows`` rows, or back, on a grid made anew."""
    if model.warp.num_log is None:
        return x
    frames = x.size(-1)
    times, places = np.meshgrid(np.linspace(-1, 1, frames), np.linspace(-1, 1, rows))
    if forward:
        places = (np.power(21, (places + 1) / 2) - 11) / 10
    else:
        places = np.log(places * 10 + 11) / math.log(21) * 2 - 1
    grid = np.stack([times, places], axis=-1).astype(np.float32)
    grid = torch.from_numpy(grid).expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, align_corners=model.warp.align_corners)
