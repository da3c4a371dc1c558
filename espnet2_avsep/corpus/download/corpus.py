"""Fetch a corpus: lists, videos, manifest; goes on where it was cut off."""

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from espnet2_avsep.corpus.download.archive import unpack
from espnet2_avsep.corpus.download.catalogue import CORPORA, Video
from espnet2_avsep.corpus.download.job import Fetcher, VideoJob
from espnet2_avsep.corpus.download.manifest import (
    FAILED,
    OK,
    Row,
    make_rows,
    summary,
    write_manifest,
)
from espnet2_avsep.corpus.download.pool import RequestPolicy, run_jobs
from espnet2_avsep.corpus.download.video_error import TRANSIENT, VideoError
from espnet2_avsep.data.records.journal import Journal, remove_leftovers
from espnet2_avsep.data.records.progress import Progress
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError

# Seconds between two writings of the manifest; the journal is written at once.
_MANIFEST_EVERY = 60.0


def select(
    videos: Sequence[Video], only: Sequence[str] = (), limit: Optional[int] = None
) -> List[Video]:
    """Choose the videos of some categories, and of these the first few.

    Raises:
        InputError: no video has such a category.
    """
    known = {category for video in videos for category in video.categories}
    unknown = sorted(set(only) - known)
    if unknown:
        raise InputError(
            f"--only {shorten(unknown)}: no such category; there are "
            f"{', '.join(sorted(known))}."
        )
    chosen = [v for v in videos if not only or set(only) & set(v.categories)]
    return chosen[:limit]


def download(
    corpus: str,
    output_dir: PathLike,
    fetch: Optional[Fetcher],
    nj: int = 4,
    policy: RequestPolicy = RequestPolicy(),  # noqa: B008  frozen
    max_missing: float = 0.5,
    only: Sequence[str] = (),
    limit: Optional[int] = None,
    retry_failed: bool = False,
    archives: Sequence[PathLike] = (),
) -> List[Row]:
    """Fetch the videos that a corpus lists into a folder that has its lists.

    Every video is checked (see ``verify``) before it counts. A run that was cut off, or
    that left something out, goes on when it is called again: finished files stay, half
    files go on. What has failed for good is not tried again unless asked for.

    Args:
        corpus: Its name in ``CORPORA``.
        output_dir: Has the files of metadata; gets videos/, manifest.tsv and, for what
            is not finished, partial/ and download.journal.
        fetch: Fetches one video; None: only what is at its place already, or in
            ``archives``, counts. It is looked at again in every run.
        nj: Number of processes.
        policy: Timeouts, retries and pauses.
        max_missing: Share of the videos asked for that may fail.
        only: Categories to fetch; empty: all.
        limit: Fetch only the first few of these.
        retry_failed: Whether to try again what has failed for good.
        archives: Listed videos are taken out of these first; see ``unpack``.

    Returns:
        The rows of manifest.tsv.

    Raises:
        InputError: more than ``max_missing`` are missing; the site does not answer; the
            disk is full; another process works here.
    """
    folder = Path(output_dir)
    videos = CORPORA[corpus].read(folder)
    wanted = select(videos, only, limit)
    if archives:
        unpack(archives, wanted, folder)
    if fetch is None:
        policy, retry_failed = replace(policy, retries=0, sleep_interval=0.0), True
    keys = [video.key for video in videos]
    job = VideoJob(folder, fetch, CORPORA[corpus].sections)
    with Journal(folder / "download.journal", {"corpus": corpus}) as journal:
        remove_leftovers(folder)
        todo = [
            video
            for video in wanted
            if not _finished(job, video, journal.entries.get(video.key), retry_failed)
        ]
        logging.info(
            "%s: %d videos listed, %d asked for, %d to be fetched",
            corpus,
            len(videos),
            len(wanted),
            len(todo),
        )
        progress = Progress(len(todo), "videos")
        written = time.monotonic()

        def note(
            video: Video,
            fields: Optional[Dict[str, Any]],
            failure: Optional[VideoError],
        ) -> None:
            nonlocal written
            if failure is None:
                journal.add(video.key, status=OK, **(fields or {}))
            else:
                logging.warning("%s: %s", video.key, failure)
                journal.add(
                    video.key, status=FAILED, reason=str(failure), kind=failure.kind
                )
            progress.step()
            if time.monotonic() - written > _MANIFEST_EVERY:
                written = time.monotonic()
                write_manifest(
                    folder / "manifest.tsv", make_rows(keys, journal.entries)
                )

        try:
            run_jobs(todo, job, nj, policy, note)
        finally:
            rows = make_rows(keys, journal.entries)
            write_manifest(folder / "manifest.tsv", rows)
            logging.info("%s\n%s", folder / "manifest.tsv", summary(rows))
        if not any((folder / "partial").glob("**/*.*")):
            shutil.rmtree(folder / "partial", ignore_errors=True)
        _check_share(folder, wanted, journal.entries, max_missing)
    return rows


def _finished(
    job: VideoJob, video: Video, entry: Optional[Dict[str, Any]], retry_failed: bool
) -> bool:
    if entry is None:
        return False
    if entry["status"] == OK:
        path = job.path(video)
        return path.is_file() and path.stat().st_size == entry["bytes"]
    return not retry_failed and entry["kind"] not in TRANSIENT


def _check_share(
    folder: Path, wanted: Sequence[Video], entries: Dict[str, Dict], most: float
) -> None:
    failed = sum(entries[video.key]["status"] == FAILED for video in wanted)
    if wanted and failed > most * len(wanted):
        raise InputError(
            f"{failed} of {len(wanted)} videos are missing, more than --max_missing "
            f"{most:g} allows; {folder / 'manifest.tsv'} says why. Fix what can be "
            "fixed (--cookies for age-restricted ones, --proxy for geo-blocked ones, "
            "then --retry_failed true), or allow more: --max_missing 1."
        )
