"""Audio fingerprints: hashes of pairs of spectral peaks.

They do not depend on the level, the codec or the first sample of a recording.

Avery Wang, "An Industrial-Strength Audio Search Algorithm", ISMIR 2003: the peaks of a
spectrogram are taken in pairs, and a pair's two frequencies and their distance in time
make one hash. Two recordings of which one is a copy share many hashes at one and the
same distance in time; others share few, at distances that do not agree.

Notes:
    The peaks are those of the rise of the level in dB over time, so that they stand at
    the beginnings of notes: within a held note the highest value is anywhere.
"""

from typing import Tuple

import torch
from torch.nn.functional import max_pool2d

N_FFT = 1024
HOP = 256
# A peak is the highest value within this many bins and frames to each side.
_BINS, _FRAMES = 12, 10
# Frames over which the level must rise, and the least rise in dB.
_LAG, _LEAST_RISE = 3, 3.0
# What lies further below the loudest bin of the recording is no peak.
_RANGE_DB = 40.0
# A peak is paired with the next few peaks, so far away at the most.
FAN_OUT = 4
_MAX_BINS, _MAX_FRAMES = 63, 63
# Frames that are one step of a hash's distance in time.
_STEP = 2
HASH_BITS = 10 + 7 + 5
# Frames that are worked on at a time.
_BLOCK = 4096


def peak_hashes(audio: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Compute the hashes of a recording.

    Args:
        audio: Mono, (L,), float32.

    Returns:
        Hashes (n,), int64, below 2**HASH_BITS, and the frame at which each begins (n,),
        int64, in units of HOP samples; sorted by frame, then by hash. A recording
        shorter than N_FFT has none.
    """
    bins, frames = peaks(audio)
    n = len(frames)
    hashes, starts = [], []
    # Peaks are sorted by time: the k-th next ones, all anchors at once. More than
    # FAN_OUT are looked at, since some are too far away in frequency.
    taken = torch.zeros(n, dtype=torch.long)
    for k in range(1, min(4 * FAN_OUT, n)):
        gap = frames[k:] - frames[:-k]
        rise = bins[k:] - bins[:-k]
        near = (gap > 0) & (gap <= _MAX_FRAMES) & (rise.abs() <= _MAX_BINS)
        near &= taken[:-k] < FAN_OUT
        taken[:-k] += near
        first, gap, rise = bins[:-k][near], gap[near], rise[near] + _MAX_BINS
        hashes.append((first << 12) | (rise << 5) | (gap // _STEP))
        starts.append(frames[:-k][near])
    if not hashes:
        nothing = torch.zeros(0, dtype=torch.long)
        return nothing, nothing
    joint = torch.cat(starts) << HASH_BITS | torch.cat(hashes)
    joint = torch.unique(joint, sorted=True)
    return joint & ((1 << HASH_BITS) - 1), joint >> HASH_BITS


def peaks(audio: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Find where notes begin in a spectrogram; memory does not grow with its length.

    Args:
        audio: (L,), float32.

    Returns:
        Bins (n,) and frames (n,), int64, sorted by frame, then by bin.
    """
    count = max((len(audio) - N_FFT) // HOP + 1, 0)
    blocks = range(0, count, _BLOCK)
    loudest = max(
        (float(_spectrum(audio, b, min(b + _BLOCK, count)).max()) for b in blocks),
        default=0.0,
    )
    floor = max(loudest * 10 ** (-_RANGE_DB / 20), 1e-12)
    bins, frames = [], []
    for begin in blocks:
        # What a peak in the block depends on lies in these frames.
        first = max(begin - _FRAMES - _LAG, 0)
        end = min(begin + _BLOCK, count)
        level = _spectrum(audio, first, min(end + _FRAMES, count)).clamp_min(floor)
        level = 20 * torch.log10(level)
        rise = torch.zeros_like(level)
        rise[:, _LAG:] = level[:, _LAG:] - level[:, :-_LAG]
        if first:
            rise = rise[:, _LAG:]
            first += _LAG
        highest = max_pool2d(rise[None], (2 * _BINS + 1, 1), 1, (_BINS, 0))
        highest = max_pool2d(highest, (1, 2 * _FRAMES + 1), 1, (0, _FRAMES))[0]
        found = (rise == highest) & (rise >= _LEAST_RISE)
        frame, bin_ = torch.nonzero(found.T, as_tuple=True)
        own = (frame + first >= begin) & (frame + first < end)
        bins.append(bin_[own])
        frames.append(frame[own] + first)
    if not bins:
        nothing = torch.zeros(0, dtype=torch.long)
        return nothing, nothing
    return torch.cat(bins), torch.cat(frames)


def _spectrum(audio: torch.Tensor, begin: int, end: int) -> torch.Tensor:
    """Magnitudes of some frames, (F, end - begin)."""
    piece = audio[begin * HOP : (end - 1) * HOP + N_FFT].float()
    window = torch.hann_window(N_FFT)
    return torch.stft(
        piece, N_FFT, HOP, window=window, center=False, return_complex=True
    ).abs()
