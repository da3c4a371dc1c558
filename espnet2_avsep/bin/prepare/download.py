"""Fetch a corpus: its official lists and its videos, with a manifest (stage 1).

The videos are fetched with yt-dlp (pip install 'espnet2_avsep[download]'; no ffmpeg
program is needed). Every file is checked before it counts; manifest.tsv has a row for
every listed video, and says why the missing ones are missing. A run that was cut off
continues where it stopped. Of VGGSound and AVE only the sections of 10 s are kept; the
whole videos must be fetched for them and are removed afterwards.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.errors import InputError

CORPORA = ("music", "music21", "vggsound", "ave")


def byte_count(text: str) -> int:
    """Parse a number of bytes: 500000, 500K, 2M, 1.5G."""
    match = re.fullmatch(r"([0-9.]+)([KMG]?)", text.upper())
    try:
        number = float(match[1]) * 1024 ** " KMG".index(match[2] or " ")
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"expected bytes a second, for example 500K or 2M, not {text!r}"
        )
    return int(number)


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    corpus: str = option(..., "which one", choices=CORPORA)
    output_dir: str = option(..., "gets the lists, videos/ and manifest.tsv")
    nj: int = option(4, "videos fetched at a time; few is polite", least=1)
    metadata_dir: Optional[str] = option(
        None, "take the lists from this folder, not from the network"
    )
    archive: List[str] = option(
        [],
        "take the videos out of these archives (zip, tar) or folders instead: AVE's "
        "AVE_Dataset.zip, copies of VGGSound",
        metavar="FILE",
    )
    cookies: Optional[str] = option(
        None, "file of cookies (Netscape's format), for yt-dlp"
    )
    cookies_from_browser: Optional[str] = option(
        None, "take the cookies from this browser", metavar="BROWSER[:PROFILE]"
    )
    proxy: Optional[str] = option(None, "URL of a proxy")
    retries: int = option(2, "attempts after one that may succeed", least=0)
    retry_wait: float = option(
        60.0,
        "seconds before the first retry, doubled for each further one; where the site "
        "asks for a slower pace, nothing else is begun meanwhile",
        least=0,
    )
    rate_limit: Optional[int] = option(
        None,
        "bytes a second of each worker, e.g. 2M (default: no limit)",
        parse=byte_count,
        least=1,
    )
    sleep_interval: float = option(
        5.0, "seconds that a worker rests between two videos", least=0
    )
    max_height: int = option(
        360,
        "lines of the picture: the best format that has no more is taken. CLIP and "
        "ResNet look at 224 x 224",
        least=1,
    )
    timeout: float = option(
        120.0,
        "seconds without a byte after which a download counts as stalled",
        above=0,
    )
    max_missing: float = option(
        0.5,
        "share of the videos that may be missing; beyond it the exit status is 2. "
        "Many videos of these corpora have gone since they were listed",
        least=0,
        most=1,
    )
    only: List[str] = option([], "fetch only these categories", metavar="CATEGORY")
    limit: Optional[int] = option(None, "fetch only the first few", least=1)
    retry_failed: bool = option(
        False,
        "true: try again what has failed for good (removed, private, ...); what may "
        "pass (no network, stalled, ...) is tried again by every run",
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    check_options(args)
    from espnet2_avsep.corpus.download.corpus import download
    from espnet2_avsep.corpus.download.manifest import summary
    from espnet2_avsep.corpus.download.metadata import get_metadata
    from espnet2_avsep.corpus.download.pool import RequestPolicy
    from espnet2_avsep.corpus.download.youtube import YoutubeFetcher, import_yt_dlp

    fetch = None
    if not args.archive:
        import_yt_dlp()  # now, rather than once for each video
        fetch = YoutubeFetcher(
            args.max_height,
            args.cookies,
            args.cookies_from_browser,
            args.proxy,
            args.rate_limit,
            min(args.timeout, 30.0),
        )
    get_metadata(
        args.corpus,
        args.output_dir,
        args.metadata_dir,
        proxy=args.proxy,
        archive=bool(args.archive),
    )
    rows = download(
        args.corpus,
        args.output_dir,
        fetch,
        args.nj,
        RequestPolicy(args.timeout, args.retries, args.retry_wait, args.sleep_interval),
        args.max_missing,
        args.only,
        args.limit,
        args.retry_failed,
        args.archive,
    )
    print(summary(rows))


def check_options(args: Options) -> None:
    """Check that the files and folders that are given exist.

    Raises:
        InputError: one does not.
    """
    given = [("--metadata_dir", args.metadata_dir), ("--cookies", args.cookies)]
    for option_name, path in [*given, *(("--archive", path) for path in args.archive)]:
        if path is not None and not Path(path).exists():
            raise InputError(f"{option_name} {path}: no such file or folder.")
