"""Draw how far DGFNet's gate lets the picture in, and where queries look.

On listed mixtures, of a trained query separator (DGFNet, iQuery): a table of the mean
gates, their histogram, heat maps of the extremes (DGFNet, figures 6 and 7), and maps of
the queries' attention.
"""

from espnet2_avsep.analysis.gate_analysis import GateOptions, analyse_gates
from espnet2_avsep.cli.options import with_options


@with_options(GateOptions)
def main(args: GateOptions) -> None:
    """Run the command."""
    analyse_gates(args)
