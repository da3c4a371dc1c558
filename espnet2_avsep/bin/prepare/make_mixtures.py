"""Draw the fixed mixtures of a valid or test set and write them (stage 4).

Draws mixtures of clips from a seed, or reads a list of them, and writes them as float32
wavs and scp files, with the list (mixtures.tsv) and its SHA-256. Centre segments are
used; each source is divided by the number of sources that sound.
"""

import math
from dataclasses import dataclass
from typing import List, Optional, Union

from espnet2_avsep.cli.options import Log, option, values, with_options


def silent_sources(text: str) -> Union[int, float, List[int]]:
    """Read the value of --silent_sources."""
    if "," in text:
        return [int(number) for number in text.split(",") if number]
    return float(text) if "." in text else int(text)


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    clips_dir: str = option(..., "output_dir of avsep_filter_clips")
    output_dir: str = option(..., "where the set goes")
    fs: int = option(..., "sampling rate of the clips in Hz", least=1)
    num_sources: int = option(2, "sources of a mixture", least=1, most=100)
    segment_samples: int = option(65280, "samples of a mixture", least=1)
    num_mixtures: Optional[int] = option(
        None, "how many to draw (default: as many as there are clips)", least=1
    )
    different_class: bool = option(
        False, "whether the sources of a mixture are of different classes"
    )
    same_class: bool = option(
        False, "whether the sources of a mixture are different clips of one class"
    )
    seed: int = option(0, "seed of the draw", least=0)
    list: Optional[str] = option(
        None,
        "make these mixtures instead: a mixtures.tsv, or lines of num_sources clip "
        "ids or wav names",
        metavar="FILE",
    )
    silence_dbfs: float = option(
        -60.0,
        "clips whose centre segment has a lower RMS are not drawn (dB, full scale = 0)",
        least=-math.inf,
        most=0,
    )
    visual_frames: int = option(1, "visual rows of each source", least=1)
    visual_stride: int = option(1, "distance of these rows, in rows", least=1)
    motion_align: str = option(
        "whole",
        "rows of motion, and of other conditions, of each source, where the clips have "
        "them: those of the whole clip, or of its segment",
        choices=("whole", "segment"),
    )
    silent_sources: Union[int, float, List[int]] = option(
        0,
        "sources that are seen and not heard: a number of them in each mixture, the "
        "probability that a source after the first is silent, or their numbers from "
        "1, e.g. 2,4",
        parse=silent_sources,
        metavar="N|P|N,N",
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.data.mixing.mixtures import make_mixtures

    make_mixtures(list_file=args.list, **values(args, "list"))
