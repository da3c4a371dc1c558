"""The tables of scores: scores.tsv, and the mixtures' own scores that are kept."""

import csv
import logging
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from espnet2_avsep.data.records.made_from import VERSIONS
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import PathLike, write_file
from espnet2_avsep.data.tables.tsv import format_tsv, read_tsv, write_tsv
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.score_table import (
    COLUMNS,
    LEAKAGE,
    METRICS,
    SCORES,
    SILENT,
    ScoreRow,
)

CACHE_COLUMNS = ("mix_id", "source", "refs_crc32", *METRICS)


class MixtureScores:
    """The mixtures' own scores, kept in a file from one experiment to the next.

    The file's first line says which list of mixtures, which backend and which version
    of the code it belongs to; a file of others is not used. A row is used as long as
    the checksum of its references, cut to the length at which they were scored, is the
    same.

    Args:
        path: The file.
        list_sha256: SHA-256 of the list of mixtures.
        number: Number of mixtures in the list.
        backend: "fast" or "mir_eval".
    """

    def __init__(self, path: PathLike, list_sha256: str, number: int, backend: str):
        self.path = Path(path)
        self.title = (
            f"# list_sha256={list_sha256} mixtures={number} backend={backend} "
            f"version={VERSIONS[8]}"
        )
        self._changed = False
        # mixture -> (checksum, [for each source, its METRICS])
        self._scores: Dict[str, Tuple[int, List[List[float]]]] = {}
        if self.path.is_file():
            try:
                self._read()
            except (ValueError, IndexError) as error:
                logging.warning(
                    "%s: scores of mixtures are computed again: %s", path, error
                )
                self._scores = {}

    def _read(self) -> None:
        with self.path.open(encoding="utf-8", newline="") as f:
            lines = list(csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
        if lines[0] != [self.title] or lines[1] != list(CACHE_COLUMNS):
            raise ValueError("the file belongs to another list, backend or version")
        for mix_id, source, crc, *values in lines[2:]:
            if len(values) != len(METRICS):
                raise ValueError(f"the row of {mix_id} has not {len(METRICS)} scores")
            known = self._scores.setdefault(mix_id, (int(crc), []))
            if int(source) != len(known[1]) + 1 or int(crc) != known[0]:
                raise ValueError(f"the rows of {mix_id} are not in order")
            known[1].append([float(value) for value in values])

    def get(self, mix_id: str, crc: int) -> Optional[List[List[float]]]:
        """Scores of a mixture, for each source its METRICS; None where not known."""
        known_crc, scores = self._scores.get(mix_id, (None, None))
        return scores if known_crc == crc else None

    def put(self, mix_id: str, crc: int, scores: List[List[float]]) -> None:
        """Keep the scores of a mixture."""
        self._scores[mix_id] = (crc, scores)
        self._changed = True

    def write(self, order: Iterable[str]) -> None:
        """Write the file where anything is new; rows in the order of the ids given."""
        if not self._changed:
            return
        rows = (
            (mix_id, source, self._scores[mix_id][0], *map(repr, values))
            for mix_id in order
            if mix_id in self._scores
            for source, values in enumerate(self._scores[mix_id][1], 1)
        )
        write_file(self.path, f"{self.title}\n{format_tsv(CACHE_COLUMNS, rows)}")


def write_scores(path: PathLike, rows: Sequence[ScoreRow]) -> None:
    """Write ``scores.tsv``: one row per mixture and source, decibels to 1e-6.

    The last column, leakage, is there where there are silent sources.
    """
    with_leakage = any(row.status == SILENT for row in rows)
    columns = (*COLUMNS, LEAKAGE) if with_leakage else COLUMNS
    cells = ([getattr(row, name) for name in columns] for row in rows)
    write_tsv(
        path,
        columns,
        ([f"{x:.6f}" if isinstance(x, float) else x for x in row] for row in cells),
    )


def read_scores(
    path: PathLike, mixtures: Optional[Mapping[str, Sequence[Any]]] = None
) -> List[ScoreRow]:
    """Read ``scores.tsv``.

    Args:
        path: The table.
        mixtures: mixture -> its sources, those that were to be scored; None: not known.

    Raises:
        InputError: the file is missing or not a table of scores; a row comes twice, or
            is missing, or is of another mixture.
    """
    path = Path(path)
    fix = "stage 8 (avsep_scoring) writes it; score again (stage 8)."
    rows = []
    for number, fields in enumerate(read_tsv(path, COLUMNS, fix), 2):
        try:
            scores = {n: float(fields[n]) for n in fields.keys() & {*SCORES, LEAKAGE}}
            rows.append(
                ScoreRow(**{**fields, **scores, "source": int(fields["source"])})
            )
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path}, line {number}: {error}; score again (stage 8)."
            ) from None
    _check_rows(path, [(row.mix_id, row.source) for row in rows], mixtures)
    return rows


def _check_rows(
    path: Path,
    found: Sequence[Tuple[str, int]],
    mixtures: Optional[Mapping[str, Sequence[Any]]],
) -> None:
    """Check that each source that was to be scored has one row."""
    counts = Counter(found)
    wanted = counts.keys()
    if mixtures is not None:
        wanted = {
            (mix_id, n)
            for mix_id, sources in mixtures.items()
            for n in range(1, len(sources) + 1)
        }
    for what, rows in (
        ("come more than once", [row for row, count in counts.items() if count > 1]),
        ("are missing", sorted(wanted - counts.keys())),
        ("are of sources that the list does not have", sorted(counts.keys() - wanted)),
    ):
        if rows:
            names = shorten([f"{mix_id}, source {n}" for mix_id, n in rows])
            raise InputError(
                f"{path}: {len(rows)} row(s) {what}: {names}. A mean over other rows "
                "than those of the list of mixtures would be another score; score "
                "again (stage 8)."
            )
