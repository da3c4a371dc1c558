"""Sampling-rate conversion of a signal that comes in pieces."""

import numpy as np

from espnet2_avsep.errors import InputError

# In Hz. Below, nothing is music; above, no converter samples.
RATES = (1000, 768000)


def check_rate(fs: float, what: str) -> int:
    """Return a sampling rate as an integer.

    Args:
        fs: In Hz.
        what: Whose rate, for the message.

    Raises:
        InputError: it is no whole number of Hz, or out of range.
    """
    low, high = RATES
    whole = isinstance(fs, (int, np.integer)) and not isinstance(fs, bool)
    if not whole and not (isinstance(fs, float) and fs.is_integer()):
        raise InputError(f"{what}: fs={fs!r}; expected a whole number of Hz.")
    if not low <= fs <= high:
        raise InputError(f"{what}: fs={fs} Hz; expected {low} to {high} Hz.")
    return int(fs)


class Resampler:
    """Converts pieces (C, n) to another rate with soxr's high quality setting.

    The filter is of linear phase and its delay is taken out: the result begins with the
    signal. The result does not depend on the pieces.

    Args:
        source: Rate of what comes in Hz.
        target: Rate of the result in Hz.
    """

    def __init__(self, source: int, target: int):
        self.source, self.target = source, target
        self._stream = None

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Convert a piece (C, n); ``last`` lets the end of the filter out."""
        if self.source == self.target:
            return samples
        if self._stream is None:
            import soxr

            self._stream = soxr.ResampleStream(
                self.source, self.target, len(samples), dtype="float32", quality="HQ"
            )
        piece = np.ascontiguousarray(samples.T, dtype=np.float32)
        return self._stream.resample_chunk(piece, last=last).T


def resample_whole(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Convert a whole signal (C, n)."""
    return Resampler(source, target)(samples, last=True)
