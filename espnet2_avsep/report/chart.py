"""Lines and intervals as SVG without any library; colours come from the page."""

import math
from typing import List, Mapping, NamedTuple, Sequence, Tuple

from espnet2_avsep.report.histogram import round_step
from espnet2_avsep.report.html import Html, element, escaped, join

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 520, 240, 60, 44, 34
_LABELS, _LINE = 170, 17
# How many series can be told apart; further ones look like the first again.
_STYLES = 6


class Interval(NamedTuple):
    """A mean with its interval; NaN bounds: there is none."""

    mean: float
    low: float
    high: float


def line_chart(series: Mapping[str, Mapping[int, float]], title: str) -> Html:
    """Draw lines over whole numbers, e.g. epochs.

    Args:
        series: Name -> x -> value; values that are not finite are left out. A series
            without any takes a place among the colours, and is not drawn.
        title: Read out instead of the picture.
    """
    lines = {
        name: {x: y for x, y in values.items() if math.isfinite(y)}
        for name, values in series.items()
    }
    xs = sorted({x for values in lines.values() for x in values}) or [0]
    ys = [y for values in lines.values() for y in values.values()] or [0.0]
    ticks = _ticks(min(ys), max(ys))
    width, height = _WIDTH - _LEFT - 14, _HEIGHT - _BOTTOM - _TOP
    floor = _TOP + height

    def place(x: float, y: float) -> Tuple[float, float]:
        across = (x - xs[0]) / max(xs[-1] - xs[0], 1)
        up = (y - ticks[0]) / (ticks[-1] - ticks[0])
        return _LEFT + width * across, floor - height * up

    parts = []
    for tick in ticks:
        _, y = place(xs[0], tick)
        parts.append(_path(f"M{_LEFT} {y:.1f}H{_WIDTH - 14}", "grid"))
        parts.append(_text(_LEFT - 6, y + 5, f"{tick:g}", "end"))
    step = max(1, math.ceil(len(xs) / 6))
    for x in xs[::step]:
        parts.append(_text(place(x, ticks[0])[0], floor + 19, str(x), "mid"))
    parts.append(_text(_LEFT + width / 2, _HEIGHT - 4, "epoch", "mid"))
    for n, (name, values) in enumerate(lines.items()):
        if not values:
            continue
        points = [place(x, y) for x, y in sorted(values.items())]
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(_path(f"M{way}", f"line s{n % _STYLES}"))
        for (x, y), (epoch, value) in zip(points, sorted(values.items()), strict=True):
            parts.append(_mark(n, x, y, f"{name}, epoch {epoch}: {value:g}"))
        parts += _legend(n, _LEFT + 130 * n, name)
    return _svg(parts, _HEIGHT, title)


def interval_chart(
    rows: Mapping[str, Mapping[str, Interval]],
    systems: Sequence[str],
    title: str,
    unit: str,
) -> Html:
    """Draw a row of means with intervals for each label, one mark a system.

    Args:
        rows: Label -> system -> mean and interval.
        systems: In which order.
        title: Read out instead of the picture.
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
    legend = _LINE * (len(systems) if len(systems) > 1 else 0)
    tall = _LINE * len(systems) + 7
    height = legend + 10 + tall * len(rows) + _BOTTOM
    floor = height - _BOTTOM
    width = _WIDTH - _LABELS - 14

    def across(value: float) -> float:
        return _LABELS + width * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = []
    if legend:
        for n, name in enumerate(systems):
            parts += _legend(n, _LABELS, name, 14 + _LINE * n)
    for tick in ticks:
        kind = "axis" if tick == 0 else "grid"
        parts.append(_path(f"M{across(tick):.1f} {legend + 6}V{floor}", kind))
        parts.append(_text(across(tick), floor + 17, f"{tick:g}", "mid"))
    parts.append(_text(_LABELS + width / 2, height - 4, unit, "mid"))
    for place, (label, marks) in enumerate(rows.items()):
        top = legend + 10 + tall * place
        shown = label if len(label) <= 21 else f"{label[:20]}…"
        middle = top + _LINE * len(systems) / 2 + 5
        parts.append(_text(_LABELS - 8, middle, shown, "end"))
        for n, name in enumerate(systems):
            if name not in marks or not math.isfinite(marks[name].mean):
                continue
            mean, low, high = marks[name]
            y = top + _LINE * (n + 0.5)
            words = f"{label}, {name}: {mean:.2f}"
            if math.isfinite(low):
                way = f"M{across(low):.1f} {y:.1f}H{across(high):.1f}"
                parts.append(_path(way, f"line s{n % _STYLES}"))
                words += f" [{low:.2f}, {high:.2f}]"
            parts.append(_mark(n, across(mean), y, words))
    return _svg(parts, height, title)


def _ticks(low: float, high: float) -> List[float]:
    """Round numbers from below the least value to above the greatest."""
    step = round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def _legend(n: int, x: float, name: str, y: float = 16) -> List[Html]:
    return [
        _path(f"M{x:.0f} {y - 5:.0f}h22", f"line s{n % _STYLES}"),
        _mark(n, x + 11, y - 5, name),
        _text(x + 28, y, name, ""),
    ]


def _mark(n: int, x: float, y: float, words: str) -> Html:
    """A mark whose form tells the series apart, too."""
    title = f"<title>{escaped(words)}</title>"
    kind = f"mark s{n % _STYLES}"
    if n % 3 == 0:
        return Html(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{kind}">{title}</circle>'
        )
    if n % 3 == 1:
        way = f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8z"
    else:
        way = f"M{x:.1f} {y - 5:.1f}l5 9h-10z"
    return Html(f'<path d="{way}" class="{kind}">{title}</path>')


def _path(way: str, kind: str) -> Html:
    return Html(f'<path d="{way}" class="{kind}"/>')


def _text(x: float, y: float, words: str, kind: str) -> Html:
    return Html(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escaped(words)}</text>')


def _svg(parts: Sequence[Html], height: float, title: str) -> Html:
    box = f"0 0 {_WIDTH} {height:.0f}"
    return element("svg", join(parts), viewBox=box, role="img", aria_label=title)
