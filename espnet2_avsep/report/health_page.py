"""The page that says what stages 1 to 4 made of a corpus."""

import os
from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence
from urllib.parse import quote

import numpy as np

from espnet2_avsep.data.scp import PathLike
from espnet2_avsep.report.findings import CLIPPED_SHARE, LEAK_COLUMNS, Finding
from espnet2_avsep.report.histogram import draw, histogram
from espnet2_avsep.report.html import Cell, Html, document, element, join, note, table
from espnet2_avsep.report.picture_check import (
    BLACK_LUMA,
    FLAT_SPREAD,
    FROZEN_CHANGE,
    OK,
    Look,
    Video,
)
from espnet2_avsep.report.prepared_set import PreparedSet, reason_kind

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
    leaks: Optional[List[Dict[str, str]]]
    num_pictures: int
    max_videos: int


def page(health: Health, folder: PathLike) -> str:
    """Return the page.

    Args:
        health: What it tells.
        folder: Where it will lie; tables and thumbnails are linked relative to it.
    """
    sections = {
        "sets": _sets(health.sets),
        "missing": _missing(health.sets, Path(folder)),
        "classes": _classes(health.sets),
        "durations": _durations(health.sets),
        "loudness": _loudness(health.sets, health.sound),
        "pictures": _pictures(health),
        "mixtures": _mixtures(health.sets),
        "leaks": _leaks(health.leaks),
        "how": _how(health),
    }
    above = [element("ul", *_summary(health), class_="findings")]
    return document(health.title, above, _SECTIONS, sections)


def _summary(health: Health) -> Iterable[Html]:
    """What a reader should know first; what is not well is said in words too."""
    for prepared in health.sets:
        gone, listed = len(prepared.left_out), len(prepared.category)
        words = (
            f"{listed - gone} of {listed} clips kept ({_share(listed - gone, listed)})"
        )
        yield note(prepared.name, words, warn=gone > 0)
        if prepared.not_yet:
            words = f"not there: {', '.join(prepared.not_yet)}"
            yield note(prepared.name, words, warn=True)
        if prepared.mixtures and not prepared.mixtures.intact:
            words = "mixtures.tsv is not the list that stage 4 wrote; run stage 4 again"
            yield note(prepared.name, words, warn=True)
        if "random" in str(prepared.visual_info.get("weights", "")):
            words = "the visual features come from a randomly initialised encoder"
            yield note(prepared.name, words, warn=True)
    for kind, number in Counter(f.kind for f in health.sound).items():
        yield note("sound", f"{kind} clips: {number}", warn=True)
    for kind, number in Counter(f.kind for f in health.pictures).items():
        words = f"{kind} videos: {number} of the {len(health.looks)} looked at"
        yield note("pictures", words, warn=True)
    if health.leaks is None:
        yield note("leaks", "were not looked for", warn=False)
    else:
        yield note("leaks", f"{len(health.leaks)} found", warn=bool(health.leaks))


def _sets(sets: Sequence[PreparedSet]) -> Html:
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
    return table("Clips of each set", header, rows)


def _missing(sets: Sequence[PreparedSet], folder: Path) -> Html:
    rows, files = [], []
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
        files += [
            element("a", path, href=quote(os.path.relpath(path, folder)))
            for path in prepared.skipped_files
        ]
    if not rows:
        return element("p", "Nothing: no stage left out a clip.")
    header = ["set", "stage", "reason", "clips", "which", "the first one's, in full"]
    return join(
        [
            element(
                "p",
                "A clip that several stages left out is in several rows. All clips: ",
                *(part for link in files for part in (link, " ")),
                class_="soft",
            ),
            table("Clips left out, by stage and reason", header, rows),
        ]
    )


def _classes(sets: Sequence[PreparedSet]) -> Html:
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
    text = table(f"{len(listed)} classes", header, rows)
    if len(listed) > CLASSES:
        words = f"The first {CLASSES} of {len(listed)} classes; all: classes.tsv"
        text = join([text, element("p", words)])
    return text


def _durations(sets: Sequence[PreparedSet]) -> Html:
    figures = []
    for prepared in sets:
        seconds = np.array(list(prepared.seconds.values()))
        if not len(seconds):
            continue
        low, middle, high = np.min(seconds), np.median(seconds), np.max(seconds)
        words = (
            f"{prepared.name}: {len(seconds)} clips, shortest {low:.1f} s, median "
            f"{middle:.1f} s, longest {high:.1f} s, {_hours(seconds.sum())} h in all"
        )
        figures.append(_figure(histogram(seconds), words, "s"))
    if not figures:
        return element("p", "Not known before stage 3.")
    return element("div", *figures, class_="row")


def _loudness(sets: Sequence[PreparedSet], sound: Sequence[Finding]) -> Html:
    figures = []
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
            f"{np.median(levels):.1f} dB below full scale"
        )
        figures.append(_figure(histogram(levels, *_LOUDNESS), words, "dBFS"))
    if not figures:
        return element("p", "Not known before stage 4.")
    row = element("div", *figures, class_="row")
    return join([row, *_finding_tables(sound)])


def _figure(found, words: str, unit: str) -> Html:
    outside = []
    if found.below:
        outside.append(f"{found.below} below {found.edges[0]:g} {unit}")
    if found.above:
        outside.append(f"{found.above} above {found.edges[-1]:g} {unit}")
    missing = f". Not drawn: {', '.join(outside)}" if outside else ""
    picture = draw(found, words, unit)
    return element("figure", picture, element("figcaption", words + missing))


def _finding_tables(findings: Sequence[Finding]) -> Iterable[Html]:
    for kind, number in sorted(Counter(f.kind for f in findings).items()):
        rows = [[f.clip, f.dset, f.detail] for f in findings if f.kind == kind][:TOP]
        caption = f"{kind.capitalize()} clips: {number}"
        if number > TOP:
            caption += f", the first {TOP}; all: flagged.tsv"
        yield table(caption, ["clip", "set", "detail"], rows)


def _pictures(health: Health) -> Html:
    parts = [
        element(
            "p",
            f"{len(health.looks)} videos were looked at, {health.num_pictures} "
            "pictures of each, from the middles of equal parts, side by side below.",
        ),
        *_finding_tables(health.pictures),
    ]
    for prepared in health.sets:
        items = [
            _picture(video, look)
            for video, look in health.looks.items()
            if video.dset == prepared.name and not look.error
        ]
        if items:
            summary = element("summary", f"{prepared.name}: {len(items)} videos")
            gallery = element("ul", *items, class_="pictures")
            parts.append(element("details", summary, gallery, open=""))
    return join(parts)


def _picture(video: Video, look: Look) -> Html:
    image = element(
        "img",
        src=quote(f"pictures/{video.thumbnail}"),
        loading="lazy",
        alt=f"{look.count} pictures of {video.clip}",
    )
    words: List = [video.clip]
    if look.verdict != OK:
        words = [element("b", f"{look.verdict}: "), video.clip]
    return element("li", element("figure", image, element("figcaption", *words)))


def _mixtures(sets: Sequence[PreparedSet]) -> Html:
    rows = []
    for prepared in sets:
        if prepared.mixtures is None:
            continue
        counts = prepared.mixtures.counts
        skipped = counts.get("skipped") or {}
        uses = f"{counts.get('least_uses')} to {counts.get('most_uses')}"
        rows.append(
            [
                prepared.name,
                counts.get("made", 0),
                counts.get("listed", 0),
                ", ".join(f"{n} {why}" for why, n in skipped.items()) or "none",
                counts.get("num_sources", ""),
                counts.get("clips_used", 0),
                uses,
                counts.get("list") or f"drawn with seed {counts.get('seed')}",
                element("code", prepared.mixtures.sha256),
                "yes" if prepared.mixtures.intact else "NO",
            ]
        )
    if not rows:
        return element("p", "None yet; stage 4 draws them.")
    header = ["set", "mixtures", "listed", "not made", "sources", "clips used"]
    header += ["uses of a clip", "list", "SHA-256 of mixtures.tsv", "as written"]
    return table("Mixtures that are the same for every system", header, rows)


def _leaks(leaks: Optional[Sequence[Mapping[str, str]]]) -> Html:
    if leaks is None:
        return element("p", "The leak check was not run.")
    if not leaks:
        return element("p", "The leak check found none.")
    kinds = Counter(row["kind"] for row in leaks)
    words = ", ".join(f"{number} of kind {kind}" for kind, number in kinds.items())
    caption = f"{len(leaks)} cases: {words}"
    if len(leaks) > TOP:
        caption += f"; the first {TOP}"
    rows = [[row[name] for name in LEAK_COLUMNS] for row in leaks[:TOP]]
    return table(caption, [name.replace("_", " ") for name in LEAK_COLUMNS], rows)


def _how(health: Health) -> Html:
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
        "look, classes.tsv the clips of each class.",
    ]
    for prepared in health.sets:
        info = ", ".join(f"{k}: {v}" for k, v in prepared.visual_info.items())
        lines.append(f"Visual features of {prepared.name}: {info or 'not there yet'}.")
    return element("ul", *(element("li", line) for line in lines))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f}"
