"""Robust PCA: a low-rank part and a sparse part of the spectrogram.

Huang et al., "Singing-Voice Separation from Monaural Recordings Using Robust Principal
Component Analysis", ICASSP 2012, with the inexact augmented Lagrange multipliers of Lin
et al., "The Augmented Lagrange Multiplier Method for Exact Recovery of Corrupted
Low-Rank Matrices", 2010. What repeats (accompaniment) is of low rank, what does not
(voice) is sparse; for two like instruments that is hardly a criterion.

Notes:
    lambda = 1 / sqrt(max(F, T)) as in the paper. The paper's penalty parameters are
    kept; the tolerance and the soft mask (the paper: a binary one) are ours.
    There are two parts, so two sources. Which is which is not known.
"""

from typing import Optional, Tuple

import numpy as np

from espnet2_avsep.baseline.abs_baseline import AbsBaseline


class RPCA(AbsBaseline):
    """See the module.

    Args:
        tolerance: Of the residual's norm, as a share of the matrix's.
        max_iterations: Where to stop at the latest.
        binary: Whether each bin goes to the greater part whole.
    """

    num_sources = 2

    def __init__(
        self, tolerance: float = 1e-6, max_iterations: int = 200, binary: bool = False
    ):
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.binary = binary

    def masks(
        self,
        mixture: np.ndarray,
        num_sources: int,
        sample_rate: int,
        references: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """Shares of the low-rank and of the sparse part, in this order."""
        if num_sources != self.num_sources:
            raise ValueError(
                f"RPCA has a low-rank and a sparse part, but {num_sources} sources "
                "are asked for; it needs exactly 2 sources."
            )
        parts = np.abs(
            robust_pca(
                mixture.astype(np.float64),
                1 / np.sqrt(max(mixture.shape)),
                self.tolerance,
                self.max_iterations,
            )
        )
        if self.binary:
            first = parts[0] >= parts[1]
            return np.stack([first, ~first]).astype(mixture.dtype)
        share = parts / (parts.sum(axis=0) + np.finfo(np.float64).tiny)
        return share.astype(mixture.dtype)


def robust_pca(
    matrix: np.ndarray,
    weight: float,
    tolerance: float = 1e-7,
    max_iterations: int = 1000,
) -> Tuple[np.ndarray, np.ndarray]:
    """Minimise |L|_* + weight |S|_1 subject to L + S = matrix.

    Args:
        matrix: (F, T).
        weight: Of the sparse part.
        tolerance: Of |matrix - L - S|_F / |matrix|_F.
        max_iterations: Where to stop at the latest.

    Returns:
        L and S, each (F, T).
    """
    size = np.linalg.norm(matrix)
    if size == 0:
        return np.zeros_like(matrix), np.zeros_like(matrix)
    spectral = np.linalg.norm(matrix, 2)
    multiplier = matrix / max(spectral, np.abs(matrix).max() / weight)
    penalty = 1.25 / spectral
    most = penalty * 1e7
    low_rank = np.zeros_like(matrix)
    for _ in range(max_iterations):
        rest = matrix - low_rank + multiplier / penalty
        sparse = np.sign(rest) * np.maximum(np.abs(rest) - weight / penalty, 0)
        u, s, v = np.linalg.svd(
            matrix - sparse + multiplier / penalty, full_matrices=False
        )
        kept = np.maximum(s - 1 / penalty, 0)
        rank = int((kept > 0).sum())
        low_rank = (u[:, :rank] * kept[:rank]) @ v[:rank]
        residual = matrix - low_rank - sparse
        multiplier = multiplier + penalty * residual
        penalty = min(1.5 * penalty, most)
        if np.linalg.norm(residual) < tolerance * size:
            break
    return low_rank, sparse
