"""Clips that want a second look: silent, clipped, black, frozen, leaking."""

from typing import Iterable, List, Mapping, NamedTuple

from espnet2_avsep.report.picture_check import OK, Look, Video
from espnet2_avsep.report.prepared_set import PreparedSet

# A clip counts as clipped if this share of its samples is at full scale.
CLIPPED_SHARE = 1e-4


class Finding(NamedTuple):
    """One clip and what is the matter with it.

    Attributes:
        dset: Name of its set.
        clip: Its id.
        kind: "silent", "clipped", "black", "one colour", "frozen" or "unreadable".
        detail: In one line.
        weight: The worst have the greatest.
    """

    dset: str
    clip: str
    kind: str
    detail: str
    weight: float


def sound_findings(prepared: PreparedSet) -> List[Finding]:
    """List silent clips (all of them left out by stage 4) and clipped ones."""
    found = []
    for clip, row in prepared.left_out.items():
        if "silent" in row.reason.split(": ")[0]:
            level = prepared.levels.get(clip)
            weight = -level.rms_dbfs if level else 0.0
            found.append(Finding(prepared.name, clip, "silent", row.reason, weight))
    for clip, level in prepared.levels.items():
        samples = prepared.num_samples.get(clip, 0)
        share = level.full_scale / samples if samples else 0.0
        if share >= CLIPPED_SHARE:
            detail = f"{level.full_scale} samples at full scale ({share:.2%})"
            found.append(Finding(prepared.name, clip, "clipped", detail, share))
    return ordered(found)


def picture_findings(looks: Mapping[Video, Look]) -> List[Finding]:
    """List videos of which nothing is to be seen, or that do not move."""
    found = []
    for video, look in looks.items():
        if look.verdict == OK:
            continue
        detail = look.error or (
            f"brightness {look.luma:g}, spread {look.spread:g}, change {look.change:g}"
        )
        found.append(Finding(video.dset, video.clip, look.verdict, detail, 0.0))
    return ordered(found)


def ordered(found: Iterable[Finding]) -> List[Finding]:
    """Sort by kind and, within it, the worst first."""
    return sorted(found, key=lambda f: (f.kind, -f.weight, f.dset, f.clip))
