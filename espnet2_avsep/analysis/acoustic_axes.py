"""Two axes that instruments lie on: how transient, and how rich in harmonics.

Hu et al., "Audio-Visual Separation with Hierarchical Fusion and Representation
Alignment", BMVC 2025, appendix A1 (figure 1).

Notes:
    The harmonic component ratio is read as sum(E_i / i) / sum(E_i) over the harmonics
    i = 1 ... 8: the appendix prints a fraction. It is 1 where all the energy is in the
    fundamental, so that harmonic complexity, 1 minus it, lies between 0 and 7 / 8 and
    grows with the share of high harmonics; weights i would make it negative.
    The paper says neither how E_i is measured nor of which part of a video. Here E_i
    is the power of the spectrogram within a quarter tone of i * f0 (or within the main
    lobe of the window, where that is wider), averaged over the voiced frames.
    Harmonics above half the sampling rate have no energy.
"""

import functools
from typing import NamedTuple, Sequence

import numpy as np

from espnet2_avsep.environment import compiling_alone

NUM_HARMONICS = 8
FRAME_LENGTH = 2048
_QUARTER_TONE = 2 ** (1 / 24) - 1
# Half the main lobe of a Hann window, in bins.
_MAIN_LOBE = 2.0


class ClipAxes(NamedTuple):
    """Where a clip lies.

    Attributes:
        amplitude_ratio: max|x| / rms(x); sqrt(2) of a sine.
        harmonic_complexity: 1 - HCR; NaN where no frame is voiced.
        voiced: Share of frames that have a pitch.
    """

    amplitude_ratio: float
    harmonic_complexity: float
    voiced: float


def amplitude_ratio(wave: np.ndarray) -> float:
    """Return max|x| / rms(x) of a sound (L,), its crest factor.

    Raises:
        ValueError: all samples are 0, or there are none.
    """
    wave = np.asarray(wave, dtype=np.float64)
    peak = np.abs(wave).max(initial=0.0)
    if peak == 0:
        raise ValueError("a silent sound has no amplitude ratio.")
    return float(1 / np.sqrt(np.mean((wave / peak) ** 2)))


def harmonic_component_ratio(energies: np.ndarray) -> float:
    """Return sum(E_i / i) / sum(E_i) of the energies of the harmonics 1, 2, ... (n,).

    Raises:
        ValueError: a negative energy, or no energy at all.
    """
    energies = np.asarray(energies, dtype=np.float64)
    if (energies < 0).any() or not energies.sum() > 0:
        raise ValueError("energies must not be negative, and not all be 0.")
    numbers = np.arange(1, len(energies) + 1)
    return float((energies / numbers).sum() / energies.sum())


def harmonic_energies(
    power: np.ndarray, f0: np.ndarray, fs: int, count: int = NUM_HARMONICS
) -> np.ndarray:
    """Sum the power about each harmonic, averaged over the frames.

    Args:
        power: Power spectrogram with a Hann window, (F, T).
        f0: Fundamental of each frame in Hz, (T,).
        fs: Sampling rate in Hz.
        count: Number of harmonics.

    Returns:
        (count,).
    """
    resolution = fs / (2 * (len(power) - 1))  # Hz a bin
    bins = np.arange(len(power))[:, None]
    energies = np.zeros(count)
    for n in range(1, count + 1):
        place = n * f0 / resolution
        width = np.maximum(_MAIN_LOBE, _QUARTER_TONE * place)
        # A harmonic at or above half the rate would be an alias.
        inside = (np.abs(bins - place) <= width) & (n * f0 < fs / 2)
        energies[n - 1] = np.where(inside, power, 0.0).sum(axis=0).mean()
    return energies


@functools.cache
def _compile_pyin() -> None:
    """Let numba compile, or load, what pyin needs, once in a process."""
    with compiling_alone():
        import librosa

        silence = np.zeros(2 * FRAME_LENGTH)
        librosa.pyin(silence, fmin=65.4, fmax=2093.0, frame_length=FRAME_LENGTH)


def clip_axes(
    segments: Sequence[np.ndarray], fs: int, fmin: float = 65.4, fmax: float = 2093.0
) -> ClipAxes:
    """Measure a clip by its segments.

    Args:
        segments: Sounds (L,), none of them silent.
        fs: Sampling rate in Hz.
        fmin: Lowest pitch that is looked for in Hz (C2).
        fmax: Highest (C7).

    Returns:
        The mean of the segments' amplitude ratios; the harmonic complexity of the
        energies averaged over all voiced frames.
    """
    _compile_pyin()
    import librosa

    hop = FRAME_LENGTH // 4
    total, voiced, frames = np.zeros(NUM_HARMONICS), 0, 0
    for wave in segments:
        f0, is_voiced, _ = librosa.pyin(
            np.asarray(wave, dtype=np.float64),
            fmin=fmin,
            fmax=fmax,
            sr=fs,
            frame_length=FRAME_LENGTH,
            hop_length=hop,
        )
        frames += len(f0)
        if not is_voiced.any():
            continue
        power = np.abs(librosa.stft(wave, n_fft=FRAME_LENGTH, hop_length=hop)) ** 2
        number = int(is_voiced.sum())
        voiced += number
        chosen = power[:, is_voiced], f0[is_voiced]
        total += number * harmonic_energies(*chosen, fs)
    complexity = float("nan")
    if total.sum() > 0:
        complexity = 1 - harmonic_component_ratio(total)
    ratio = float(np.mean([amplitude_ratio(wave) for wave in segments]))
    return ClipAxes(ratio, complexity, voiced / frames if frames else 0.0)
