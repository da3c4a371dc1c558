"""The options that the commands of stages 2 and 3 share."""

import logging
import os
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Optional

from espnet2_avsep.cli.options import option
from espnet2_avsep.cli.shared_options import AudioStream, Device
from espnet2_avsep.errors import InputError

# Means "this table has none".
NONE = "-"
# Of rates and sizes.
MOST = 1_000_000


@dataclass(kw_only=True)
class Sounds(AudioStream):
    """How a table of sounds is read, and what one job of several needs."""

    allow_pipes: bool = option(
        False,
        "true: run the commands ('cmd |') that --wav_scp has in place of files, "
        "without a shell; only for tables that you wrote yourself",
    )
    allow_empty: bool = option(
        False,
        "true: write empty tables where every clip is left out, instead of an error "
        "(for one job of several)",
    )


@dataclass(kw_only=True)
class Clips(Sounds):
    """Which clips are read, and where their features go."""

    video_scp: Optional[List[str]] = option(
        None,
        "tables: clip, video file or folder of images; several tables are done one "
        "after the other by one network. An empty file is skipped",
    )
    output_dir: Optional[List[str]] = option(
        None, "where ark and tables go: a folder each"
    )
    wav_scp: Optional[List[str]] = option(
        None,
        "tables: clip, its sound, whose duration counts (default, or '-' for one of "
        "several: the sound of the video file itself)",
    )
    utt2clip: Optional[List[str]] = option(
        None,
        "tables: clip, category/video_id, by which files that were made elsewhere are "
        "found (default, or '-' for one of several: the id)",
    )


@dataclass(kw_only=True)
class Network(Device):
    """How a frozen network is run."""

    check_weights: bool = option(
        False,
        "only check that the weights are there, and fetch them if they are not; no "
        "clip is read",
        flag=True,
    )
    seed: int = option(0, "seed of random weights", least=0)
    dtype: str = option(
        "float32",
        "bfloat16: faster on devices that have it",
        choices=("float32", "bfloat16"),
    )


class ClipTable(NamedTuple):
    """A table of clips, and what Clips and VisualOptions have one value of for each."""

    video_scp: str
    output_dir: str
    wav_scp: Optional[str] = None
    utt2clip: Optional[str] = None
    audio_dir: Optional[str] = None
    region: str = "whole"


def tables(args: Clips) -> Iterator[ClipTable]:
    """Yield the tables of clips that hold any.

    Raises:
        InputError: video_scp or output_dir is missing, or an option has another number
            of values than there are tables.
    """
    columns = {"video_scp": args.video_scp, "output_dir": args.output_dir}
    for name in ("wav_scp", "utt2clip", "audio_dir", "region"):
        if getattr(args, name, None) is not None:
            columns[name] = getattr(args, name)
    for name, values in columns.items():
        found, expected = len(values or ()), len(args.video_scp or ())
        if found == 0 or found != expected:
            raise InputError(
                f"--{name}: {found} values, --video_scp has {expected}; expected one "
                "for each table of clips."
            )
    for row in zip(*columns.values(), strict=True):
        table = ClipTable(*row[:2])._replace(
            **{k: v for k, v in zip(columns, row, strict=True) if v != NONE}
        )
        path = table.video_scp
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            logging.info("%s is empty: nothing to do", path)
            continue
        yield table
