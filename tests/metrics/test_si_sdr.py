import numpy as np
import pytest

from espnet2_avsep.metrics.si_sdr import LIMIT_DB, si_sdr


def orthogonal(L=100):
    """Return two orthonormal signals."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((L, 2)))[0].T


@pytest.mark.parametrize("gain", [1, -0.3, 1e-9, 1e9])
def test_closed_form_at_any_gain(gain):
    source, noise = orthogonal()
    estimate = gain * (2 * source + 0.1 * noise)
    expected = 10 * np.log10(4 / 0.01)
    assert si_sdr(5 * source, estimate).item() == pytest.approx(expected, abs=1e-8)


def test_residual_is_orthogonal_to_the_reference():
    reference, estimate = np.random.default_rng(0).standard_normal((2, 3, 200))
    expected = []
    for r, e in zip(reference, estimate, strict=True):
        cosine = (r @ e) ** 2 / ((r @ r) * (e @ e))
        expected.append(10 * np.log10(cosine / (1 - cosine)))
    assert si_sdr(reference, estimate).tolist() == pytest.approx(expected, abs=1e-8)


def test_limits():
    reference = np.array([1.0, 2.0, 0.0, 0.0])
    assert si_sdr(reference, reference).item() == pytest.approx(LIMIT_DB)
    elsewhere = np.array([0.0, 0.0, 1.0, 0.0])
    assert si_sdr(reference, elsewhere).item() == pytest.approx(-LIMIT_DB)
    assert pytest.approx(313.07, abs=0.01) == LIMIT_DB


def test_offset_counts_unless_the_mean_is_taken_away():
    source, noise = orthogonal(1000)
    source, noise = source - source.mean(), noise - noise.mean()
    estimate = source + 0.01 * noise
    plain, moved = si_sdr(source, estimate), si_sdr(source, estimate + 1)
    assert moved < plain - 30
    centred = si_sdr(source, estimate + 1, zero_mean=True)
    assert centred.item() == pytest.approx(plain.item(), abs=1e-6)


@pytest.mark.parametrize("value,message", [(0.0, "silent"), (np.nan, "NaN")])
def test_undefined_signals_are_refused(value, message):
    good, bad = np.arange(10.0), np.full(10, value)
    with pytest.raises(ValueError, match=f"reference .*{message}"):
        si_sdr(bad, good)
    with pytest.raises(ValueError, match=f"estimate .*{message}"):
        si_sdr(good, bad)
    with pytest.raises(ValueError, match="silent but for its mean"):
        si_sdr(np.ones(10), good, zero_mean=True)


def test_tensors_score_as_arrays():
    import torch

    reference, estimate = np.random.default_rng(0).standard_normal((2, 3, 200))
    found = si_sdr(torch.from_numpy(reference), torch.from_numpy(estimate))
    assert np.array_equal(found, si_sdr(reference, estimate))
