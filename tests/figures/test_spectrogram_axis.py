import numpy as np
import pytest

from espnet2_avsep.figures.spectrogram import ROWS, magnitudes, rows_of

FS = 11625


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 3500.0])
def test_a_sine_lies_on_its_row(hertz):
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(FS) / FS)
    [row] = rows_of([hertz], FS, ROWS)
    assert magnitudes(wave)[:, 20].argmax() == pytest.approx(row, abs=2.5)


def test_ends_of_the_axis():
    assert rows_of([0.0, FS / 2], FS, 101) == pytest.approx([0, 100], abs=1e-9)
