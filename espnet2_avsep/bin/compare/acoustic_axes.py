"""Place instruments on two acoustic axes, and show which fusion wins there (figure 1).

Measures how transient and how rich in harmonics the instruments are, and shows which of
several scored systems (middle, late, hierarchical fusion) separates each best. Writes
acoustic_axes.md, .json, .png and acoustic_axes_clips.tsv.
"""

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.scoring.instrument_axes import AxesOptions, place_instruments


@with_options(AxesOptions)
def main(args: AxesOptions) -> None:
    """Run the command."""
    place_instruments(args)
