"""The manifest of a corpus: what became of every listed video."""

from collections import Counter
from typing import Dict, Iterable, List, Mapping, NamedTuple

from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.tsv import write_tsv

OK, FAILED, PENDING = "ok", "failed", "pending"


class Row(NamedTuple):
    """One listed video.

    Attributes:
        id: Its file below videos/, without the ending.
        status: "ok", "failed", or "pending": not tried yet, or not asked for.
        reason: Why it failed, "kind" or "kind: details"; else empty.
        bytes: Size of the file.
        sha256: Of the file.
        duration: Of its sound in s.
        fps: Pictures a second.
        sample_rate: Of its sound in Hz.
    """

    id: str
    status: str
    reason: str = ""
    bytes: str = ""
    sha256: str = ""
    duration: str = ""
    fps: str = ""
    sample_rate: str = ""


def make_rows(keys: Iterable[str], entries: Mapping[str, Mapping]) -> List[Row]:
    """Make a row of every listed video, sorted.

    Args:
        keys: All that is listed.
        entries: Key -> what the journal knows of it: status and the fields of Row.
    """
    rows = []
    for key in sorted(keys, key=str.encode):
        fields = {k: v for k, v in entries.get(key, {}).items() if k in Row._fields}
        texts = {k: "" if v is None else str(v) for k, v in fields.items()}
        rows.append(Row(key, texts.pop("status", PENDING), **texts))
    return rows


def write_manifest(path: PathLike, rows: Iterable[Row]) -> None:
    """Write manifest.tsv: a header, and a line for each row."""
    write_tsv(path, Row._fields, rows)


def count_failures(rows: Iterable[Row]) -> Dict[str, int]:
    """Count failed rows by the kind of their reason, most frequent first."""
    counts = Counter(row.reason.split(": ")[0] for row in rows if row.status == FAILED)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def summary(rows: List[Row]) -> str:
    """Return how many videos are there and why the others are not, as text."""
    there = [row for row in rows if row.status == OK]
    pending = sum(row.status == PENDING for row in rows)
    gigabytes = sum(int(row.bytes) for row in there) / 1e9
    hours = sum(float(row.duration) for row in there) / 3600
    lines = [
        f"{len(there)} of {len(rows)} listed videos are there ({gigabytes:.2f} GB, "
        f"{hours:.2f} h)"
    ]
    failures = count_failures(rows)
    lines += [f"{number:8d}  {kind}" for kind, number in failures.items()]
    if pending:
        lines.append(f"{pending:8d}  not tried yet, or not asked for")
    return "\n".join(lines)
