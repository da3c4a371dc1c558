"""Scale-invariant signal to distortion ratio.

Jonathan Le Roux, Scott Wisdom, Hakan Erdogan and John R. Hershey, "SDR - half-baked or
well done?", ICASSP 2019: one gain instead of BSS Eval's filter of 512 taps, so that an
equaliser counts as distortion.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

# Residuals below the rounding error of float64 are not told apart.
LIMIT_DB = -20 * math.log10(np.finfo(np.float64).eps)


def si_sdr(
    references: ArrayLike, estimates: ArrayLike, zero_mean: bool = False
) -> np.ndarray:
    """SI-SDR of estimates, limited to +-``LIMIT_DB`` (313 dB).

    Args:
        references: Source waveforms, (..., L): arrays, or tensors on the CPU.
        estimates: Waveforms of a shape that broadcasts with it.
        zero_mean: Whether to take the means away first, as some toolkits do. The paper
            does not.

    Returns:
        Scores in dB, float64, (...).

    Raises:
        ValueError: a silent signal, NaN or infinity.
    """
    references = np.asarray(references, dtype=np.float64)
    estimates = np.asarray(estimates, dtype=np.float64)
    if zero_mean:
        references = references - references.mean(-1, keepdims=True)
        estimates = estimates - estimates.mean(-1, keepdims=True)
    for name, signals in (("reference", references), ("estimate", estimates)):
        norm = np.linalg.norm(signals, axis=-1)
        if not np.isfinite(norm).all():
            raise ValueError(f"a {name} holds NaN or infinite samples.")
        if (norm == 0).any():
            raise ValueError(
                f"a {name} is silent{' but for its mean' if zero_mean else ''} (all "
                "samples are 0); SI-SDR is not defined."
            )
    gain = (estimates * references).sum(-1, keepdims=True)
    gain = gain / np.square(references).sum(-1, keepdims=True)
    target = gain * references
    residual = np.linalg.norm(estimates - target, axis=-1)
    with np.errstate(divide="ignore"):
        ratio = 20 * np.log10(np.linalg.norm(target, axis=-1) / residual)
    return np.clip(ratio, -LIMIT_DB, LIMIT_DB)
