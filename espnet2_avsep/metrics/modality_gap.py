"""Modality gap: how far apart two kinds of embeddings of the same clips lie.

Liang et al., "Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive
Representation Learning", NeurIPS 2022, as HFRA (BMVC 2025, eq. 9) uses it: the distance
between the means of the two sets, each embedding scaled to unit length before. It lies
between 0 and 2.
"""

from typing import Tuple

import numpy as np

from espnet2_avsep.metrics.bootstrap import drawn_counts, percentile_interval


def modality_gap(x: np.ndarray, y: np.ndarray) -> float:
    """Return the norm of (mean of unit x - mean of unit y).

    Args:
        x: Embeddings of one kind, (clips, D).
        y: Of the other kind, (clips, D).

    Raises:
        ValueError: widths that differ, no clip, or an embedding of length 0.
    """
    _check(x, y)
    return float(np.linalg.norm((_unit(x) - _unit(y)).mean(axis=0)))


def modality_gap_interval(
    x: np.ndarray,
    y: np.ndarray,
    level: float = 0.95,
    resamples: int = 10000,
    seed: int = 0,
) -> Tuple[float, float]:
    """Percentile bootstrap interval of the modality gap; clips are drawn.

    A distance cannot be negative, so near 0 the interval lies above the gap.

    Args:
        x: Embeddings of one kind, (clips, D).
        y: Of the other kind, row by row of the same clips.
        level: Coverage.
        resamples: Number of bootstrap gaps.
        seed: Of the resampling.

    Returns:
        Lower and upper bound; NaN for fewer than two clips.
    """
    _check(x, y)
    difference = _unit(x) - _unit(y)
    count = len(difference)
    if count < 2:
        return float("nan"), float("nan")
    gaps = [
        np.linalg.norm(drawn @ difference / count, axis=1)
        for drawn in drawn_counts(count, resamples, seed)
    ]
    low, high = percentile_interval(np.concatenate(gaps), level)
    return float(low), float(high)


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 2 or x.shape != y.shape or not len(x):
        raise ValueError(
            f"embeddings of the shapes {x.shape} and {y.shape}: expected the same "
            "clips, at least one, and the same width."
        )


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    if not (np.isfinite(norm).all() and (norm > 0).all()):
        raise ValueError("embeddings must be finite and not 0, to have a direction.")
    return x / norm
