import re

import numpy as np
import pytest

from espnet2_avsep.figures.shapes import (
    Histogram,
    Interval,
    histogram,
    histogram_figure,
    interval_figure,
    line_figure,
)


def of(figure, tag, kind):
    """Attributes of the shapes of a tag and class, and what they are called."""
    return [
        (s.attributes, s.title or s.text)
        for s in figure.shapes
        if s.tag == tag and kind in s.attributes["class"].split()
    ]


def share(text):
    assert text.endswith("%")
    return float(text[:-1])


def test_every_value_is_counted_once():
    values = np.concatenate([np.random.default_rng(0).normal(60, 10, 5000), [1e6]])
    found = histogram(values)
    inside = sum(found.counts)
    assert inside + found.below + found.above == len(values)
    assert found.above == 1 and found.edges[-1] < 200
    edges = np.array(found.edges)
    expected = [
        np.sum((values >= a) & (values < b))
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    assert found.counts == expected
    assert 10 <= len(found.counts) <= 45


def test_equal_values_and_round_edges():
    found = histogram([10.0] * 7)
    assert found.edges == [10, 11] and found.counts == [7]
    found = histogram([0.0, 32.0])
    assert found.edges == list(range(0, 33, 2))
    assert found.counts[0] == found.counts[-1] == 1  # the last bin holds its end


def test_infinite_values_are_outside_of_a_given_range():
    found = histogram([-np.inf, -30.0, -70.0, 0.0], -60, 0)
    assert (found.below, found.above, sum(found.counts)) == (2, 0, 2)
    assert histogram([-np.inf]).below == 1
    assert "Not drawn: 2 below -60 dBFS" in histogram_figure(found, "x", "dBFS").caption


@pytest.mark.parametrize("counts", [[1, 4, 2], [0, 0]])
def test_bars_are_as_tall_as_their_counts(counts):
    edges = [float(n) for n in range(len(counts) + 1)]
    bars = of(histogram_figure(Histogram(edges, counts), "x", "s"), "rect", "bar")
    heights = [float(bar["height"]) for bar, _ in bars]
    scale = max(heights) / max(*counts, 1)
    assert heights == pytest.approx([scale * c for c in counts], abs=0.1)
    width = 100 / len(counts)
    assert [share(bar["x"]) for bar, _ in bars] == pytest.approx(
        [n * width for n in range(len(counts))], abs=0.01
    )
    assert {share(bar["width"]) for bar, _ in bars} == {round(width, 2)}
    assert bars[0][1] == f"0 to 1 s: {counts[0]}"


def test_curves_are_where_their_values_are():
    series = {"train": {1: 2.0, 2: 1.0, 3: 0.0}, "valid": {2: float("nan"), 3: 1.0}}
    figure = line_figure(series, "loss of x", "loss")
    first = of(figure, "circle", "s0")
    assert [share(mark["cx"]) for mark, _ in first] == [0, 50, 100]
    tops = [float(mark["cy"]) for mark, _ in first]
    assert tops[1] - tops[0] == pytest.approx(tops[2] - tops[1]) and tops[0] < tops[2]
    assert [words for _, words in first] == [
        *("train, epoch 1: 2", "train, epoch 2: 1", "train, epoch 3: 0")
    ]
    ((second, words),) = of(figure, "rect", "s1")
    assert float(second["y"]) == tops[1] and words == "valid, epoch 3: 1"
    assert len(of(figure, "line", "s0")) == 2 and not of(figure, "line", "s1")
    labels = {words: float(text["y"]) - 5 for text, words in of(figure, "text", "end")}
    assert labels["1"] == pytest.approx(tops[1])
    assert figure.legend == {0: "train", 1: "valid"}


def test_intervals_are_where_their_values_are():
    nan = float("nan")
    rows = {
        "tuba": {"a": Interval(2.0, 1.0, 4.0), "b": Interval(0.0, nan, nan)},
        "cello": {"a": Interval(nan, nan, nan)},
    }
    figure = interval_figure(rows, ["a", "b"], "t", "c", "dB")
    ticks = {w: share(t["x"]) for t, w in of(figure, "text", "mid") if w != "dB"}
    assert ticks["0"] == 0 and ticks["4"] == 100
    ((line, _),) = of(figure, "line", "s0")
    assert (share(line["x1"]), share(line["x2"])) == (25, 100)
    ((mark, words),) = of(figure, "circle", "s0")
    assert share(mark["cx"]) == 50 and words == "tuba, a: 2.00 [1.00, 4.00]"
    ((mark, words),) = of(figure, "rect", "s1")
    assert share(mark["x"]) == 0 and words == "tuba, b: 0.00"


def test_text_keeps_its_size_on_a_phone():
    """No figure scales with its width, as a viewBox would: labels stayed 10 px tall."""
    from pathlib import Path

    import espnet2_avsep.report as report

    folder = Path(report.__file__).parent / "templates"
    assert "viewBox" not in (folder / "macros.html").read_text()
    css = (folder / "page.css").read_text()
    sizes = re.findall(r"font(?:-size)?: ([\d.]+)(rem|px|em)", css)
    assert sizes
    for size, unit in sizes:
        assert float(size) * (1 if unit == "px" else 15) >= 13.5, (size, unit)
