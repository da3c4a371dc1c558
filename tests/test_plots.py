"""Figures of separations."""

import numpy as np
from PIL import Image

from espnet2_avsep.plots import save_drawn, spectrogram_panels


def test_a_figure_is_drawn_once_and_written_as_savefig_would(tmp_path):
    rng = np.random.default_rng(0)
    panels = {
        "mixture": rng.random((8, 6)),
        **{n: rng.random((2, 8, 6)) for n in ("reference", "estimate", "mask")},
    }
    figure = spectrogram_panels(panels, "mix")
    pixels = save_drawn(figure, tmp_path / "drawn.png")
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3 and pixels.std() > 10
    spectrogram_panels(panels, "mix").savefig(tmp_path / "saved.png")
    for name in ("drawn.png", "saved.png"):
        found = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        np.testing.assert_array_equal(found, pixels)
