"""Speed perturbation: a segment is played faster and higher, or slower and lower."""

import math
from fractions import Fraction
from typing import Sequence, Tuple

import numpy as np

from espnet2_avsep.errors import InputError, shown

# Factors are rounded to fractions with denominators up to this: small filters.
_LARGEST_DENOMINATOR = 100


def parse_speed_factors(value: Sequence[float]) -> Tuple[Fraction, ...]:
    """Check the option ``speed_factors``.

    Args:
        value: Numbers from 0.5 to 2, one of them at most 1, so that a clip of one
            segment has one that it is long enough for.

    Returns:
        The factors, ascending, as fractions with denominators up to 100.

    Raises:
        InputError: a value of another kind, an empty list, numbers out of range.
    """
    numbers = value if isinstance(value, (list, tuple)) else []
    plain = all(type(number) in (int, float) for number in numbers)
    if not numbers or not plain or not all(0.5 <= number <= 2 for number in numbers):
        raise InputError(
            f"speed_factors is {shown(value)}; expected a list of numbers from 0.5 to "
            "2, for example [0.9, 1.0, 1.1]."
        )
    factors = [Fraction(n).limit_denominator(_LARGEST_DENOMINATOR) for n in numbers]
    if min(factors) > 1:
        raise InputError(
            f"speed_factors is {shown(value)}; one of them must be at most 1: a clip "
            "as long as a segment is too short for the others."
        )
    return tuple(sorted(factors))


def samples_to_read(factor: Fraction, num: int) -> int:
    """Return how many samples of a clip become ``num`` samples by change_speed()."""
    return math.ceil(num * factor)


def change_speed(samples: np.ndarray, factor: Fraction, num: int) -> np.ndarray:
    """Change the speed of sound by resampling: tempo and pitch by the same factor.

    As in Ko et al., Audio augmentation for speech recognition, Interspeech 2015.

    Args:
        samples: Shape (samples_to_read(factor, num),), float32.
        factor: 1.1 is 10 % faster and higher.
        num: Number of samples L that are returned.

    Returns:
        Shape (L,), float32.
    """
    if factor == 1:
        return samples[:num]
    from scipy.signal import resample_poly

    changed = resample_poly(samples, factor.denominator, factor.numerator)
    return np.ascontiguousarray(changed[:num], np.float32)
