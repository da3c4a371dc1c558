"""Motion features of a clip: rows of a Kaldi matrix, uniform over its duration."""

from typing import List, Optional, Tuple

import numpy as np

from espnet2_avsep.data.segment_reader import matrix_shape, read_rows
from espnet2_avsep.errors import InputError

ALIGNMENTS = ("whole", "segment")
# Of optical flow: a point's path is the sum of all steps, none of which is left out.
ALL_STEPS = 1 << 18


def read_motion(
    ref: str, max_steps: int = 160, span: Optional[Tuple[int, int]] = None
) -> np.ndarray:
    """Read motion features, no more than max_steps of them.

    Args:
        ref: The matrix, (S, D).
        max_steps: Of more rows, this many are taken, evenly spread. (iQuery's and
            DGFNet's number, at one a second.)
        span: Rows [first, last) that are wanted; None takes all.

    Returns:
        (S', D), float32.

    Raises:
        InputError: it cannot be read, is no matrix, or has no rows.
    """
    shape = matrix_shape(ref)
    if len(shape) != 2 or 0 in shape:
        raise InputError(
            f"{ref}: motion features have the shape {shape}; a matrix (steps, D) with "
            "a row at least was expected. Run stages 2 and 4 again."
        )
    return read_rows(ref, choose_steps(*(span or (0, shape[0])), max_steps))


def choose_steps(first: int, last: int, max_steps: int) -> List[int]:
    """Return the rows [first, last), or ``max_steps`` of them, evenly spread."""
    number = min(last - first, max_steps)
    return [first + (2 * n + 1) * (last - first) // (2 * number) for n in range(number)]
