"""Write a page about a prepared corpus (end of stage 4).

Writes index.html, to be opened in any browser without a network: clips by class and
set, durations, loudness, silent and clipped clips, black and frozen videos, sample
pictures, what is missing and why, the lists of mixtures, leaks. It may be run after any
stage, and names what is not there yet.
"""

from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, values, with_options


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    sets: List[str] = option(..., "names of the sets")
    data_dir: str = option("data", "holds <set>/ of stage 1")
    dump_dir: str = option("dump/raw", "holds <set>/ and org/<set>/ of stages 2 to 4")
    output_dir: str = option(..., "where the page goes")
    fs: int = option(..., "rate of the formatted audio in Hz", least=1)
    max_videos: int = option(
        120, "most videos of which pictures are decoded, over all sets", least=0
    )
    num_pictures: int = option(4, "pictures of each video", least=1, most=100)
    leaks: Optional[str] = option(
        None, "table of the leak check (default: it was not run)"
    )
    title: str = option("Health report", "of the page")


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.report.health_report import write_health_report

    write_health_report(**values(args))
