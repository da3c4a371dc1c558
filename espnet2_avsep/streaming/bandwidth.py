"""Tracks as bright as the recording: what lies above the model's band, shared by rule.

A model at 11 kHz separates what is below 5.5 kHz. Above it a source sounds mostly when
it sounds just below, and there the model's tracks tell how much of the mixture is its
own. So each moment's content above the band is given to the sources in proportion to
their amplitudes in the upper octave of the band,

    g_i(t) = (1 - r(t)) sqrt(E_i(t)) / (sqrt(E_1(t)) + ... + sqrt(E_N(t)))
    track_i(t) += g_i(t) * (mixture(t) - lowpass(mixture)(t))

where E_i is the energy of a track there, and lowpass() is resampling to the model's
rate and back. r is the share of the residual, what the tracks leave of the mixture::

    r(t) = min(E_rest(t) / (E_1(t) + ... + E_N(t) + E_rest(t)), the same of all
               frequencies of the model's band)

so that a network that leaves too much just below the edge does not darken its tracks.
Nothing is added below 0.9 of the model's band, and one gain for all frequencies causes
no musical noise.

Chosen by measurement (tests/benchmarks/README.md). Three other rules were tried: shares
of energies among the tracks and the residual, masks of the band below that matches
best, moved up, and Wiener masks of a nonnegative factorisation whose activations are
the envelopes of each source's lower bands.
"""

import numpy as np

from espnet2_avsep.streaming.chunked import ChunkedProcess, ChunkPlan

BANDWIDTHS = ("model", "full")
# Seconds of a frame, rounded to a power of two samples. Frames overlap by 3/4.
FRAME = 0.045
# Of the model's band, where the resampler passes everything and energies are compared.
BAND = (0.45, 0.91)
# Frames over which energies are averaged: this many to each side.
_SIDE = 1
# Of a chunk, in hops.
_CHUNK, _FADE = 64, 2
_OVERLAP = 4  # frame / hop


def extension(fs: int, model_fs: int) -> "Extension":
    """Return what extends the tracks of a model.

    Args:
        fs: Rate of recording and tracks in Hz.
        model_fs: That of the model, below ``fs``.
    """
    hop = max(1, 2 ** round(np.log2(FRAME * fs)) // _OVERLAP)
    return Extension(hop, tuple(edge * model_fs / (2 * fs) for edge in BAND))


class Extension:
    """Extends tracks that come in pieces; the pieces make no difference.

    The delay is at most 64 hops: 0.5 to 1 s, 0.74 s at 44.1 kHz.

    Args:
        hop: Of the frames in samples; these are 4 hops long.
        band: Edges of where energies are compared, in cycles per sample.
    """

    def __init__(self, hop: int, band: tuple):
        self.hop = hop
        frequency = np.fft.rfftfreq(_OVERLAP * hop)
        self._bins = frequency < band[1]
        self._edge = (frequency >= band[0])[self._bins]
        # Periodic Hann; four squares of it, a hop apart, add up to 1.5.
        phase = np.arange(_OVERLAP * hop) / (_OVERLAP * hop)
        self._window = np.sin(np.pi * phase).astype(np.float32) ** 2
        # A sample is in frames that begin up to 4 hops before and end as far behind;
        # so are the neighbours over which their energies are averaged.
        context = _OVERLAP + _SIDE
        plan = ChunkPlan(
            _CHUNK * hop, (2 * context + _FADE) * hop, _FADE * hop, hop=hop
        )
        self._chunked = ChunkedProcess(lambda chunk, _: self._extend(chunk), plan)
        self._shape = (0, 0)

    def feed(self, tracks: np.ndarray) -> list:
        """Take (N + 2, C, n): N tracks, the mixture at the model's band, the mixture.

        Returns:
            What is finished: arrays (N + 1, C, m), N tracks and the mixture.
        """
        self._shape = tracks.shape[:2]
        return list(self._chunked.feed(tracks.reshape(-1, tracks.shape[-1])))

    def finish(self) -> list:
        """Return what is left; the recording has ended."""
        return list(self._chunked.finish())

    def _extend(self, chunk: np.ndarray) -> np.ndarray:
        *tracks, low, mixture = chunk.reshape(*self._shape, -1)
        tracks = np.stack(tracks)
        gain = self._gains(np.concatenate([tracks, [low - tracks.sum(axis=0)]]))
        tracks += gain[:, None] * (mixture - low)
        return np.concatenate([tracks, mixture[None]])

    def _gains(self, parts: np.ndarray) -> np.ndarray:
        """Return the shares of what is above the band, (M - 1, n).

        Args:
            parts: The tracks and, last, what they leave of the mixture, (M, C, n).
        """
        samples, hop = parts.shape[-1], self.hop
        before = (_OVERLAP - 1) * hop
        parts = np.pad(parts, ((0, 0), (0, 0), (before, before + -samples % hop)))
        frames = np.lib.stride_tricks.sliding_window_view(parts, _OVERLAP * hop, -1)
        spectrum = np.fft.rfft(frames[..., ::hop, :] * self._window)[..., self._bins]
        # float64: squares of float32 overflow from 1e19 on.
        energy = np.square(np.abs(spectrum).astype(np.float64)).sum(axis=1)  # (M, T, F)
        whole = self._average(energy.sum(axis=-1))
        edge = self._average(energy[..., self._edge].sum(axis=-1))
        left = np.minimum(_shares(edge)[-1], _shares(whole)[-1])
        share = (1 - left) * _shares(np.sqrt(edge[:-1]))
        # Between frames: the sum of the windows' squares, weighted.
        weight = (self._window**2 / 1.5).reshape(_OVERLAP, hop)
        gain = np.zeros((len(share), parts.shape[-1] // hop, hop), np.float32)
        for part, row in enumerate(weight):
            gain[:, part : part + share.shape[-1]] += share[..., None] * row
        return gain.reshape(len(share), -1)[:, before : before + samples]

    @staticmethod
    def _average(energy: np.ndarray) -> np.ndarray:
        """Average (M, T) over neighbouring frames."""
        energy = np.pad(energy, ((0, 0), (_SIDE, _SIDE)), mode="edge")
        width = 2 * _SIDE + 1
        return np.lib.stride_tricks.sliding_window_view(energy, width, -1).mean(-1)


def _shares(parts: np.ndarray) -> np.ndarray:
    """Divide (M, T) by the sum over M; 0 where that is 0."""
    total = parts.sum(axis=0)
    return parts / np.where(total > 0, total, 1)
