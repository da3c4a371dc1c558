"""A spectrogram of a recording of any length, with the columns of a picture."""

from typing import Iterable, Optional

import numpy as np

N_FFT = 1024
COLUMNS = 800
# Frames that are transformed at once.
_BATCH = 512


def pooled_spectrogram(
    blocks: Iterable[np.ndarray], length: int, columns: int = COLUMNS
) -> np.ndarray:
    """Return magnitudes of a recording, each column the largest of its frames.

    Args:
        blocks: (C, n) each; the mean of the channels is looked at.
        length: Samples of all blocks together, as far as is known.
        columns: Largest number of columns.

    Returns:
        (N_FFT / 2 + 1, columns or less) float32; a sine of full scale has 1.
    """
    hop = N_FFT // 2
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    number = max(1, -(-max(length, 1) // hop))
    columns = min(columns, number)
    picture = np.zeros((columns, N_FFT // 2 + 1), np.float32)
    rest: Optional[np.ndarray] = np.zeros(hop, np.float32)
    done = 0

    def take(samples: np.ndarray, done: int) -> int:
        frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::hop]
        for begin in range(0, len(frames), _BATCH):
            part = frames[begin : begin + _BATCH]
            magnitude = np.abs(np.fft.rfft(part * window)).astype(np.float32)
            at = (done + np.arange(len(part))) * columns // number
            at, first = np.unique(np.minimum(at, columns - 1), return_index=True)
            largest = np.maximum.reduceat(magnitude, first)
            picture[at] = np.maximum(picture[at], largest)
            done += len(part)
        return done

    for block in blocks:
        samples = np.concatenate([rest, block.mean(axis=0)])
        if len(samples) >= N_FFT:
            count = (len(samples) - N_FFT) // hop + 1
            done = take(samples[: (count - 1) * hop + N_FFT], done)
            samples = samples[count * hop :]
        rest = samples
    take(np.concatenate([rest, np.zeros(N_FFT - len(rest) % hop, np.float32)]), done)
    return picture.T * 2 / window.sum()
