"""What every system without training offers."""

from abc import ABC, abstractmethod
from typing import Optional

import numpy as np


class AbsBaseline(ABC):
    """Magnitude of a mixture -> one mask per source, without anything learnt before.

    Attributes:
        knows_order: Whether mask i belongs to source i. Where it does not, outputs have
            to be assigned to sources afterwards.
        needs_references: Whether the true sources are looked at (an upper bound, not a
            system).
        num_sources: Sources of a mixture, where it gives a fixed number; None: any.
    """

    knows_order = False
    needs_references = False
    num_sources: Optional[int] = None

    @abstractmethod
    def masks(
        self,
        mixture: np.ndarray,
        num_sources: int,
        sample_rate: int,
        references: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """Return the masks of a mixture.

        Args:
            mixture: Magnitude (F, T).
            num_sources: N.
            sample_rate: In Hz; row f of a linear axis is at
                f / (F - 1) * sample_rate / 2.
            references: Magnitudes of the sources, (N, F, T), where needs_references.

        Returns:
            (N, F, T), not negative.

        Raises:
            ValueError: a number of sources that the method cannot give.
        """
