"""Drop the clips of a set that are too short, silent or incomplete (stage 4).

Joins the tables of stages 1 to 3 and writes those of the clips that are left, with the
list of all clips that any stage left out (skipped.tsv, counts.yaml).
"""

import math
from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, values, with_options
from espnet2_avsep.errors import InputError


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    data_dir: str = option(..., "stage 1: utt2spk, skipped.tsv")
    wav_dir: str = option(..., "stage 3: wav.scp, utt2num_samples, skipped.tsv")
    visual_dir: str = option(..., "stage 2: visual.scp, visual_skipped.tsv")
    motion_dir: Optional[str] = option(
        None,
        "stage 2: motion.scp, motion_skipped.tsv; clips without motion features are "
        "then left out (default: motion is not asked for)",
    )
    condition_dir: List[str] = option(
        [],
        "the same of any condition with rows, by its stem in data/conditions.py",
        repeat=True,
        metavar="STEM:FOLDER",
    )
    output_dir: str = option(..., "where the tables go")
    fs: int = option(..., "sampling rate of the files in Hz", least=1)
    min_wav_duration: float = option(0.0, "least duration in s", least=0)
    max_wav_duration: Optional[float] = option(
        None, "greatest duration in s (default: no limit)", above=0
    )
    segment_samples: int = option(65280, "least number of samples", least=1)
    silence_dbfs: float = option(
        -60.0,
        "least RMS of a whole clip in dB, full scale = 0",
        least=-math.inf,
        most=0,
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.data.clip_filter import Limits, filter_clips

    limits = Limits(*(getattr(args, name) for name in Limits._fields))
    folders = {}
    for text in args.condition_dir:
        stem, _, folder = text.partition(":")
        if not folder:
            raise InputError(f"--condition_dir {text!r}: expected STEM:FOLDER.")
        folders[stem] = folder
    filter_clips(
        limits=limits,
        condition_dirs=folders,
        **values(args, "condition_dir", *Limits._fields),
    )
