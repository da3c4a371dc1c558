"""Histograms, curves and intervals as the shapes of an SVG.

Places along the x axis are in percent of the plot's width, along the y axis in pixels:
a figure is as wide as its place on the page, and its text keeps its size. Colours come
from the page.
"""

import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

_TOP, _PLOT, _TICK, _UNIT = 10, 130, 18, 38
_STEPS = (1, 2, 2.5, 5, 10)
# Wanted bins of a histogram; there may be up to 2.5 times as many.
_BINS = 16
# How many series can be told apart; further ones look like the first again.
_STYLES = 6


class Shape(NamedTuple):
    """An element of an SVG.

    Attributes:
        tag: Its name.
        attributes: Its attributes.
        text: Shown.
        title: Shown where it is pointed at.
    """

    tag: str
    attributes: Dict[str, Any]
    text: str = ""
    title: str = ""


class Figure(NamedTuple):
    """A picture with its caption.

    Attributes:
        title: Read out instead of it.
        caption: Below it.
        height: In pixels.
        shapes: What it is drawn with.
        legend: Number of a series, which has its colour -> its name.
        margin: Whether labels stand to the left of the plot.
    """

    title: str
    caption: str
    height: int
    shapes: List[Shape]
    legend: Mapping[int, str] = {}
    margin: bool = True


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


class Interval(NamedTuple):
    """A mean with its interval; NaN bounds: there is none."""

    mean: float
    low: float
    high: float


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


def histogram_figure(found: Histogram, caption: str, unit: str) -> Figure:
    """Draw a histogram; what lies outside of it is added to the caption."""
    top, floor = max([*found.counts, 1]), _TOP + _PLOT
    low, high = found.edges[0], found.edges[-1]
    shapes = []
    for begin, end, count in zip(
        found.edges, found.edges[1:], found.counts, strict=False
    ):
        tall = _PLOT * count / top
        place = {"x": _percent(begin, low, high), "y": _pixels(floor - tall)}
        size = {"width": _percent(end - begin, 0, high - low), "height": _pixels(tall)}
        title = f"{begin:g} to {end:g} {unit}: {count}"
        shapes.append(Shape("rect", {**place, **size, "class": "bar"}, title=title))
    shapes += [_line(0, floor, 100, floor, "axis"), _line(0, _TOP, 0, floor, "axis")]
    ticks = found.edges[:: max(1, math.ceil(len(found.edges) / 5))]
    shapes += _x_axis({tick: f"{tick:g}" for tick in ticks}, low, high, floor, unit)
    shapes += [_text(-1, _TOP + 5, str(top), "end"), _text(-1, floor, "0", "end")]
    outside = []
    if found.below:
        outside.append(f"{found.below} below {low:g} {unit}")
    if found.above:
        outside.append(f"{found.above} above {high:g} {unit}")
    missing = f". Not drawn: {', '.join(outside)}" if outside else ""
    return Figure(caption, caption + missing, floor + _UNIT + 6, shapes)


def line_figure(
    series: Mapping[str, Mapping[int, float]], title: str, caption: str
) -> Figure:
    """Draw lines over epochs.

    Args:
        series: Name -> epoch -> value; values that are not finite are left out. A
            series without any takes a place among the colours, and is not drawn.
        title: Read out instead of the picture.
        caption: Below it.
    """
    lines = {
        name: {x: y for x, y in values.items() if math.isfinite(y)}
        for name, values in series.items()
    }
    xs = sorted({x for values in lines.values() for x in values}) or [0]
    ys = [y for values in lines.values() for y in values.values()] or [0.0]
    ticks, floor = _ticks(min(ys), max(ys)), _TOP + _PLOT
    last = max(xs[-1], xs[0] + 1)

    def height(y: float) -> float:
        return floor - _PLOT * (y - ticks[0]) / (ticks[-1] - ticks[0])

    shapes = []
    for tick in ticks:
        shapes.append(_line(0, height(tick), 100, height(tick), "grid"))
        shapes.append(_text(-1, height(tick) + 5, f"{tick:g}", "end"))
    labels = {x: str(x) for x in xs[:: max(1, math.ceil(len(xs) / 5))]}
    shapes += _x_axis(labels, xs[0], last, floor, "epoch")
    for n, (name, values) in enumerate(lines.items()):
        points = [
            (100 * (x - xs[0]) / (last - xs[0]), height(y), f"{name}, epoch {x}: {y:g}")
            for x, y in sorted(values.items())
        ]
        for (x1, y1, _), (x2, y2, _) in zip(points, points[1:], strict=False):
            shapes.append(_line(x1, y1, x2, y2, f"line s{n % _STYLES}"))
        shapes += [_mark(n, x, y, words) for x, y, words in points]
    legend = {n: name for n, (name, values) in enumerate(lines.items()) if values}
    return Figure(title, caption, floor + _UNIT + 6, shapes, legend)


def interval_figure(
    rows: Mapping[str, Mapping[str, Interval]],
    systems: Sequence[str],
    title: str,
    caption: str,
    unit: str,
) -> Figure:
    """Draw a row of means with intervals below each label, one mark a system.

    Args:
        rows: Label -> system -> mean and interval.
        systems: In which order.
        title: Read out instead of the picture.
        caption: Below it.
        unit: Of the values.
    """
    bounds = [
        value
        for marks in rows.values()
        for interval in marks.values()
        for value in interval
        if math.isfinite(value)
    ]
    ticks = _ticks(min([0.0, *bounds]), max([0.0, *bounds]))
    tall = 26 + 15 * len(systems)
    floor = _TOP + tall * len(rows)

    def across(value: float) -> float:
        return 100 * (value - ticks[0]) / (ticks[-1] - ticks[0])

    shapes = [
        _line(across(x), _TOP, across(x), floor, "grid" if x else "axis") for x in ticks
    ]
    labels = {tick: f"{tick:g}" for tick in ticks}
    shapes += _x_axis(labels, ticks[0], ticks[-1], floor, unit)
    for place, (label, marks) in enumerate(rows.items()):
        top = _TOP + tall * place + 16
        shapes.append(_text(0, top, label, "halo"))
        for n, name in enumerate(systems):
            if name not in marks or not math.isfinite(marks[name].mean):
                continue
            mean, low, high = marks[name]
            y = top + 12 + 15 * n
            words = f"{label}, {name}: {mean:.2f}"
            if math.isfinite(low):
                line = _line(across(low), y, across(high), y, f"line s{n % _STYLES}")
                shapes.append(line)
                words += f" [{low:.2f}, {high:.2f}]"
            shapes.append(_mark(n, across(mean), y, words))
    legend = dict(enumerate(systems)) if len(systems) > 1 else {}
    return Figure(title, caption, floor + _UNIT + 6, shapes, legend, margin=False)


def round_step(step: float) -> float:
    """Return the next round number from a step upwards; 1 for none."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * s for s in _STEPS if power * s >= step * (1 - 1e-9))


def _ticks(low: float, high: float) -> List[float]:
    """Round numbers from below the least value to above the greatest."""
    step = round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def _x_axis(
    labels: Mapping[float, str], low: float, high: float, floor: float, unit: str
) -> List[Shape]:
    texts = [
        _text(100 * (value - low) / (high - low), floor + _TICK, text, "mid")
        for value, text in labels.items()
    ]
    return [*texts, _text(50, floor + _UNIT, unit, "mid")]


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"


def _pixels(value: float) -> str:
    return f"{value:.1f}"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Shape:
    ends = {"x1": f"{x1:.2f}%", "y1": _pixels(y1), "x2": f"{x2:.2f}%"}
    return Shape("line", {**ends, "y2": _pixels(y2), "class": kind})


def _text(x: float, y: float, words: str, kind: str) -> Shape:
    return Shape("text", {"x": f"{x:.2f}%", "y": _pixels(y), "class": kind}, words)


def _mark(n: int, x: float, y: float, words: str) -> Shape:
    """A mark whose form tells the series apart, too."""
    kind = {"class": f"mark s{n % _STYLES}"}
    if n % 3 == 0:
        place = {"cx": f"{x:.2f}%", "cy": _pixels(y), "r": 4}
        return Shape("circle", {**place, **kind}, title=words)
    kind["class"] += " diamond" if n % 3 == 2 else ""
    place = {"x": f"{x:.2f}%", "y": _pixels(y), "width": 8, "height": 8}
    return Shape("rect", {**place, **kind}, title=words)
