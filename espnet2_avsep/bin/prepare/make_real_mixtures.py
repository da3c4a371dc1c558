"""Prepare duets as real mixtures without references (stage 4).

Writes the centre segment of every duet and one embedding for each of its two players,
to be separated but not scored: there are no references. class_mean prompts a source by
the mean embedding of its instrument's training clips; halves by the left and the right
half of the picture.
"""

import math
from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, with_options


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    data_dir: str = option(..., "data/<set> of stage 1, with utt2pair")
    wav_dir: str = option(..., "output_dir of avsep_format_audio")
    output_dir: str = option(..., "where the set goes")
    fs: int = option(..., "sampling rate of the clips in Hz", least=1)
    segment_samples: int = option(65280, "samples of a segment", least=1)
    silence_dbfs: float = option(
        -60.0, "least RMS of a clip in dB", least=-math.inf, most=0
    )
    prompts: str = option(
        "class_mean", "what a source is prompted by", choices=("class_mean", "halves")
    )
    train_dir: Optional[str] = option(
        None, "the training set of stage 4 (for class_mean)"
    )
    visual_dir: List[str] = option(
        [],
        "features of the part of the picture of source 1, then of source 2 (for "
        "halves; repeat)",
        repeat=True,
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.data.clip_filter import Limits
    from espnet2_avsep.data.mixing.real_mixtures import make_real_mixtures

    make_real_mixtures(
        args.data_dir,
        args.wav_dir,
        args.output_dir,
        Limits(
            fs=args.fs,
            segment_samples=args.segment_samples,
            silence_dbfs=args.silence_dbfs,
        ),
        prompts=args.prompts,
        train_dir=args.train_dir,
        visual_dirs=args.visual_dir,
    )
