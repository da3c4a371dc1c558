"""Write the health report of a corpus: a page and plain files beside it."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence

from espnet2_avsep.corpus.leaks.table import read_leaks
from espnet2_avsep.data.records.journal import remove_leftovers
from espnet2_avsep.data.tables.scp import PathLike, write_file
from espnet2_avsep.data.tables.tsv import write_tsv
from espnet2_avsep.errors import InputError, clear_disk_errors
from espnet2_avsep.report.findings import (
    picture_findings,
    sound_findings,
)
from espnet2_avsep.report.health_page import Health, page
from espnet2_avsep.report.picture_check import Video, choose_clips, look_at_videos
from espnet2_avsep.report.prepared_set import (
    PreparedSet,
    read_prepared_set,
    reason_kind,
)


def write_health_report(
    sets: Sequence[str],
    data_dir: PathLike,
    dump_dir: PathLike,
    output_dir: PathLike,
    fs: int,
    max_videos: int = 120,
    num_pictures: int = 4,
    leaks: Optional[PathLike] = None,
    title: str = "Health report",
) -> Health:
    """Gather what stages 1 to 4 left behind and write index.html.

    The same tables give the same bytes. A run that was cut off goes on where it
    stopped; index.html appears, or changes, last and in one step.

    Args:
        sets: Names of the sets.
        data_dir: See :func:`read_prepared_set`.
        dump_dir: See :func:`read_prepared_set`.
        output_dir: Gets pictures/<set>/<clip>.jpg, classes.tsv, left_out.tsv,
            flagged.tsv, health.json and, last, index.html.
        fs: Sampling rate of the formatted audio in Hz.
        max_videos: Most videos to decode pictures of, over all sets.
        num_pictures: Pictures of each video.
        leaks: Table of the leak check; None, or a missing file: it was not run.
        title: Of the page.

    Raises:
        InputError: stage 1 has not been run, tables that cannot be read, options out of
            range, disk full, another process works there.
    """
    for option, value, least in (
        ("fs", fs, 1),
        ("max_videos", max_videos, 0),
        ("num_pictures", num_pictures, 1),
    ):
        if value < least:
            raise InputError(f"--{option} {value}: expected {least} or more.")
    if not sets or len(set(sets)) < len(sets):
        raise InputError(f"--sets {' '.join(sets)}: expected sets, each once.")
    folder = Path(output_dir)
    found = [read_prepared_set(name, data_dir, dump_dir, fs) for name in sets]
    leak_rows = read_leaks(leaks) if leaks and Path(leaks).is_file() else None
    videos = _choose_videos(found, max_videos)
    looks = look_at_videos(videos, folder / "pictures", num_pictures)
    health = Health(
        title=title,
        sets=found,
        sound=[finding for one in found for finding in sound_findings(one)],
        pictures=picture_findings(looks),
        looks=looks,
        leaks=leak_rows,
        num_pictures=num_pictures,
        max_videos=max_videos,
    )
    with clear_disk_errors(folder):
        remove_leftovers(folder)
        write_tsv(
            folder / "classes.tsv",
            ("set", "class", "listed", "kept"),
            _class_counts(found),
        )
        write_tsv(
            folder / "left_out.tsv",
            ("set", "clip", "stage", "reason"),
            ((one.name, *row) for one in found for row in one.skipped),
        )
        write_tsv(
            folder / "flagged.tsv",
            ("set", "clip", "finding", "detail"),
            (
                (f.dset, f.clip, f.kind, f.detail)
                for f in health.sound + health.pictures
            ),
        )
        numbers = json.dumps(summary(health), indent=1, allow_nan=False)
        write_file(folder / "health.json", numbers + "\n")
        write_file(folder / "index.html", page(health, folder))
    logging.info(
        "%s: %d sets, %d clips, %d videos looked at",
        folder / "index.html",
        len(found),
        sum(len(one.category) for one in found),
        len(looks),
    )
    return health


def summary(health: Health) -> Dict:
    """Return the report's numbers."""
    sets = {}
    for one in health.sets:
        reasons = Counter((row.stage, reason_kind(row.reason)) for row in one.skipped)
        sets[one.name] = {
            "listed": len(one.category),
            "kept": len(one.kept),
            "left_out": len(one.left_out),
            "seconds": round(sum(one.seconds.values()), 3),
            "reasons": [
                {"stage": stage, "reason": reason, "clips": number}
                for (stage, reason), number in sorted(reasons.items())
            ],
            "mixtures": one.mixtures.counts if one.mixtures else None,
            "mixtures_sha256": one.mixtures.sha256 if one.mixtures else None,
            "mixtures_intact": one.mixtures.intact if one.mixtures else None,
        }
    findings = Counter(f.kind for f in health.sound + health.pictures)
    return {
        "sets": sets,
        "findings": dict(sorted(findings.items())),
        "videos_looked_at": len(health.looks),
        "leaks": None if health.leaks is None else len(health.leaks),
    }


def _choose_videos(found: Sequence[PreparedSet], max_videos: int) -> List[Video]:
    """Give each set its share of the videos that are looked at."""
    videos: List[Video] = []
    for n, one in enumerate(found):
        most = (max_videos - len(videos)) // (len(found) - n)
        there = {
            clip: one.category[clip] for clip in one.videos if clip in one.category
        }
        seconds = one.seconds
        videos += [
            Video(one.name, clip, one.videos[clip], seconds.get(clip))
            for clip in choose_clips(there, most)
        ]
    return videos


def _class_counts(found: Sequence[PreparedSet]) -> Iterator[Sequence]:
    for one in found:
        listed = Counter(one.category.values())
        kept = Counter(one.category[clip] for clip in one.kept)
        yield from ((one.name, c, listed[c], kept[c]) for c in sorted(listed))
