"""Magnitudes on the separators' log-frequency axis, and where its frequencies lie."""

import math
from typing import List, Sequence

import numpy as np


class LogSpectrogram:
    """Waveform -> log-frequency magnitude, with a Hann window and centred frames.

    Args:
        fs: Sampling rate in Hz.
        n_fft: Samples of a frame.
        hop_length: Samples between frames.
        num_log_bins: Rows of the result.
    """

    def __init__(
        self,
        fs: int,
        n_fft: int = 1024,
        hop_length: int = 256,
        num_log_bins: int = 256,
    ):
        from espnet2_avsep.dsp.log_frequency import LogFrequencyWarp

        self.fs = fs
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.num_log_bins = num_log_bins
        self.warp = LogFrequencyWarp(n_fft // 2 + 1, num_log_bins)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Transform (L,) into (num_log_bins, T), the lowest frequency first."""
        import torch

        spectrum = torch.stft(
            torch.from_numpy(np.asarray(wave, dtype=np.float32)),
            self.n_fft,
            self.hop_length,
            window=torch.hann_window(self.n_fft),
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        return self.warp(spectrum.abs()).numpy()

    def rows_of(self, frequencies: Sequence[float]) -> List[float]:
        """Return the row (not rounded) at which each frequency in Hz lies."""
        rows = []
        for frequency in frequencies:
            x = 2 * frequency / (self.fs / 2) - 1
            y = 2 * math.log(10 * x + 11) / math.log(21) - 1
            rows.append((y + 1) / 2 * (self.num_log_bins - 1))
        return rows
