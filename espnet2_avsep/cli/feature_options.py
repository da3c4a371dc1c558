"""The options that the commands of stage 2 share."""

import argparse
import logging
import os
from typing import Any, Dict, Iterator

from espnet2_avsep.cli.command import str2bool
from espnet2_avsep.errors import InputError

# Options that may have one value for each table of clips.
PER_TABLE = ("output_dir", "wav_scp", "utt2clip", "audio_dir", "region")
# Means "this table has none".
NONE = "-"


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """Add which clips are read, and where their features go."""
    add = parser.add_argument
    add(
        "--video_scp",
        nargs="+",
        help="tables: clip, video file or folder of images; several tables are done "
        "one after the other by one network. An empty file is passed over",
    )
    add("--output_dir", nargs="+", help="where ark and tables go: a folder each")
    add(
        "--wav_scp",
        nargs="+",
        help="tables: clip, its sound, whose duration counts (None, or '-' for one of "
        "several: the sound of the video file itself)",
    )
    add(
        "--utt2clip",
        nargs="+",
        help="tables: clip, category/video_id, by which files that were made elsewhere "
        "are found (None, or '-' for one of several: the id tells)",
    )
    add_audio_stream(parser)
    add_pipe_option(parser)


def tables(args: argparse.Namespace) -> Iterator[Dict[str, Any]]:
    """Yield the options of one table after the other: video_scp and PER_TABLE.

    Raises:
        InputError: video_scp or output_dir is missing, or an option has another number
            of values than there are tables.
    """
    columns = {"video_scp": args.video_scp}
    for name in PER_TABLE:
        values = getattr(args, name, None)
        if name == "output_dir" or values is not None:
            columns[name] = values
    for name, values in columns.items():
        found, expected = len(values or ()), len(args.video_scp or ())
        if found == 0 or found != expected:
            raise InputError(
                f"--{name}: {found} values, --video_scp has {expected}; expected one "
                "for each table of clips."
            )
    for row in zip(*columns.values(), strict=True):
        found = dict(zip(columns, row, strict=True))
        path = found["video_scp"]
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            logging.info("%s is empty: nothing to do", path)
            continue
        yield {
            "wav_scp": None,
            "utt2clip": None,
            "audio_dir": None,
            "region": "whole",
            **{k: None if v == NONE else v for k, v in found.items()},
        }


def add_pipe_option(parser: argparse.ArgumentParser) -> None:
    """Add whether the table of sounds may hold commands."""
    parser.add_argument(
        "--allow_pipes",
        type=str2bool,
        default=False,
        help="true: run the commands ('cmd |') that --wav_scp has in place of files, "
        "without a shell; only for tables that you wrote yourself",
    )


def add_audio_stream(parser: argparse.ArgumentParser) -> None:
    """Add which audio stream of a file counts."""
    parser.add_argument(
        "--audio_stream",
        type=int,
        metavar="N",
        help="which audio stream of files with several, from 1 (None: the first with "
        "the default flag that can be decoded)",
    )


def add_network_options(
    parser: argparse.ArgumentParser, batch_size: int, what: str
) -> None:
    """Add how a network is run, which sees ``batch_size`` of ``what`` at once."""
    add = parser.add_argument
    add(
        "--check_weights",
        action="store_true",
        help="only check that the weights are there, and fetch them if they are not; "
        "no clip is read",
    )
    add("--seed", type=int, default=0, help="seed of random weights")
    add("--batch_size", type=int, default=batch_size, help=f"{what} encoded together")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16: faster on devices that have it",
    )


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add what one job of several needs."""
    add = parser.add_argument
    add(
        "--allow_empty",
        type=str2bool,
        default=False,
        help="true: write empty tables where every clip is left out, instead of an "
        "error (for one job of several)",
    )
    add("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
