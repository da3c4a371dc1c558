import math

import numpy as np
import pytest

from espnet2_avsep.metrics.comparison import MIXTURE, compare
from espnet2_avsep.metrics.score_table import METRICS, ScoreRow, finish


def table(sdr, skip=(), instrument=("tuba", "harp")):
    """Rows of len(sdr) / 2 mixtures; the mixtures themselves have 1 dB."""
    rows = []
    for n, value in enumerate(sdr):
        name = instrument[n % 2]
        row = ScoreRow(f"m{n // 2}", n % 2 + 1, f"{name}-{n}", name)
        for metric in METRICS:
            setattr(row, metric, (2 if metric == "si_sdr" else 1) * value)
            setattr(row, f"{metric}_mix", 1.0)
        row.reason = "silent" if n in skip else ""
        finish(row)
        rows.append(row)
    return rows


def test_means_are_over_the_sources_that_all_have():
    a, b = table([4, 6, 8, 10], skip=[3]), table([1, 2, 3, 30], skip=[0])
    result = compare({"a": a, "b": b}, resamples=200)
    assert (result.common, result.mixtures, result.sources) == (2, 2, 4)
    assert result.mixed == 2
    assert result.scored == {"a": 3, "b": 3}
    assert result.mean["a"]["sdr"] == 7 and result.mean["b"]["sdr"] == 2.5
    assert result.mean["a"]["si_sdr"] == 14 and result.mean["a"]["sdr_i"] == 6
    assert result.mean[MIXTURE] == dict.fromkeys(METRICS, 1.0)
    sdr = next(d for d in result.differences if d.metric == "sdr")
    assert (sdr.first, sdr.second, sdr.mean) == ("a", "b", 4.5)
    si_sdr = next(d for d in result.differences if d.metric == "si_sdr")
    assert si_sdr.mean == 9.0
    # The interval excludes 0, whichever is the better one.
    assert sdr.is_clear and sdr.interval == pytest.approx((4, 5))
    (turned, _) = compare({"b": b, "a": a}, resamples=200).differences
    assert turned.is_clear and turned.interval == pytest.approx((-5, -4))
    count, means = result.instruments["tuba"]
    assert (count, means) == (1, {MIXTURE: 1, "a": 8, "b": 3})
    count, means = result.instruments["harp"]
    assert (count, means["a"]) == (1, 6)


def test_pairing_narrows_the_interval():
    """Systems that differ by a constant: scores scatter, the difference does not."""
    rng = np.random.default_rng(0)
    scores = rng.normal(5, 6, 60)
    result = compare({"a": table(scores + 0.5), "b": table(scores)}, resamples=500)
    difference = result.differences[0]
    assert difference.mean == pytest.approx(0.5)
    assert difference.interval == pytest.approx((0.5, 0.5)) and difference.is_clear
    low, high = result.interval["a"]["sdr"]
    assert high - low > 1
    noisy = compare(
        {"a": table(scores), "b": table(scores + rng.normal(0, 1, 60))}, resamples=500
    )
    low, high = noisy.differences[0].interval
    assert low < 0 < high and not noisy.differences[0].is_clear


def test_a_mixture_has_its_silent_sources_too():
    """In the table by number of sources, a set whose last source is silent."""
    silent = [ScoreRow(f"m{n}", 3, "oboe-0", "oboe", leakage=-20.0) for n in (0, 1)]
    for row in silent:
        finish(row)
    result = compare({"a": table([4, 6, 8, 10]) + silent}, resamples=10)
    assert (result.mixed, result.common, result.sources) == (3, 4, 6)


def test_one_system_alone():
    result = compare({"a": table([1, 2])}, resamples=10)
    assert result.differences == [] and math.isnan(result.interval["a"]["sdr"][0])


def test_tables_of_other_sources_are_refused():
    with pytest.raises(ValueError, match="table of b"):
        compare({"a": table([1, 2]), "b": table([1, 2, 3, 4])})
    with pytest.raises(ValueError, match="table of b"):
        compare({"a": table([1, 2]), "b": table([1, 2], instrument=("oboe", "harp"))})
    with pytest.raises(ValueError, match="no source"):
        compare({"a": table([1, 2], skip=[0]), "b": table([1, 2], skip=[1])})
