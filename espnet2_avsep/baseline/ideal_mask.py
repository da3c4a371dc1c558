"""Masks made from the true sources: what masking can reach at best.

They are the very targets that masks are trained towards (loss/binary_mask_bce.py,
loss/ratio_mask_l1.py), so applied to the mixture in the same way they bound what a
trained mask of that kind can reach in this time-frequency representation.
"""

from typing import Optional

import numpy as np

from espnet2_avsep.baseline.abs_baseline import AbsBaseline


class IdealBinaryMask(AbsBaseline):
    """1 where a source has more than a share of the mixture's magnitude, else 0.

    Args:
        threshold: The share.
    """

    knows_order = True
    needs_references = True

    def __init__(self, threshold: float = 0.5):
        self.threshold = threshold

    def masks(
        self,
        mixture: np.ndarray,
        num_sources: int,
        sample_rate: int,
        references: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """See AbsBaseline.masks."""
        return (references > self.threshold * mixture).astype(mixture.dtype)


class IdealRatioMask(AbsBaseline):
    """Quotient of a source's magnitude and the mixture's, up to a bound.

    Args:
        max_ratio: The bound. 5 is that of ratio masks (Co-Separation, DGFNet); with 1
            it is what a sigmoid can give.
        eps: Keeps the quotient finite where the mixture is silent.
    """

    knows_order = True
    needs_references = True

    def __init__(self, max_ratio: float = 5.0, eps: float = 1e-10):
        self.max_ratio = max_ratio
        self.eps = eps

    def masks(
        self,
        mixture: np.ndarray,
        num_sources: int,
        sample_rate: int,
        references: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """See AbsBaseline.masks."""
        return np.minimum(references / (mixture + self.eps), self.max_ratio)
