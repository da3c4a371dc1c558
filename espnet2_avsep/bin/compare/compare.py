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

from espnet2_avsep.analysis.clip_analysis import split_name
from espnet2_avsep.cli.options import with_options
from espnet2_avsep.scoring.compare_options import CompareOptions
from espnet2_avsep.scoring.comparison_tables import (
    compare_numbers,
    compare_set,
    scored_on,
)
from espnet2_avsep.scoring.results import corpus_notes


@with_options(CompareOptions)
def main(args: CompareOptions) -> None:
    """Run the command."""
    if args.corpus_note is None:
        args.corpus_note = corpus_notes(split_name(e)[1] for e in args.experiment)
    results = {}
    for name in dict.fromkeys(args.set):
        one = dataclasses.replace(args, set=name)
        results[name] = compare_set(one, scored_on(name, args))
    if len(results) > 1:
        compare_numbers(args, results)
