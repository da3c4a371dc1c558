"""Several systems on the same sources: means, paired differences, instruments.

Every number is over the sources that all systems were scored on, so that differences of
means are means of differences. What that leaves out is counted.
"""

import dataclasses
import itertools
import math
import statistics
from typing import Dict, List, Mapping, Sequence, Tuple

from espnet2_avsep.metrics.score_table import METRICS, OK, RESAMPLES, ScoreRow

MIXTURE = "mixture"
COLUMNS = (*METRICS, "sdr_i", "si_sdr_i")
Interval = Tuple[float, float]
_Key = Tuple[str, int]


@dataclasses.dataclass
class Difference:
    """Mean of (first - second) over the common sources, dB, with its 95 % interval."""

    first: str
    second: str
    metric: str
    mean: float
    interval: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        low, high = self.interval
        return low > 0 or high < 0


@dataclasses.dataclass
class Comparison:
    """What the tables of several systems say together.

    Attributes:
        systems: Their names, in the order given.
        keys: The sources that all of them were scored on: (mix_id, source).
        common: Their number.
        mixtures: Number of mixtures that these belong to.
        scored: System -> number of its own scored sources.
        sources: Number of sources listed.
        mixed: Number of sources of a mixture, silent and skipped ones among them.
        mean: System -> score -> mean in dB over the common sources; the mixture itself
            is among the systems, with its own METRICS.
        interval: As ``mean``: 95 % bootstrap intervals; mixtures are drawn.
        differences: Paired differences of each two systems, SDR and SI-SDR.
        instruments: Instrument -> (number of common sources, system -> mean SDR).
    """

    systems: List[str]
    keys: List[_Key]
    common: int
    mixtures: int
    scored: Dict[str, int]
    sources: int
    mixed: int
    mean: Dict[str, Dict[str, float]]
    interval: Dict[str, Dict[str, Interval]]
    differences: List[Difference]
    instruments: Dict[str, Tuple[int, Dict[str, float]]]


def compare(
    tables: Mapping[str, Sequence[ScoreRow]],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare systems that were scored on the same list of mixtures.

    Args:
        tables: System -> its rows.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: tables of different sources, or no source that all have a score of.
    """
    from espnet2_avsep.metrics.bootstrap import bootstrap_interval

    rows: Dict[str, Dict[_Key, ScoreRow]] = {
        name: {(row.mix_id, row.source): row for row in table}
        for name, table in tables.items()
    }
    first = next(iter(rows.values()))
    for name, table in rows.items():
        if table.keys() != first.keys() or any(
            table[key].clip != first[key].clip for key in first
        ):
            raise ValueError(f"the table of {name} lists other sources than the first.")
    keys = [
        key for key in first if all(table[key].status == OK for table in rows.values())
    ]
    if not keys:
        raise ValueError("no source was scored for all systems.")
    groups = [mix_id for mix_id, _ in keys]

    def interval(values: Sequence[float]) -> Interval:
        low, high = bootstrap_interval(values, groups, 0.95, resamples, seed)
        return float(low), float(high)

    values: Dict[str, Dict[str, List[float]]] = {
        MIXTURE: {m: [getattr(first[key], f"{m}_mix") for key in keys] for m in METRICS}
    }
    for name, table in rows.items():
        values[name] = {m: [getattr(table[key], m) for key in keys] for m in COLUMNS}
    differences = []
    for one, two in itertools.combinations(tables, 2):
        for metric in ("sdr", "si_sdr"):
            pairs = zip(values[one][metric], values[two][metric], strict=True)
            gap = [a - b for a, b in pairs]
            differences.append(
                Difference(one, two, metric, statistics.fmean(gap), interval(gap))
            )
    instruments: Dict[str, Tuple[int, Dict[str, float]]] = {}
    for instrument in sorted({row.instrument for row in first.values()}):
        own = [n for n, key in enumerate(keys) if first[key].instrument == instrument]
        means = {
            name: statistics.fmean(scores["sdr"][n] for n in own) if own else math.nan
            for name, scores in values.items()
        }
        instruments[instrument] = (len(own), means)
    return Comparison(
        systems=list(tables),
        keys=keys,
        common=len(keys),
        mixtures=len(set(groups)),
        scored={n: sum(r.status == OK for r in t.values()) for n, t in rows.items()},
        sources=len(first),
        mixed=max(source for _, source in first),
        mean={
            name: {m: statistics.fmean(v) for m, v in scores.items()}
            for name, scores in values.items()
        },
        interval={
            name: {m: interval(v) for m, v in scores.items()}
            for name, scores in values.items()
        },
        differences=differences,
        instruments=instruments,
    )
