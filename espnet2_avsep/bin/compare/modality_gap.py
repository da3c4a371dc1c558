"""Measure the modality gap: the distance of sound and picture embeddings (table 5).

Distance between the means of the audio and the visual embeddings of single clips, of
one or several trained separators, and of CLAP. Writes modality_gap.md, .json and .png
(principal components).
"""

from espnet2_avsep.analysis.modality_gap import GapOptions, measure_gaps
from espnet2_avsep.cli.options import with_options


@with_options(GapOptions)
def main(args: GapOptions) -> None:
    """Run the command."""
    measure_gaps(args)
