"""Several trainings of one system, which differ in their seed, as one."""

import statistics
from typing import List, Sequence

from espnet2_avsep.metrics.score_table import (
    OK,
    SCORES,
    SILENT,
    SKIPPED,
    ScoreRow,
)


def average_seeds(tables: Sequence[Sequence[ScoreRow]]) -> List[ScoreRow]:
    """Average the scores of each source over the seeds.

    Args:
        tables: For each seed its rows; all list the same sources.

    Returns:
        The mean rows in the order of the first table. A source that was not scored with
        every seed is skipped: its mean would be one over other trainings than the rest.

    Raises:
        ValueError: tables of different sources.
    """
    seeds = [{(row.mix_id, row.source): row for row in table} for table in tables]
    means = []
    for key, row in seeds[0].items():
        if any(s.keys() != seeds[0].keys() or s[key].clip != row.clip for s in seeds):
            raise ValueError("the tables of the seeds list different sources.")
        own = [table[key] for table in seeds]
        mean = ScoreRow(row.mix_id, row.source, row.clip, row.instrument)
        skipped = [r for r in own if r.status == SKIPPED]
        if skipped:
            mean.status, mean.reason = SKIPPED, skipped[0].reason
        elif row.status == SILENT:
            mean.status = SILENT
            mean.leakage = statistics.fmean(r.leakage for r in own)
        else:
            mean.status = OK
            for name in SCORES:
                setattr(mean, name, statistics.fmean(getattr(r, name) for r in own))
        means.append(mean)
    return means
