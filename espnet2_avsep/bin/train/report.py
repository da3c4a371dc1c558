"""Write a page to look at and listen to what one or several systems made (stage 8).

Writes index.html, to be opened in any browser without a network: the scores of
RESULTS.md, a table of every source to sort and filter, players, spectrograms and masks
of the best, the worst and some other mixtures, the pictures that prompted them, a plot
of the instruments, curves. With several experiments, scored on the same mixtures: side
by side, with paired differences.
"""

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.scoring.result_report import ReportOptions, make_report


@with_options(ReportOptions)
def main(args: ReportOptions) -> None:
    """Run the command."""
    make_report(args)
