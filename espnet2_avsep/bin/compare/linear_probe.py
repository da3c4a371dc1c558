"""Probe embeddings for the class: the bottleneck of separators, and CLAP's (table 4).

Trains linear probes (multinomial logistic regression) that predict the class of a
single clip from the bottleneck of trained separators and from CLAP's embedding, on the
training clips; tests them on the test clips. Writes linear_probe.md, .json and
_predictions.tsv.
"""

from espnet2_avsep.analysis.linear_probe import ProbeOptions, probe_experiments
from espnet2_avsep.cli.options import with_options


@with_options(ProbeOptions)
def main(args: ProbeOptions) -> None:
    """Run the command."""
    probe_experiments(args)
