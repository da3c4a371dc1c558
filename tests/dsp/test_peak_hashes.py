import numpy as np
import pytest
import torch

from espnet2_avsep.dsp import peak_hashes as module
from espnet2_avsep.dsp.peak_hashes import HASH_BITS, HOP, N_FFT, peak_hashes, peaks
from tests.support.melodies import RATE, melody


def note(hertz, at, seconds=4.0):
    time = np.arange(int(seconds * RATE)) / RATE
    sound = np.sin(2 * np.pi * hertz * time) * np.exp(-3 * (time - at)) * (time >= at)
    return torch.from_numpy(sound.astype(np.float32))


def test_a_note_is_a_peak_at_its_frequency_and_time():
    bins, frames = peaks(note(1000, 2.0) + note(3000, 3.0))
    found = {(int(b), int(f)) for b, f in zip(bins, frames, strict=True)}
    for hertz, at in ((1000, 2.0), (3000, 3.0)):
        bin_, frame = hertz / (RATE / N_FFT), at * RATE / HOP
        assert any(abs(b - bin_) < 1.5 and -4 <= f - frame <= 2 for b, f in found), (
            found
        )


def test_a_pair_is_its_frequencies_and_its_distance():
    hashes, frames = peak_hashes(note(1000, 2.0) + note(1200, 2.5))
    wanted = round(1000 / RATE * N_FFT), round(200 / RATE * N_FFT), 0.5 * RATE / HOP
    found = [(h >> 12, (h >> 5 & 127) - 63, 2 * (h & 31)) for h in map(int, hashes)]
    assert any(np.allclose(f, wanted, atol=2) for f in found), found
    assert int(hashes.max()) < 1 << HASH_BITS
    assert torch.equal(frames, frames.sort().values)


def test_gain_changes_nothing():
    audio = torch.from_numpy(melody(0))
    for gain in (0.25, 2.0):  # powers of two are exact
        for a, b in zip(peak_hashes(gain * audio), peak_hashes(audio), strict=True):
            assert torch.equal(a, b)


def test_a_delay_of_whole_hops_delays_the_frames():
    audio = torch.from_numpy(melody(1))
    hashes, frames = peak_hashes(audio)
    later = torch.cat([1e-4 * torch.randn(20 * HOP), audio])
    a = set(zip(hashes.tolist(), (frames + 20).tolist(), strict=True))
    b = set(zip(*(x.tolist() for x in peak_hashes(later)), strict=True))
    assert len(a & b) > 0.9 * len(a)


def test_blocks_change_nothing(monkeypatch):
    audio = torch.from_numpy(melody(2))
    whole = peaks(audio)
    for size in (37, 100):
        monkeypatch.setattr(module, "_BLOCK", size)
        for a, b in zip(peaks(audio), whole, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("audio", [[], [0.1] * (N_FFT - 1), [0.0] * 5000])
def test_nothing_to_be_found(audio):
    hashes, frames = peak_hashes(torch.tensor(audio, dtype=torch.float32))
    assert len(hashes) == len(frames) == 0
