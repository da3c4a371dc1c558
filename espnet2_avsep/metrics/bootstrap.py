"""Confidence intervals of a mean score, by the bootstrap over mixtures.

Bradley Efron and Robert J. Tibshirani, "An Introduction to the Bootstrap", 1993,
section 13.3 (percentile interval). The sources of one mixture are scored on the same
sound and are not independent, so whole mixtures are drawn, each with all its sources.
"""

from typing import Hashable, Iterator, Sequence, Tuple, Union

import numpy as np


def bootstrap_interval(
    values: Union[np.ndarray, Sequence],
    groups: Sequence[Hashable],
    level: float = 0.95,
    resamples: int = 10000,
    seed: int = 0,
) -> Tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean over all rows.

    Args:
        values: Scores, (rows,) or (rows, metrics); the metrics share their resamples.
        groups: For each row, the mixture that it comes from.
        level: Coverage.
        resamples: Number of bootstrap means.
        seed: Of the resampling; the same values give the same interval.

    Returns:
        Lower and upper bounds, each () or (metrics,). They are NaN for fewer than two
        groups, of which nothing can be said.

    Raises:
        ValueError: no rows, lengths that differ, or values that are not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0 or len(values) != len(groups):
        raise ValueError(
            f"{len(values)} values and {len(groups)} groups; expected one group for "
            "each value, and at least one value."
        )
    if not np.isfinite(values).all():
        raise ValueError("values must be finite: leave out what could not be scored.")
    # Groups in order of first appearance; np.unique would want them to be sortable.
    number = {group: n for n, group in enumerate(dict.fromkeys(groups))}
    index = np.array([number[group] for group in groups])
    if len(number) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    rows = values.reshape(len(values), -1)
    sums = np.zeros((len(number), rows.shape[1]))
    np.add.at(sums, index, rows)
    sizes = np.bincount(index, minlength=len(number))

    means = [
        (drawn @ sums) / (drawn @ sizes)[:, None]
        for drawn in drawn_counts(len(number), resamples, seed)
    ]
    low, high = percentile_interval(np.concatenate(means), level)
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])


def drawn_counts(number: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw groups with replacement, as many as there are.

    Args:
        number: Of groups.
        resamples: How often all are drawn.
        seed: Of the draws.

    Yields:
        How often each group was drawn, of some resamples: (some, number).
    """
    rng = np.random.default_rng(seed)
    chance = np.full(number, 1 / number)
    chunk = max(1, 1_000_000 // number)
    for start in range(0, resamples, chunk):
        yield rng.multinomial(number, chance, size=min(chunk, resamples - start))


def percentile_interval(values: np.ndarray, level: float) -> np.ndarray:
    """Return low and high, (2, ...), between which a share of (n, ...) lies."""
    tail = (1 - level) / 2
    return np.quantile(values, [tail, 1 - tail], axis=0)
