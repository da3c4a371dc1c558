"""Tables with a header, separated by tabs, one row in each line."""

import csv
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence

from espnet2_avsep.data.tables.scp import PathLike, write_file
from espnet2_avsep.errors import InputError


def read_tsv(path: PathLike, columns: Sequence[str], fix: str) -> List[Dict[str, str]]:
    """Read a table: column -> value of each row.

    Args:
        path: The table.
        columns: Columns that must be there, in any order.
        fix: What to do about a missing or wrong table: the end of the message.

    Raises:
        InputError: there is no such file, or a column is missing, or a row has another
            number of columns than the header.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; {fix}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as f:
            rows = list(csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); {fix}") from error
    header = rows[0] if rows else []
    if not set(columns) <= set(header):
        raise InputError(
            f"{path}: the first line must name the columns {' '.join(columns)}, "
            f"separated by tabs; {fix}"
        )
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {number}: {len(row)} columns; expected {len(header)} as "
                f"in the first line; {fix}"
            )
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def format_tsv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return the text of a table; white space within a value becomes one blank."""
    return "".join(
        "\t".join(" ".join(str(value).split()) for value in row) + "\n"
        for row in (columns, *rows)
    )


def write_tsv(
    path: PathLike, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write a table atomically; see format_tsv."""
    write_file(path, format_tsv(columns, rows))
