import math

import pytest

from espnet2_avsep.metrics.score_table import (
    METRICS,
    ScoreRow,
    count_reasons,
    finish,
    instrument_table,
    score_table,
    summarise,
)


def row(mix_id, source, instrument, sdr, reason=""):
    """Return a finished row: scores of sdr, sdr + 1, ..., the mixture's -1, 1, ..."""
    scores = {name: sdr + n for n, name in enumerate(METRICS)}
    scores |= {f"{name}_mix": 2 * n - 1.0 for n, name in enumerate(METRICS)}
    made = ScoreRow(mix_id, source, "clip", instrument, **scores, reason=reason)
    finish(made)
    return made


@pytest.fixture
def summary():
    return summarise(
        [
            row("a", 1, "tuba", 4.0),
            row("a", 2, "harp", 6.0),
            row("b", 1, "harp", 8.0),
            row("b", 2, "tuba", math.nan, "silent estimate: somewhere"),
            row("c", 1, "oboe", math.inf),
            row("c", 2, "tuba", math.nan, "silent estimate: elsewhere"),
        ]
    )


def test_means_over_scored_sources(summary):
    assert (summary.mixtures, summary.mixtures_scored) == (3, 2)
    assert (summary.sources, summary.scored) == (6, 3)
    assert summary.mean["sdr"] == pytest.approx(6)
    assert summary.mean["si_sdr"] == pytest.approx(9)
    assert summary.mean["sdr_mix"] == pytest.approx(-1)
    assert summary.mean["sdr_i"] == pytest.approx(7)
    assert summary.interval["sdr"] == (pytest.approx(5), pytest.approx(8))


def test_what_is_not_finite_is_skipped_and_counted(summary):
    assert summary.skipped == {"silent estimate": 2, "score not finite": 1}
    infinite = row("c", 1, "oboe", math.inf)
    assert infinite.status == "skipped"
    assert infinite.reason.startswith("score not finite: sdr=inf, sir=inf")


def test_instruments(summary):
    assert list(summary.instruments) == ["harp", "oboe", "tuba"]
    assert summary.instruments["harp"][:2] == (2, 0)
    assert summary.instruments["harp"][2]["sdr"] == pytest.approx(7)
    assert summary.instruments["tuba"][:2] == (1, 2)
    assert summary.instruments["oboe"][:2] == (0, 1)


def test_tables(summary):
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in score_table(summary).splitlines()
    ]
    assert lines[0][1:] == ["SDR", "SIR", "SAR", "SI-SDR"]
    assert lines[2] == ["mixture", "-1.00", "1.00", "3.00", "5.00"]
    assert lines[3] == [
        *("estimate", "6.00 [5.00, 8.00]", "7.00 [6.00, 9.00]"),
        *("8.00 [7.00, 10.00]", "9.00 [8.00, 11.00]"),
    ]
    assert lines[4] == ["improvement", "7.00 [6.00, 9.00]", "", "", "4.00 [3.00, 6.00]"]
    table = instrument_table(summary)
    assert "| oboe       |      0 |       1 |            n/a |" in table
    head, _, harp, *_ = (line.replace(" ", "") for line in table.splitlines())
    assert head == "|instrument|scored|skipped|SDRofmixture|SDR|SIR|SAR|SI-SDR|SDRi|"
    assert harp == "|harp|2|0|-1.00|7.00|8.00|9.00|10.00|8.00|"


def test_nothing_scored():
    summary = summarise([row("a", 1, "tuba", math.nan, "too short: 3 samples")])
    assert summary.scored == 0
    assert math.isnan(summary.mean["sdr"])
    assert "n/a" in score_table(summary)


def test_reasons_are_counted_by_their_kind():
    reasons = ["a: x", "b", "b: y: z", "c", "c: v"]
    assert list(count_reasons(reasons).items()) == [("b", 2), ("c", 2), ("a", 1)]
