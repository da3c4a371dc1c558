"""Principal components, to draw embeddings in a plane."""

from typing import Tuple

import numpy as np


def principal_components(x: np.ndarray, count: int = 2) -> Tuple[np.ndarray, float]:
    """Project points on the directions in which they vary most.

    Signs are fixed: of each direction the greatest entry is positive.

    Args:
        x: Points, (n, D).
        count: How many directions, at most min(n, D).

    Returns:
        The centred points' coordinates, (n, count), and the share of the variance that
        these directions hold (1 where there is no variance).
    """
    centred = np.asarray(x, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    _, size, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:count]
    greatest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), greatest])
    total = (size**2).sum()
    share = float((size[:count] ** 2).sum() / total) if total > 0 else 1.0
    return centred @ (directions * signs[:, None]).T, share
