"""Where frequencies lie on the separators' log-frequency axis."""

import math
from typing import List, Sequence


def rows_of(frequencies: Sequence[float], fs: int, num_rows: int) -> List[float]:
    """Return the row (not rounded) at which each frequency lies; see LogFrequencyWarp.

    Args:
        frequencies: In Hz, from 0 to fs / 2.
        fs: Sampling rate in Hz.
        num_rows: Rows of the log-frequency spectrogram.
    """
    rows = []
    for frequency in frequencies:
        x = 2 * frequency / (fs / 2) - 1
        y = 2 * math.log(10 * x + 11) / math.log(21) - 1
        rows.append((y + 1) / 2 * (num_rows - 1))
    return rows
