"""Scores of single sources, and the tables that average them.

Every mean is taken over all scored sources of all mixtures, never over batches; what
was not scored is counted with its reason.
"""

import dataclasses
import math
import statistics
from collections import Counter
from typing import Dict, List, Sequence, Tuple

from espnet2_avsep.metrics.markdown import markdown_table

METRICS = ("sdr", "sir", "sar", "si_sdr")
TITLES = {
    "sdr": "SDR",
    "sir": "SIR",
    "sar": "SAR",
    "si_sdr": "SI-SDR",
    "sdr_i": "SDRi",
    "si_sdr_i": "SI-SDRi",
}
OK, SKIPPED, SILENT = "ok", "skipped", "silent"
# Least leakage into the track of a silent source; a track of zeros has it.
LEAKAGE_FLOOR_DB = -60.0
MIXTURE_SAR = (
    "The SAR of a mixture is no score: a mixture is the sum of the references, in "
    "which BSS Eval finds interference and no artifacts, so that its SAR is infinite "
    "but for rounding errors (about 240 dB)."
)
RESAMPLES = 10000


@dataclasses.dataclass
class ScoreRow:
    """Scores of one source of one mixture, in dB; NaN where there is none.

    The reason why a row was skipped reads "kind" or "kind: details". A source that is
    silent by intention has the status "silent" and one score, ``leakage``: the energy
    of its track relative to the mixture's.
    """

    mix_id: str
    source: int
    clip: str
    instrument: str
    sdr: float = math.nan
    sir: float = math.nan
    sar: float = math.nan
    si_sdr: float = math.nan
    sdr_mix: float = math.nan
    sir_mix: float = math.nan
    sar_mix: float = math.nan
    si_sdr_mix: float = math.nan
    sdr_i: float = math.nan
    si_sdr_i: float = math.nan
    status: str = SKIPPED
    reason: str = ""
    leakage: float = math.nan


LEAKAGE = "leakage"
COLUMNS = tuple(f.name for f in dataclasses.fields(ScoreRow) if f.name != LEAKAGE)
SCORES = tuple(
    f.name
    for f in dataclasses.fields(ScoreRow)
    if f.type is float and f.name != LEAKAGE
)


def finish(row: ScoreRow) -> None:
    """Fill in the improvements and the status of a row whose scores are known.

    A row that already has a reason stays skipped; one with a score that is not finite
    (mir_eval's SIR without any interference is +inf) becomes skipped, as no mean can
    hold it.
    """
    row.sdr_i = row.sdr - row.sdr_mix
    row.si_sdr_i = row.si_sdr - row.si_sdr_mix
    if row.reason:
        return
    if math.isfinite(row.leakage):
        row.status = SILENT
        return
    wrong = [
        f"{name}={getattr(row, name)}"
        for name in SCORES
        if not math.isfinite(getattr(row, name))
    ]
    row.reason = f"score not finite: {', '.join(wrong)}" if wrong else ""
    row.status = SKIPPED if wrong else OK


def count_reasons(reasons: Sequence[str]) -> Dict[str, int]:
    """Count reasons by their kind (what stands before ": "), most frequent first."""
    counts = Counter(reason.split(": ", 1)[0] for reason in reasons)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclasses.dataclass
class Summary:
    """What one table of scores says.

    Attributes:
        mixtures: Number of mixtures in the list.
        mixtures_scored: Mixtures of which at least one source was scored.
        sources: Rows of the table.
        scored: Rows with status "ok"; all means are over these.
        skipped: Number of skipped rows for each kind of reason.
        silent: Rows with status "silent", sources that are silent by intention.
        leakage: Mean of their leakage, dB; NaN where there are none.
        leakage_interval: Its 95 % bootstrap interval; mixtures are drawn.
        mean: Mean of each column of scores.
        interval: 95 % bootstrap interval of each mean; mixtures are drawn.
        instruments: For each instrument, its number of scored and of skipped sources,
            and the means of its columns; silent sources are in neither.
    """

    mixtures: int
    mixtures_scored: int
    sources: int
    scored: int
    skipped: Dict[str, int]
    mean: Dict[str, float]
    interval: Dict[str, Tuple[float, float]]
    instruments: Dict[str, Tuple[int, int, Dict[str, float]]]
    silent: int = 0
    leakage: float = math.nan
    leakage_interval: Tuple[float, float] = (math.nan, math.nan)

    @property
    def num_skipped(self) -> int:
        """Rows that were to be scored, and were not."""
        return self.sources - self.scored - self.silent


def summarise(
    rows: Sequence[ScoreRow], resamples: int = RESAMPLES, seed: int = 0
) -> Summary:
    """Average rows; see :class:`Summary`."""
    scored = [row for row in rows if row.status == OK]
    silent = [row for row in rows if row.status == SILENT]
    instruments = {}
    for name, own in sorted(_by_instrument(rows).items()):
        good = [row for row in own if row.status == OK]
        number = sum(row.status != SILENT for row in own)
        instruments[name] = (len(good), number - len(good), _means(good))
    return Summary(
        mixtures=len({row.mix_id for row in rows}),
        mixtures_scored=len({row.mix_id for row in scored}),
        sources=len(rows),
        scored=len(scored),
        skipped=count_reasons([row.reason for row in rows if row.status == SKIPPED]),
        mean=_means(scored),
        interval=_intervals(scored, SCORES, resamples, seed),
        instruments=instruments,
        silent=len(silent),
        leakage=_mean(silent, LEAKAGE),
        leakage_interval=_intervals(silent, [LEAKAGE], resamples, seed)[LEAKAGE],
    )


def instrument_intervals(
    rows: Sequence[ScoreRow], column: str, resamples: int = RESAMPLES, seed: int = 0
) -> Dict[str, Tuple[float, float, float]]:
    """Mean of a column for each instrument, with its 95 % bootstrap interval.

    Args:
        rows: Rows of one table; those that are not scored are left out.
        column: One of SCORES.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Instrument -> (mean, low, high); NaN bounds where it is in a single mixture.
    """
    scored = [row for row in rows if row.status == OK]
    return {
        name: (_mean(own, column), *_intervals(own, [column], resamples, seed)[column])
        for name, own in sorted(_by_instrument(scored).items())
    }


def _by_instrument(rows: Sequence[ScoreRow]) -> Dict[str, List[ScoreRow]]:
    found: Dict[str, List[ScoreRow]] = {}
    for row in rows:
        found.setdefault(row.instrument, []).append(row)
    return found


def _means(rows: Sequence[ScoreRow]) -> Dict[str, float]:
    return {name: _mean(rows, name) for name in SCORES}


def _mean(rows: Sequence[ScoreRow], column: str) -> float:
    return statistics.fmean(getattr(r, column) for r in rows) if rows else math.nan


def _intervals(
    rows: Sequence[ScoreRow], columns: Sequence[str], resamples: int, seed: int
) -> Dict[str, Tuple[float, float]]:
    """Return the 95 % bootstrap interval of each column's mean; NaN without rows."""
    if not rows:
        return dict.fromkeys(columns, (math.nan, math.nan))
    from espnet2_avsep.metrics.bootstrap import bootstrap_interval

    values = [[getattr(row, name) for name in columns] for row in rows]
    groups = [row.mix_id for row in rows]
    bounds = bootstrap_interval(values, groups, 0.95, resamples, seed)
    pairs = zip(*(bound.tolist() for bound in bounds), strict=True)
    return dict(zip(columns, pairs, strict=True))


def score_table(summary: Summary) -> str:
    """Markdown of :func:`score_lines`."""
    return markdown_table(score_lines(summary))


def score_lines(summary: Summary) -> List[List[str]]:
    """A header, the mixture's means, the estimates' with intervals, improvements."""

    def with_interval(name: str) -> str:
        low, high = summary.interval[name]
        if not math.isfinite(low):
            return decibel(summary.mean[name])
        return f"{decibel(summary.mean[name])} [{decibel(low)}, {decibel(high)}]"

    return [
        ["mean, dB [95 % interval]"] + [TITLES[name] for name in METRICS],
        ["mixture"] + [decibel(summary.mean[f"{name}_mix"]) for name in METRICS],
        ["estimate"] + [with_interval(name) for name in METRICS],
        ["improvement"]
        + [
            with_interval(f"{name}_i") if f"{name}_i" in summary.mean else ""
            for name in METRICS
        ],
    ]


def leakage_line(summary: Summary) -> str:
    """Say how much leaks into the tracks of silent sources; "" where there are none."""
    if not summary.silent:
        return ""
    low, high = summary.leakage_interval
    interval = f" [{decibel(low)}, {decibel(high)}]" if math.isfinite(low) else ""
    return (
        f"Silent sources: {summary.silent}. Energy of their tracks relative to the "
        f"mixture: {decibel(summary.leakage)}{interval} dB (mean; lower is better; "
        f"at least {LEAKAGE_FLOOR_DB:g} dB, which a track of zeros has)."
    )


def instrument_table(summary: Summary) -> str:
    """Markdown of :func:`instrument_lines`."""
    return markdown_table(instrument_lines(summary))


def instrument_lines(summary: Summary) -> List[List[str]]:
    """A header, then means of estimates and SDR of mixtures for each instrument."""
    lines = [
        ["instrument", "scored", "skipped", "SDR of mixture"]
        + [TITLES[name] for name in METRICS]
        + [TITLES["sdr_i"]]
    ]
    for name, (scored, skipped, mean) in summary.instruments.items():
        means = [mean[column] for column in ("sdr_mix", *METRICS, "sdr_i")]
        lines.append([name, str(scored), str(skipped)] + [decibel(x) for x in means])
    return lines


def skip_lines(summary: Summary, title: str) -> List[List[str]]:
    """A header with a title, then each reason with its number of sources."""
    return [
        [title, "sources"],
        *([reason, str(number)] for reason, number in summary.skipped.items()),
    ]


def decibel(value: float) -> str:
    """Two decimals, or "n/a"."""
    return f"{value:.2f}" if math.isfinite(value) else "n/a"
