"""Drop the clips of a set that are too short, silent or incomplete (stage 4).

Joins the tables of stages 1 to 3 and writes those of the clips that are left, with the
list of all clips that any stage left out (skipped.tsv, counts.yaml).
"""

from dataclasses import dataclass
from typing import Optional

from espnet2_avsep.cli.options import Log, option, values, with_options


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
    output_dir: str = option(..., "where the tables go")
    fs: int = option(..., "sampling rate of the files in Hz")
    min_wav_duration: float = option(0.0, "least duration in s")
    max_wav_duration: Optional[float] = option(
        None, "greatest duration in s (default: no limit)"
    )
    segment_samples: int = option(65280, "least number of samples")
    silence_dbfs: float = option(
        -60.0, "least RMS of a whole clip in dB, full scale = 0"
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.data.clip_filter import Limits, filter_clips

    limits = Limits(*(getattr(args, name) for name in Limits._fields))
    filter_clips(limits=limits, **values(args, *Limits._fields))
