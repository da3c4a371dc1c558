import math

import pytest

from espnet2_avsep.metrics.score_table import (
    METRICS,
    OK,
    SILENT,
    SKIPPED,
    ScoreRow,
    finish,
)
from espnet2_avsep.metrics.seeds import average_seeds


def table(sdr, skip=()):
    """Rows of len(sdr) / 2 mixtures; the mixtures themselves have 1 dB."""
    rows = []
    for n, value in enumerate(sdr):
        row = ScoreRow(f"m{n // 2}", n % 2 + 1, f"clip{n}", "tuba")
        for metric in METRICS:
            setattr(row, metric, float(value))
            setattr(row, f"{metric}_mix", 1.0)
        row.reason = "silent" if n in skip else ""
        finish(row)
        rows.append(row)
    return rows


def test_each_source_is_averaged_over_the_seeds():
    rows = average_seeds(
        [table([1, 2, 3, 4]), table([3, 2, 9, 0]), table([5, 2, 0, 2])]
    )
    assert [row.sdr for row in rows] == [3, 2, 4, 2]
    assert [row.sdr_i for row in rows] == [2, 1, 3, 1]
    assert {row.sdr_mix for row in rows} == {1} and {row.status for row in rows} == {OK}
    assert [row.clip for row in rows] == [f"clip{n}" for n in range(4)]


def test_a_source_that_one_seed_lacks_is_skipped():
    rows = average_seeds([table([1, 2]), table([3, 4], skip=[1])])
    assert [row.status for row in rows] == [OK, SKIPPED]
    assert rows[1].reason == "silent" and math.isnan(rows[1].sdr)


def test_leakage_of_a_silent_source_is_averaged():
    tables = []
    for value in (-10.0, -20.0):
        rows = table([1, 2])
        rows[1] = ScoreRow("m0", 2, "clip1", "tuba", leakage=value)
        finish(rows[1])
        tables.append(rows)
    rows = average_seeds(tables)
    assert [row.status for row in rows] == [OK, SILENT]
    assert rows[1].leakage == -15 and math.isnan(rows[1].sdr)


def test_one_seed_is_its_own_mean():
    rows = table([1, 2, 3, 4], skip=[2])
    assert [(r.sdr, r.status) for r in average_seeds([rows]) if r.status == OK] == [
        (r.sdr, r.status) for r in rows if r.status == OK
    ]


def test_seeds_of_other_sources_are_refused():
    with pytest.raises(ValueError, match="different sources"):
        average_seeds([table([1, 2]), table([1, 2, 3, 4])])
