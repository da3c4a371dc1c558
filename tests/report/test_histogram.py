import re

import numpy as np
import pytest

from espnet2_avsep.report.histogram import Histogram, draw, histogram


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


@pytest.mark.parametrize("counts", [[1, 4, 2], [0, 0]])
def test_bars_are_as_tall_as_their_counts(counts):
    edges = [float(n) for n in range(len(counts) + 1)]
    drawn = draw(Histogram(edges, counts), 'a <"title">', "s")
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"><title>', drawn)]
    scale = max(heights) / max(*counts, 1)
    assert heights == pytest.approx([scale * c for c in counts], abs=0.1)
    assert "&lt;" in drawn and '<"title">' not in drawn
