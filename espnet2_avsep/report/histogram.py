"""Histograms, as numbers and as SVG without any library or style of its own."""

import math
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from espnet2_avsep.report.html import Html, element, escaped, join

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 520, 220, 60, 44, 12
_STEPS = (1, 2, 2.5, 5, 10)
# Number of bins wanted; there may be up to 2.5 times as many.
_BINS = 16


class Histogram(NamedTuple):
    """Counts of values.

    Attributes:
        edges: Ascending; bin i holds [edges[i], edges[i + 1]), the last its end too.
        counts: Values in each bin.
        below: Values below the first edge.
        above: Values above the last edge.
    """

    edges: List[float]
    counts: List[int]
    below: int = 0
    above: int = 0


def histogram(
    values: Sequence[float], low: Optional[float] = None, high: Optional[float] = None
) -> Histogram:
    """Count values in bins whose edges are round numbers.

    Where no range is given, values further away from the 0.5 % and 99.5 % quantiles
    than half of what lies between these are left out, so that a single outlier does not
    squeeze the rest; what lies outside is counted.

    Args:
        values: At least one; may hold infinities.
        low: Where the bins begin at the latest.
        high: Where they end at the earliest.
    """
    values = np.sort(np.asarray(values, dtype=np.float64))
    finite = values[np.isfinite(values)]
    if len(finite):
        ends = np.quantile(finite, [0.005, 0.995])
        margin = (ends[1] - ends[0]) / 2
        low = max(finite[0], ends[0] - margin) if low is None else low
        high = min(finite[-1], ends[1] + margin) if high is None else high
    low, high = float(low or 0), float(high or 0)
    step = round_step((high - low) / _BINS)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    edges = [n * step for n in range(first, last + 1)]
    counts, _ = np.histogram(finite, edges)
    return Histogram(
        edges,
        counts.tolist(),
        int(np.sum(values < edges[0])),
        int(np.sum(values > edges[-1])),
    )


def draw(found: Histogram, title: str, unit: str) -> Html:
    """Draw a histogram; its colours come from the page.

    Args:
        found: What to draw.
        title: Read out instead of the picture, and shown above the bar pointed at.
        unit: Of the values.
    """
    top = max([*found.counts, 1])
    low, high = found.edges[0], found.edges[-1]
    width, height = _WIDTH - _LEFT - 10, _HEIGHT - _BOTTOM - _TOP

    def x(value: float) -> float:
        return _LEFT + width * (value - low) / (high - low)

    parts = []
    for i, count in enumerate(found.counts):
        begin, end = found.edges[i : i + 2]
        tall = height * count / top
        words = f"{begin:g} to {end:g} {unit}: {count}"
        parts.append(
            Html(
                f'<rect x="{x(begin) + 0.5:.1f}" y="{_TOP + height - tall:.1f}" '
                f'width="{max(x(end) - x(begin) - 1, 1):.1f}" height="{tall:.1f}">'
                f"<title>{escaped(words)}</title></rect>"
            )
        )
    floor = _TOP + height
    parts.append(
        Html(f'<path d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - 10}" class="axis"/>')
    )
    ticks = found.edges[:: max(1, math.ceil(len(found.edges) / 6))]
    for tick in ticks:
        parts.append(
            Html(
                f'<text x="{x(tick):.1f}" y="{floor + 17}" class="mid">{tick:g}</text>'
            )
        )
    parts.append(
        Html(
            f'<text x="{_LEFT + width / 2:.0f}" y="{_HEIGHT - 4}" class="mid">'
            f"{escaped(unit)}</text>"
            f'<text x="{_LEFT - 5}" y="{_TOP + 11}" class="end">{top}</text>'
            f'<text x="{_LEFT - 5}" y="{floor}" class="end">0</text>'
        )
    )
    return element(
        "svg",
        join(parts),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=title,
    )


def round_step(step: float) -> float:
    """Return the next round number from a step upwards; 1 for none."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * s for s in _STEPS if power * s >= step * (1 - 1e-9))
