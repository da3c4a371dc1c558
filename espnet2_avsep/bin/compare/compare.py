"""Compare experiments that were scored on the same mixtures: tables and pictures.

Our scores beside the published ones and their protocol, paired differences with
bootstrap intervals, a table for each instrument, pictures. Trainings of one system that
differ only in their seed are one line, with the means over the seeds. A system that was
also separated with the pictures of other sources (--shuffle_visual) has a column that
says whether it learned to follow the pictures. Experiments scored on different lists
are an error. Writes compare_<set>.md and .csv, compare_<set>_differences.csv,
compare_<set>_instruments.csv and .png files.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.metrics.score_table import (
    RESAMPLES,
)
from espnet2_avsep.scoring.comparison_tables import (
    compare_numbers,
    compare_set,
    scored_on,
)
from espnet2_avsep.scoring.results import corpus_notes


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    experiment: List[str] = option(
        ...,
        "folder that holds scored_<set>: exp/avsep_<tag>, or a folder of an "
        "--inference_tag within it; NAME: in the tables (default: the config's "
        "'system'); repeat; trainings of one name are the seeds of one system",
        repeat=True,
        metavar="[NAME=]DIR",
    )
    set: List[str] = option(
        ["test"],
        "which scored_<set>; several, as test_2src test_3src, are also put into one "
        "table by number of sources, compare_by_sources.md and .csv",
    )
    output_dir: str = option(..., "where the files go")
    corpus: Optional[str] = option(
        None,
        "whose published scores stand in the table, e.g. MUSIC (default: none; all "
        "are listed below it)",
    )
    corpus_note: Optional[str] = option(
        None, "text at the top: what the corpus is (default: as in their RESULTS.md)"
    )
    over: Optional[str] = option(
        None,
        "also draw the scores over this value of the configs, e.g. "
        "criterions.alignment.weight (lambda): compare_<set>_over.csv and .png",
        metavar="KEY",
    )
    over_missing: Optional[str] = option(
        None, "the value to use where a config has none", metavar="VALUE"
    )
    plots: bool = option(True, "draw pictures (true or false)")
    seed: int = option(0, "of the bootstrap", least=0)
    resamples: int = option(RESAMPLES, "of the bootstrap", least=1)


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    if args.corpus_note is None:
        folders = (Path(e.partition("=")[2] or e) for e in args.experiment)
        args.corpus_note = corpus_notes(folders)
    results = {}
    for name in dict.fromkeys(args.set):
        one = dataclasses.replace(args, set=name)
        results[name] = compare_set(one, scored_on(name, args))
    if len(results) > 1:
        compare_numbers(args, results)
