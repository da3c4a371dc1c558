"""Draw spectrograms of mixtures, references and estimates side by side (figure 3).

A row for each source with the picture that it was prompted by, the mixture, each
system's estimate and the reference, as log-frequency magnitudes on one scale. Writes
panels_<mixture>.png.
"""

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.scoring.spectrogram_panels import PanelOptions, draw_panels


@with_options(PanelOptions)
def main(args: PanelOptions) -> None:
    """Run the command."""
    draw_panels(args)
