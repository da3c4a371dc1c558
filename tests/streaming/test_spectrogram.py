import numpy as np
import pytest

from espnet2_avsep.streaming.spectrogram import N_FFT, pooled_spectrogram


@pytest.mark.parametrize("size", [100, 5000, 10**6])
def test_tones_are_where_and_when_they_sound(size):
    fs = 8000
    time = np.arange(40 * fs) / fs
    wav = np.where(time < 20, np.sin(2 * np.pi * 1000 * time), 0)
    wav = (wav + 0.1 * np.sin(2 * np.pi * 3000 * time)).astype(np.float32)[None]
    blocks = np.split(wav, range(size, wav.shape[-1], size), axis=-1)
    picture = pooled_spectrogram(blocks, wav.shape[-1], columns=80)
    assert picture.shape == (N_FFT // 2 + 1, 80)
    low, high = round(1000 / fs * N_FFT), round(3000 / fs * N_FFT)
    np.testing.assert_allclose(picture[low, 1:39], 1, atol=0.02)
    assert (picture[low, 42:] < 1e-3).all()
    np.testing.assert_allclose(picture[high, 1:79], 0.1, atol=0.01)


def test_short_and_wrongly_stated_lengths():
    wav = np.ones((2, 10), np.float32)
    assert pooled_spectrogram([wav], 10).shape == (N_FFT // 2 + 1, 1)
    assert pooled_spectrogram([wav] * 1000, 10).shape == (N_FFT // 2 + 1, 1)
    assert pooled_spectrogram([], 0).max() == 0
