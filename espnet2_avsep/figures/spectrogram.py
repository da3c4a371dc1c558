"""Spectrograms and masks as small pictures, straight from the sounds.

They are drawn from the files that were scored, not from what a network has inside, so
that every system is shown alike, also one that knows no masks.
"""

import io
import math
from typing import Dict, List, NamedTuple, Sequence

import numpy as np

from espnet2_avsep.data.tables.scp import PathLike, write_file

N_FFT, HOP, ROWS = 1024, 256, 256
DYNAMIC_RANGE_DB = 60
# The most columns of a picture; longer sounds are drawn with the loudest of several.
COLUMNS = 512
# Where the mixture has less than this share of its peak, no mask is drawn.
_FLOOR = 10 ** (-DYNAMIC_RANGE_DB / 20)
_TICKS = (100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100_000)
# From dark to light, evenly in lightness; the levels between are interpolated.
_COLOURS = (
    (4, 4, 20),
    (40, 16, 90),
    (112, 30, 126),
    (184, 54, 118),
    (240, 98, 92),
    (254, 168, 118),
    (252, 252, 200),
)


class Canvas(NamedTuple):
    """What all pictures of one mixture share.

    Attributes:
        mixture: Magnitudes (ROWS, T).
        peak: Its maximum, which is 0 dB; positive.
    """

    mixture: np.ndarray
    peak: float


def magnitudes(audio: np.ndarray) -> np.ndarray:
    """Magnitude spectrogram with the log-frequency axis that the networks see.

    Args:
        audio: (L,).

    Returns:
        (ROWS, T), lowest frequency first.
    """
    import torch

    window = torch.hann_window(N_FFT)
    wav = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
    spectrum = torch.stft(
        wav, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True
    )
    return log_rows(spectrum.abs().numpy(), ROWS)


def log_rows(magnitude: np.ndarray, number: int) -> np.ndarray:
    """Return a spectrogram (F, T) on the log-frequency axis, (number, T)."""
    import torch

    from espnet2_avsep.dsp.log_frequency import LogFrequencyWarp

    warp = LogFrequencyWarp(len(magnitude), number)
    return warp(torch.from_numpy(np.ascontiguousarray(magnitude))).numpy()


def ticks(nyquist: float) -> Dict[str, float]:
    """Return the labels of a log-frequency axis: label -> share of its height.

    Args:
        nyquist: Its upper end in Hz.
    """
    found = {}
    for hertz in (*_TICKS, nyquist):
        share = log_share(hertz / nyquist)
        if hertz == nyquist or 0.15 < share < 0.85:
            unit = f"{hertz / 1000:.3g} kHz" if hertz >= 1000 else f"{hertz} Hz"
            found[unit] = share
    return found


def log_share(share: float) -> float:
    """Return the place of a frequency on the axis of LogFrequencyWarp, 0 to 1.

    Args:
        share: Of half the sampling rate.
    """
    return math.log(1 + 20 * share) / math.log(21)


def rows_of(frequencies: Sequence[float], fs: int, num_rows: int) -> List[float]:
    """Return the row (not rounded) of a log-frequency spectrogram of each frequency.

    Args:
        frequencies: In Hz, from 0 to fs / 2.
        fs: Sampling rate in Hz.
        num_rows: Rows of the spectrogram.
    """
    return [log_share(hertz / (fs / 2)) * (num_rows - 1) for hertz in frequencies]


def canvas(mixture: np.ndarray) -> Canvas:
    """Return what the pictures of a mixture (ROWS, T) are drawn on."""
    return Canvas(mixture, max(float(mixture.max()), 1e-10))


def decibels(
    magnitude: np.ndarray, peak: float, dynamic_range_db: float = DYNAMIC_RANGE_DB
) -> np.ndarray:
    """Return magnitudes in dB re a peak, at least minus the dynamic range."""
    floor = 10 ** (-dynamic_range_db / 20)
    return 20 * np.log10(np.maximum(magnitude / peak, floor))


def levels(magnitude: np.ndarray, shared: Canvas) -> np.ndarray:
    """Return levels in dB below the mixture's peak, as [0, 1], (ROWS, T)."""
    return np.minimum(1 + decibels(magnitude, shared.peak) / DYNAMIC_RANGE_DB, 1)


def mask(estimate: np.ndarray, shared: Canvas) -> np.ndarray:
    """Return what share of the mixture an estimate has, [0, 1], (ROWS, T).

    Zero where the mixture lies further below its peak than the pictures' range.
    """
    length = min(estimate.shape[1], shared.mixture.shape[1])
    mixture = shared.mixture[:, :length]
    share = estimate[:, :length] / np.maximum(mixture, _FLOOR * shared.peak)
    return np.where(mixture < _FLOOR * shared.peak, 0, np.clip(share, 0, 1))


def write_picture(
    path: PathLike, values: np.ndarray, grey: bool = False, columns: int = COLUMNS
) -> int:
    """Write values as a PNG; the same values give the same bytes.

    Args:
        path: The file.
        values: (ROWS, T) in [0, 1], lowest frequency first.
        grey: Black to white instead of the colours of levels.
        columns: The most columns; of more, the largest of several is drawn.

    Returns:
        Number of bytes.
    """
    from PIL import Image

    step = -(-values.shape[1] // columns)
    padding = -values.shape[1] % step
    padded = np.pad(values, ((0, 0), (0, padding)))
    pooled = padded.reshape(len(values), -1, step).max(axis=2)
    image = Image.fromarray(np.rint(pooled[::-1] * 255).astype(np.uint8))
    if not grey:
        place = np.linspace(0, 255, len(_COLOURS))
        red, green, blue = (
            np.interp(np.arange(256), place, [colour[n] for colour in _COLOURS])
            for n in range(3)
        )
        palette = np.stack([red, green, blue], axis=1)
        image = image.convert("P")
        image.putpalette(np.rint(palette).astype(np.uint8).tobytes())
    content = io.BytesIO()
    # Four times faster than level 9, for 1 % more bytes.
    image.save(content, "PNG", compress_level=6)
    write_file(path, content.getvalue())
    return len(content.getvalue())
