#!/usr/bin/env python3
"""Fetch a corpus: its official lists and its videos, with a manifest (stage 1)."""

import argparse
import re
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool
from espnet2_avsep.errors import InputError

CORPORA = ("music", "music21", "vggsound", "ave")


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Fetch the official lists of a corpus, then its videos with yt-dlp "
        "(pip install 'espnet2_avsep[download]'; no ffmpeg program is needed). Every "
        "file is checked before it counts; manifest.tsv has a row for every listed "
        "video, and says why the missing ones are missing. A run that was cut off goes "
        "on where it stopped. Of VGGSound and AVE only the sections of 10 s are kept; "
        "the whole videos must be fetched for them and are removed afterwards.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--corpus", required=True, choices=CORPORA, help="which one")
    add("--output_dir", required=True, help="gets the lists, videos/ and manifest.tsv")
    add("--nj", type=int, default=4, help="videos fetched at a time; few is polite")
    add("--metadata_dir", help="take the lists from this folder, not from the network")
    add(
        "--archive",
        nargs="+",
        default=[],
        metavar="FILE",
        help="take the videos out of these archives (zip, tar) or folders instead: "
        "AVE's AVE_Dataset.zip, copies of VGGSound",
    )
    add("--cookies", help="file of cookies (Netscape's format), for yt-dlp")
    add(
        "--cookies_from_browser",
        metavar="BROWSER[:PROFILE]",
        help="take the cookies from this browser",
    )
    add("--proxy", help="URL of a proxy")
    add("--retries", type=int, default=2, help="attempts after one that may succeed")
    add(
        "--retry_wait",
        type=float,
        default=60.0,
        help="seconds before the first retry, doubled for each further one; where the "
        "site asks for a slower pace, nothing else is begun meanwhile",
    )
    add(
        "--rate_limit",
        type=byte_count,
        default=None,
        help="bytes a second of each worker, e.g. 2M (None: no limit)",
    )
    add(
        "--sleep_interval",
        type=float,
        default=5.0,
        help="seconds that a worker rests between two videos",
    )
    add(
        "--max_height",
        type=int,
        default=360,
        help="lines of the picture: the best format that has no more is taken. CLIP "
        "and ResNet look at 224 x 224",
    )
    add(
        "--timeout",
        type=float,
        default=120.0,
        help="seconds without a byte after which a download counts as stalled",
    )
    add(
        "--max_missing",
        type=float,
        default=0.5,
        help="share of the videos that may be missing; beyond it the exit status is 2. "
        "Many videos of these corpora have gone since they were listed",
    )
    add(
        "--only",
        nargs="+",
        default=[],
        metavar="CATEGORY",
        help="fetch only these categories",
    )
    add("--limit", type=int, default=None, help="fetch only the first few")
    add(
        "--retry_failed",
        type=str2bool,
        default=False,
        help="true: try again what has failed for good (removed, private, ...); what "
        "may pass (no network, stalled, ...) is tried again by every run",
    )
    add("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
    return parser


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


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    check_options(args)
    from espnet2_avsep.corpus.download.corpus import download, select
    from espnet2_avsep.corpus.download.manifest import summary
    from espnet2_avsep.corpus.download.metadata import get_metadata
    from espnet2_avsep.corpus.download.pool import RequestPolicy
    from espnet2_avsep.corpus.download.youtube import YoutubeFetcher, import_yt_dlp

    if not args.archive:
        import_yt_dlp()  # now, rather than once for each video
    get_metadata(
        args.corpus,
        args.output_dir,
        args.metadata_dir,
        proxy=args.proxy,
        archive=bool(args.archive),
    )
    fetch = None
    if args.archive:
        from espnet2_avsep.corpus.download.archive import unpack
        from espnet2_avsep.corpus.download.catalogue import CORPORA as CATALOGUE

        videos = CATALOGUE[args.corpus].read(Path(args.output_dir))
        unpack(args.archive, select(videos, args.only, args.limit), args.output_dir)
    else:
        fetch = YoutubeFetcher(
            args.max_height,
            args.cookies,
            args.cookies_from_browser,
            args.proxy,
            args.rate_limit,
            min(args.timeout, 30.0),
        )
    rows = download(
        args.corpus,
        args.output_dir,
        fetch,
        args.nj,
        RequestPolicy(
            timeout=args.timeout,
            retries=0 if args.archive else args.retries,
            retry_wait=args.retry_wait,
            sleep_interval=0.0 if args.archive else args.sleep_interval,
        ),
        args.max_missing,
        args.only,
        args.limit,
        args.retry_failed or bool(args.archive),
    )
    print(summary(rows))


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that make no sense.

    Raises:
        InputError: see the messages.
    """
    for name, least in (("nj", 1), ("max_height", 1), ("retries", 0), ("limit", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: must be at least {least}.")
    for name in ("retry_wait", "sleep_interval"):
        if not getattr(args, name) >= 0:
            raise InputError(f"--{name} {getattr(args, name)}: must not be negative.")
    if not args.timeout > 0:
        raise InputError(f"--timeout {args.timeout}: expected seconds above 0.")
    if not 0 <= args.max_missing <= 1:
        raise InputError(
            f"--max_missing {args.max_missing}: expected a share between 0 and 1."
        )
    for name in ("metadata_dir", "cookies", *args.archive):
        path = getattr(args, name, name)
        if path is not None and not Path(path).exists():
            option = f"--{name}" if hasattr(args, name) else "--archive"
            raise InputError(f"{option} {path}: no such file or folder.")


if __name__ == "__main__":
    sys.exit(main())
