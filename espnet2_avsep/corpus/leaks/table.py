"""The table of leaks that stage 4 writes and stage 8 reads."""

from typing import Iterable, List, NamedTuple, Set

from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.tsv import read_tsv, write_tsv

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
    write_tsv(path, Leak._fields, sorted(set(leaks)))


def read_leaks(path: PathLike) -> List[Leak]:
    """Read leaks.tsv.

    Raises:
        InputError: it is not there, or no table of leaks.
    """
    fix = "stage 4 writes it, unless --leak_check is false; run it again."
    rows = read_tsv(path, Leak._fields, fix)
    return [Leak(*map(row.get, Leak._fields)) for row in rows]


def leaking_clips(leaks: Iterable[Leak], name: str) -> Set[str]:
    """Return the clips of a set whose video or sound an earlier set has."""
    return {leak.clip for leak in leaks if leak.set == name and leak.kind in LEAKING}
