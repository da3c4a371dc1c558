"""mixtures.tsv as the later stages see it: which clips and classes are mixed."""

import hashlib
import itertools
from pathlib import Path
from typing import Dict, List, Sequence, Tuple, Union

from espnet2_avsep.data.tables.tsv import read_tsv
from espnet2_avsep.errors import InputError


def read_sources(path: Union[str, Path]) -> Dict[str, List[Tuple[str, str]]]:
    """Read clip and instrument of each mixture's sources from ``mixtures.tsv``.

    Raises:
        InputError: the file is missing, empty or malformed.
    """
    return _read_columns(path, ("clip", "spk"))


def read_classes(path: Union[str, Path]) -> Dict[str, List[str]]:
    """Read the instrument of each mixture's sources; see read_sources.

    Args:
        path: ``mixtures.tsv``, or ``real_mixtures.tsv``, whose sources are no clips.
    """
    table = _read_columns(path, ("spk",))
    return {key: [spk for (spk,) in sources] for key, sources in table.items()}


def read_silent(path: Union[str, Path]) -> Dict[str, List[bool]]:
    """Read which sources of each mixture are silent; see read_sources.

    A list without the columns ``silent{n}`` has no silent sources.
    """
    sources = read_sources(path)
    with Path(path).open(encoding="utf-8") as f:
        has_columns = "silent1" in f.readline().rstrip("\n").split("\t")
    if not has_columns:
        return {key: [False] * len(own) for key, own in sources.items()}
    found = {}
    for key, own in _read_columns(path, ("silent",)).items():
        wrong = {value for (value,) in own} - {"0", "1"}
        if wrong or len(own) != len(sources[key]):
            raise InputError(
                f"{path}: {key} has the silent sources {[v for (v,) in own]}; expected "
                f"0 or 1 for each of its {len(sources[key])} sources."
            )
        found[key] = [value == "1" for (value,) in own]
    return found


def _read_columns(
    path: Union[str, Path], columns: Sequence[str]
) -> Dict[str, List[Tuple[str, ...]]]:
    """Mixture -> for each source n the values of the columns <column>{n}."""
    fix = "stage 4 writes the list of mixtures; run it again, or correct the path."
    first = [f"{column}1" for column in columns]
    rows = read_tsv(path, ["mix_id", *first], fix)
    numbers = list(
        itertools.takewhile(
            lambda n: all(f"{column}{n}" in rows[0] for column in columns),
            itertools.count(1),
        )
        if rows
        else ()
    )
    found: Dict[str, List[Tuple[str, ...]]] = {}
    for number, row in enumerate(rows, 2):
        key = row["mix_id"]
        if key in found:
            raise InputError(f"{path}, line {number}: {key!r} comes a second time.")
        found[key] = [tuple(row[f"{c}{n}"] for c in columns) for n in numbers]
    if not found:
        raise InputError(f"{path}: lists no mixtures; see the log of stage 4.")
    return found


def sound_sha256(path: Union[str, Path]) -> str:
    """SHA-256 of what is heard: a mixtures.tsv without its visual rows (frame{n}).

    Lists of one corpus drawn alike, for systems whose visual inputs come at different
    rates, differ only in these columns: their mixtures are the same sounds.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    kept = [n for n, name in enumerate(rows[0]) if not name.startswith("frame")]
    text = "".join("\t".join(row[n] for n in kept) + "\n" for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()
