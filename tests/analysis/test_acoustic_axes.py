import numpy as np
import pytest

from espnet2_avsep.analysis.acoustic_axes import (
    amplitude_ratio,
    clip_axes,
    harmonic_component_ratio,
    harmonic_energies,
)

FS = 11625


def harmonic_tone(f0, amplitudes, seconds=1.0):
    time = np.arange(int(seconds * FS)) / FS
    return sum(
        a * np.sin(2 * np.pi * n * f0 * time + n)
        for n, a in enumerate(amplitudes, 1)
        if a
    )


def test_amplitude_ratio_of_known_waves():
    time = np.arange(10000) / 10000
    assert amplitude_ratio(0.3 * np.sin(2 * np.pi * 50 * time)) == pytest.approx(
        np.sqrt(2), rel=1e-6
    )
    assert amplitude_ratio(np.array([1.0, -1.0, 1.0])) == 1
    click = np.zeros(400)
    click[7] = -0.01
    assert amplitude_ratio(click) == pytest.approx(20)
    # Squares of small samples must not vanish.
    assert amplitude_ratio(np.full(3, 1e-200)) == 1
    with pytest.raises(ValueError, match="silent"):
        amplitude_ratio(np.zeros(3))


def test_harmonic_component_ratio_by_hand():
    assert harmonic_component_ratio([2.0, 0, 0, 0]) == 1
    assert harmonic_component_ratio([0, 0, 0, 5.0]) == 0.25
    assert harmonic_component_ratio([1, 1]) == 0.75
    for wrong in ([0, 0], [1, -1]):
        with pytest.raises(ValueError):
            harmonic_component_ratio(wrong)


def test_energies_of_harmonics_are_the_squares_of_their_amplitudes():
    librosa = pytest.importorskip("librosa")
    amplitudes = [1.0, 0.5, 0, 0.7, 0.2, 0.1, 0.3, 0.05]
    wave = harmonic_tone(233.0, amplitudes)
    power = np.abs(librosa.stft(wave, n_fft=2048, hop_length=512)) ** 2
    inner = power[:, 3:-3]  # frames that lie within the sound
    f0 = np.full(inner.shape[1], 233.0)
    energies = harmonic_energies(inner, f0, FS)
    expected = np.square(amplitudes)
    np.testing.assert_allclose(energies / energies[0], expected, rtol=2e-3, atol=1e-5)
    # Twice the pitch: the even harmonics; above half the rate there are none.
    energies = harmonic_energies(inner, 2 * f0, FS)
    np.testing.assert_allclose(
        energies[:4] / energies[0], expected[1::2] / 0.25, rtol=2e-3
    )
    assert harmonic_energies(inner, np.full_like(f0, 1000.0), FS)[5:].sum() == 0


def test_clips():
    amplitudes = np.array([1.0, 0.8, 0.6, 0.4, 0.2, 0, 0.3, 0.1])
    energies = amplitudes**2
    numbers = np.arange(1, 9)
    expected = 1 - (energies / numbers).sum() / energies.sum()
    rich = clip_axes([harmonic_tone(220.0, amplitudes)], FS)
    assert rich.harmonic_complexity == pytest.approx(expected, abs=0.01)
    assert rich.voiced > 0.9
    sine = clip_axes([harmonic_tone(330.0, [1.0])] * 2, FS)
    assert sine.harmonic_complexity == pytest.approx(0, abs=0.01)
    assert sine.amplitude_ratio == pytest.approx(np.sqrt(2), rel=1e-3)
    click = np.zeros(FS // 2)
    click[FS // 4] = 1
    assert clip_axes([click], FS).amplitude_ratio == pytest.approx(np.sqrt(FS // 2))


def test_a_clip_that_is_never_voiced_has_no_complexity(monkeypatch):
    def pyin(wave, **options):
        frames = 5
        return np.full(frames, np.nan), np.zeros(frames, bool), np.zeros(frames)

    monkeypatch.setattr("librosa.pyin", pyin)
    found = clip_axes([np.ones(4096)], FS)
    assert np.isnan(found.harmonic_complexity) and found.voiced == 0
    assert found.amplitude_ratio == 1
