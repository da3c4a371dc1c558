"""The table of leaks that stage 4 writes and stage 8 reads."""

import csv
from pathlib import Path
from typing import Iterable, List, NamedTuple, Set

from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.errors import InputError

SAME_VIDEO, SAME_AUDIO, TWO_LABELS = "same_video", "same_audio", "two_labels"
# What makes a score too good; a video under two labels in one set does not.
LEAKING = (SAME_VIDEO, SAME_AUDIO)


class Leak(NamedTuple):
    """Two clips that should not both be there.

    Attributes:
        kind: "same_video": one video in two sets; "same_audio": nearly the same sound
            in two sets; "two_labels": one video in two classes.
        set: The set that is scored, the later of the two (train, valid, test).
        clip: Its clip.
        other_set: The set that was there before.
        other_clip: Its clip.
        evidence: What they have in common.
    """

    kind: str
    set: str
    clip: str
    other_set: str
    other_clip: str
    evidence: str


def write_leaks(path: PathLike, leaks: Iterable[Leak]) -> None:
    """Write leaks.tsv: a header, then the leaks, sorted; also where there are none."""
    with atomic_write(path) as f:
        f.write("\t".join(Leak._fields) + "\n")
        for leak in sorted(set(leaks)):
            f.write("\t".join(leak) + "\n")


def read_leaks(path: PathLike) -> List[Leak]:
    """Read leaks.tsv.

    Raises:
        InputError: it is not there, or no table of leaks.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; stage 4 writes it, unless --leak_check is false."
        )
    with path.open(encoding="utf-8", newline="") as f:
        lines = list(csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not lines or lines[0] != list(Leak._fields):
        raise InputError(
            f"{path}: the first line must name the columns {' '.join(Leak._fields)}; "
            "run stage 4 again."
        )
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(Leak._fields):
            raise InputError(
                f"{path}, line {number}: {len(line)} columns; expected "
                f"{len(Leak._fields)}. Run stage 4 again."
            )
    return [Leak(*line) for line in lines[1:]]


def leaking_clips(leaks: Iterable[Leak], name: str) -> Set[str]:
    """Return the clips of a set whose video or sound an earlier set has."""
    return {leak.clip for leak in leaks if leak.set == name and leak.kind in LEAKING}
