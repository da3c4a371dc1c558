"""The page that says what stages 1 to 4 made of a corpus."""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

import numpy as np

from espnet2_avsep.corpus.leaks.table import Leak
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.figures.shapes import Figure, histogram, histogram_figure
from espnet2_avsep.media.picture import picture_size
from espnet2_avsep.report.findings import CLIPPED_SHARE, Finding
from espnet2_avsep.report.picture_check import (
    BLACK_LUMA,
    FLAT_SPREAD,
    FROZEN_CHANGE,
    OK,
    Look,
    Video,
)
from espnet2_avsep.report.prepared_set import PreparedSet, reason_kind
from espnet2_avsep.report.render import Cell, Note, Table, render

# What the page holds at most, however large the corpus: rows of a list of clips or of
# reasons, classes, and examples of one reason.
TOP, CLASSES, EXAMPLES = 50, 1000, 3
# Range of the histogram of loudness in dB.
_LOUDNESS = (-60.0, 0.0)
_SECTIONS = {
    "sets": "Sets",
    "missing": "What is missing, and why",
    "classes": "Classes",
    "durations": "Durations",
    "loudness": "Loudness",
    "pictures": "Pictures",
    "mixtures": "Fixed mixtures",
    "leaks": "Leaks between sets",
    "how": "How this was found",
}


class Health(NamedTuple):
    """All that the page tells.

    Attributes:
        title: Of the page.
        sets: What the stages left behind, set by set.
        sound: Silent and clipped clips.
        pictures: Videos without a picture, or without motion.
        looks: All videos that were looked at.
        leaks: Rows of the leak check; None: it was not run.
        num_pictures: Pictures that were looked at of each video.
        max_videos: The most videos that were to be looked at.
    """

    title: str
    sets: List[PreparedSet]
    sound: List[Finding]
    pictures: List[Finding]
    looks: Dict[Video, Look]
    leaks: Optional[List[Leak]]
    num_pictures: int
    max_videos: int


def page(health: Health, folder: PathLike) -> str:
    """Return the page.

    Args:
        health: What it tells.
        folder: Where it will lie, beside pictures/.
    """
    return render(
        "health.html",
        title=health.title,
        titles=_SECTIONS,
        notes=list(_summary(health)),
        sets=_sets(health.sets),
        missing=_missing(health.sets),
        classes=_classes(health.sets),
        durations=list(_durations(health.sets)),
        loudness=list(_loudness(health.sets)),
        sound=list(_finding_tables(health.sound)),
        looks=len(health.looks),
        num_pictures=health.num_pictures,
        flagged=list(_finding_tables(health.pictures)),
        galleries=_galleries(health, Path(folder) / "pictures"),
        mixtures=_mixtures(health.sets),
        leaks=_leaks(health.leaks),
        how=_how(health),
    )


def _summary(health: Health) -> Iterable[Note]:
    """What a reader should know first; what holds for several sets comes once."""
    for prepared in health.sets:
        gone, listed = len(prepared.left_out), len(prepared.category)
        words = (
            f"{listed - gone} of {listed} clips kept ({_share(listed - gone, listed)})"
        )
        yield Note(prepared.name, words, warn=gone > 0)
    warnings: Dict[str, List[str]] = {}
    for prepared in health.sets:
        if prepared.not_yet:
            words = f"not there: {', '.join(prepared.not_yet)}"
            warnings.setdefault(words, []).append(prepared.name)
        if prepared.mixtures and not prepared.mixtures.intact:
            words = "mixtures.tsv is not the list that stage 4 wrote; run stage 4 again"
            warnings.setdefault(words, []).append(prepared.name)
        if "random" in str(prepared.visual_info.get("weights", "")):
            words = "the visual features come from a randomly initialised encoder"
            warnings.setdefault(words, []).append(prepared.name)
    for words, names in warnings.items():
        yield Note(", ".join(names), words, warn=True)
    for kind, number in Counter(f.kind for f in health.sound).items():
        yield Note("sound", f"{kind} clips: {number}", warn=True)
    for kind, number in Counter(f.kind for f in health.pictures).items():
        words = f"{kind} videos: {number} of the {len(health.looks)} looked at"
        yield Note("pictures", words, warn=True)
    if health.leaks is None:
        yield Note("leaks", "were not looked for")
    else:
        yield Note("leaks", f"{len(health.leaks)} found", warn=bool(health.leaks))


def _sets(sets: Sequence[PreparedSet]) -> Table:
    rows = []
    for prepared in sets:
        seconds = list(prepared.seconds.values())
        mixtures = prepared.mixtures
        rows.append(
            [
                prepared.name,
                len(prepared.category),
                len(prepared.kept),
                len(prepared.left_out),
                len({prepared.category[clip] for clip in prepared.kept}),
                Cell(_hours(sum(seconds)), sum(seconds)),
                mixtures.counts.get("made", 0) if mixtures else 0,
            ]
        )
    header = ["set", "listed", "kept", "left out", "classes", "hours kept", "mixtures"]
    return Table("Clips of each set", header, rows)


def _missing(sets: Sequence[PreparedSet]) -> Optional[Table]:
    rows = []
    for prepared in sets:
        kinds: Dict[tuple, List] = {}
        for row in prepared.skipped:
            kinds.setdefault((row.stage, reason_kind(row.reason)), []).append(row)
        ranked = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
        for (stage, kind), found in ranked[:TOP]:
            keys = [row.key for row in found[:EXAMPLES]]
            more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
            example = f"{', '.join(keys)}{more}"
            rows.append(
                [prepared.name, stage, kind, len(found), example, found[0].reason]
            )
        if len(ranked) > TOP:
            rest = sum(len(found) for _, found in ranked[TOP:])
            rows.append([prepared.name, "", "other reasons", rest, "", ""])
    header = ["set", "stage", "reason", "clips", "which", "the first one's, in full"]
    return Table("Clips left out, by stage and reason", header, rows) if rows else None


def _classes(sets: Sequence[PreparedSet]) -> Table:
    listed = Counter(c for prepared in sets for c in prepared.category.values())
    kept = [
        Counter(prepared.category[clip] for clip in prepared.kept) for prepared in sets
    ]
    rows = []
    for name in sorted(listed)[:CLASSES]:
        numbers = [counter[name] for counter in kept]
        left_out = listed[name] - sum(numbers)
        share = Cell(_share(left_out, listed[name]), left_out / listed[name])
        rows.append([name, *numbers, listed[name], left_out, share])
    header = ["class", *(f"{prepared.name}, kept" for prepared in sets)]
    header += ["listed", "left out", "share left out"]
    caption = f"{len(listed)} classes"
    if len(listed) > CLASSES:
        caption += f", the first {CLASSES}; all: classes.tsv"
    return Table(caption, header, rows)


def _durations(sets: Sequence[PreparedSet]) -> Iterable[Figure]:
    for prepared in sets:
        seconds = np.array(list(prepared.seconds.values()))
        if not len(seconds):
            continue
        low, middle, high = np.min(seconds), np.median(seconds), np.max(seconds)
        words = (
            f"{prepared.name}: {len(seconds)} clips, shortest {low:.1f} s, median "
            f"{middle:.1f} s, longest {high:.1f} s, {_hours(seconds.sum())} h in all"
        )
        yield histogram_figure(histogram(seconds), words, "s")


def _loudness(sets: Sequence[PreparedSet]) -> Iterable[Figure]:
    for prepared in sets:
        levels = [
            prepared.levels[clip].rms_dbfs
            for clip in prepared.kept
            if clip in prepared.levels
        ]
        if not levels:
            continue
        words = (
            f"{prepared.name}: RMS of {len(levels)} clips, median "
            f"{np.median(levels):.1f} dBFS"
        )
        yield histogram_figure(histogram(levels, *_LOUDNESS), words, "dBFS")


def _finding_tables(findings: Sequence[Finding]) -> Iterable[Table]:
    for kind, number in sorted(Counter(f.kind for f in findings).items()):
        rows = [[f.clip, f.dset, f.detail] for f in findings if f.kind == kind][:TOP]
        caption = f"{kind.capitalize()} clips: {number}"
        if number > TOP:
            caption += f", the first {TOP}; all: flagged.tsv"
        yield Table(caption, ["clip", "set", "detail"], rows)


def _galleries(health: Health, folder: Path) -> Dict[str, List[Dict[str, Any]]]:
    """Set -> its pictures; sets without any are left out."""
    found: Dict[str, List[Dict[str, Any]]] = {}
    for video, look in health.looks.items():
        if look.error:
            continue
        picture = {
            "src": f"pictures/{video.thumbnail}",
            "alt": f"{look.count} pictures of {video.clip}",
            "size": picture_size(folder / video.thumbnail),
            "verdict": "" if look.verdict == OK else look.verdict,
            "clip": video.clip,
        }
        found.setdefault(video.dset, []).append(picture)
    return found


def _mixtures(sets: Sequence[PreparedSet]) -> Optional[Table]:
    rows = []
    for prepared in sets:
        if prepared.mixtures is None:
            continue
        counts = prepared.mixtures.counts
        skipped = counts.get("skipped") or {}
        rows.append(
            [
                prepared.name,
                counts.get("made", 0),
                counts.get("listed", 0),
                ", ".join(f"{n} {why}" for why, n in skipped.items()) or "none",
                counts.get("num_sources", ""),
                counts.get("clips_used", 0),
                f"{counts.get('least_uses')} to {counts.get('most_uses')}",
                counts.get("list") or f"drawn with seed {counts.get('seed')}",
                prepared.mixtures.sha256,
                "yes" if prepared.mixtures.intact else "NO",
            ]
        )
    header = ["set", "mixtures", "listed", "not made", "sources", "clips used"]
    header += ["uses of a clip", "list", "SHA-256 of mixtures.tsv", "as written"]
    caption = "Mixtures that are the same for every system"
    return Table(caption, header, rows) if rows else None


def _leaks(leaks: Optional[Sequence[Leak]]) -> "Table | str":
    if leaks is None:
        return "The leak check was not run."
    if not leaks:
        return "The leak check found none."
    kinds = Counter(leak.kind for leak in leaks)
    words = ", ".join(f"{number} of kind {kind}" for kind, number in kinds.items())
    caption = f"{len(leaks)} cases: {words}"
    if len(leaks) > TOP:
        caption += f"; the first {TOP}"
    columns = [name.replace("_", " ") for name in Leak._fields]
    return Table(caption, columns, [list(leak) for leak in leaks[:TOP]])


def _how(health: Health) -> List[str]:
    lines = [
        "Durations and loudness are those of the formatted audio (mono, one rate). "
        "Loudness is the RMS of the whole clip; a constant of full scale has 0 dBFS. "
        "Silent clips are those that stage 4 left out as such.",
        f"A clip counts as clipped if at least {CLIPPED_SHARE:.2%} of its samples are "
        "at full scale.",
        f"Of at most {health.max_videos} videos, spread evenly over sets and classes "
        "and chosen by a hash of their ids, a few pictures were decoded, at most 160 x "
        "90; their embeddings were not looked at. In steps of 8 bits: black means that "
        f"no picture is brighter than {BLACK_LUMA:g} on average; of one colour, that "
        f"within no picture the brightness spreads by {FLAT_SPREAD:g}; frozen, that no "
        "block of 10 x 10 pixels of any picture differs in brightness from that of the "
        f"first by {FROZEN_CHANGE:g}. A video of a single still is found so, and so is "
        "one in which what moves is too small to be seen.",
        f"Lists of clips end after {TOP} rows, classes after {CLASSES}. Beside this "
        "page: health.json has its numbers, flagged.tsv every clip that wants a second "
        "look, left_out.tsv every clip that was left out and why, classes.tsv the "
        "clips of each class.",
    ]
    for prepared in health.sets:
        info = ", ".join(f"{k}: {v}" for k, v in prepared.visual_info.items())
        lines.append(f"Visual features of {prepared.name}: {info or 'not there yet'}.")
    return lines


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f}"
