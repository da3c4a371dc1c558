import numpy as np
import pytest

from espnet2_avsep.analysis.log_spectrogram import LogSpectrogram

FS = 11625


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 3500.0])
def test_a_sine_lies_on_its_row(hertz):
    spectrogram = LogSpectrogram(FS)
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(FS) / FS)
    found = spectrogram(wave)
    assert found.shape == (256, FS // 256 + 1)
    row = spectrogram.rows_of([hertz])[0]
    assert found[:, 20].argmax() == pytest.approx(row, abs=2.5)
    # A bin of a Hann window holds a quarter of the frame at full scale 1.
    assert found[:, 20].max() == pytest.approx(0.5 * 1024 / 4, rel=0.2)


def test_ends_of_the_axis():
    spectrogram = LogSpectrogram(FS, num_log_bins=101)
    low, high = spectrogram.rows_of([0.0, FS / 2])
    assert (low, high) == pytest.approx((0, 100), abs=1e-9)
