"""The options of a comparison of experiments."""

from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.metrics.score_table import RESAMPLES


@dataclass(kw_only=True)
class CompareOptions(Log):
    """What to compare, and how."""

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
