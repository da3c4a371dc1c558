import warnings

import numpy as np
import pytest

from espnet2_avsep.metrics import bss_eval as module
from espnet2_avsep.metrics.bss_eval import (
    bss_eval,
    bss_eval_by_mir_eval,
    bss_eval_sources,
    shortest_length,
)

NOISE_FLOOR_DB = 140  # what lies above is rounding error


def colour(shape, seed):
    """Low-pass noise: unlike white noise, its delayed copies are correlated."""
    noise = np.random.default_rng(seed).standard_normal((*shape[:-1], shape[-1] + 7))
    return np.lib.stride_tricks.sliding_window_view(noise, 8, axis=-1).mean(-1)


def mixtures(B=1, N=2, L=3000, seed=0):
    """Return references (B, N, L), leaky and noisy estimates, pairs with the mixture.

    The last of the N + 1 signals is the mixture.
    """
    references = colour((B, N, L), seed)
    mixture = references.sum(1, keepdims=True)
    estimates = 0.8 * references + 0.2 * mixture + 0.05 * colour((B, N, L), seed + 1)
    signals = np.concatenate([estimates, mixture], axis=1)
    pairs = [(n, n) for n in range(N)] + [(N, n) for n in range(N)]
    return references, signals, pairs


@pytest.mark.parametrize("N", [2, 3])
def test_equals_mir_eval(N):
    references, signals, pairs = mixtures(N=N)
    ours = bss_eval(references, signals, pairs)
    theirs = bss_eval_by_mir_eval(references, signals, pairs)
    for name in ("sdr", "sir", "sar"):
        mine, other = getattr(ours, name)[0], getattr(theirs, name)[0]
        ordinary = other < NOISE_FLOOR_DB  # a mixture has no artefacts
        assert np.abs(mine - other)[ordinary].max() < 1e-6
        assert (mine[~ordinary] > NOISE_FLOOR_DB).all()
    assert (theirs.sar[0, :N] < NOISE_FLOOR_DB).all()
    assert not ours.singular.any()


def test_length_of_several_blocks_equals_mir_eval():
    references, signals, pairs = mixtures(L=20000)
    ours = bss_eval(references, signals, pairs)
    theirs = bss_eval_by_mir_eval(references, signals, pairs)
    assert np.abs(ours.sdr - theirs.sdr).max() < 1e-6
    assert np.abs(ours.sir - theirs.sir).max() < 1e-6
    assert np.abs(ours.sar - theirs.sar)[:, :2].max() < 1e-6


@pytest.mark.parametrize("stored", ["int16", "float32"])
def test_band_limited_references(stored):
    # In float32 the SIR and SAR of mir_eval itself depend on the order of the sources.
    L = 8192
    spectra = np.fft.rfft(np.random.default_rng(0).standard_normal((1, 2, L)))
    spectra[..., L // 8 :] = 0
    references = np.fft.irfft(spectra)
    references *= 0.5 / np.abs(references).max()
    estimates = 0.8 * references + 0.2 * references[:, ::-1]
    estimates = estimates + 0.01 * colour(estimates.shape, 1)
    if stored == "int16":
        references = np.round(references * 2**15) / 2**15
    references = references.astype(np.float32)
    estimates = estimates.astype(np.float32)
    ours = bss_eval_sources(references, estimates)
    theirs = bss_eval_by_mir_eval(references, estimates, [(0, 0), (1, 1)])
    assert np.abs(ours.sdr - theirs.sdr).max() < 1e-6
    if stored == "int16":
        assert np.abs(ours.sir - theirs.sir).max() < 1e-6
        assert np.abs(ours.sar - theirs.sar).max() < 1e-6


def test_quiet_estimates_score_as_loud_ones():
    # mir_eval adds the reference to the projection and takes it away again, and loses
    # an estimate of 1e-16 of its reference altogether.
    references, signals, pairs = mixtures()
    loud, quiet = (bss_eval(references, g * signals, pairs) for g in (1, 1e-30))
    assert np.allclose(loud.sdr, quiet.sdr)
    assert np.allclose(loud.sir, quiet.sir)


def _sines(length):
    time = np.arange(length)
    return np.stack([np.sin(0.1 * time), np.sin(0.23 * time)])[None]


@pytest.mark.parametrize(
    "degenerate",
    ["equal", "scaled", "interference", "offset", "sines", "quantised sines", "quiet"],
)
def test_degenerate_signals_are_finite_where_mir_eval_is(degenerate):
    references, signals, _ = mixtures()
    estimates = {
        "equal": references,
        "scaled": -0.3 * references,
        "interference": references[:, ::-1],
        "offset": signals[:, :2] + 0.5,
        "quiet": 1e-5 * signals[:, :2],
    }.get(degenerate)
    if estimates is None:
        references = _sines(references.shape[-1])
        if degenerate == "quantised sines":
            references = np.round(references * 2**15) / 2**15
        estimates = references + 0.2 * references[:, ::-1] + 1e-3 * signals[:, :2]
    ours = bss_eval_sources(references, estimates)
    theirs = bss_eval_by_mir_eval(references, estimates, [(0, 0), (1, 1)])
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        assert np.isfinite(other).all()
        assert np.isfinite(mine).all()
        same = np.abs(mine - other) < 1e-6
        rounding = (mine > NOISE_FLOOR_DB) & (other > NOISE_FLOOR_DB)
        assert (same | rounding).all()


def test_identical_references_are_solved_and_reported():
    references, signals, _ = mixtures()
    references[:, 1] = references[:, 0]
    scores = bss_eval_sources(references, signals[:, :2])
    assert scores.singular.all()
    assert np.isfinite(scores.sdr).all()
    assert np.allclose(scores.sdr, scores.sar, atol=1e-6)
    alone = bss_eval(references[:, :1], signals, [(0, 0), (1, 0)])
    assert np.allclose(scores.sdr, alone.sdr, atol=1e-6)


def test_orthogonal_parts_without_filter_have_closed_form():
    L = 64
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((L, 3)))[0].T
    references = np.stack([basis[0], 5 * basis[1]])[None]
    estimate = 0.5 * basis[0] + 0.2 * basis[1] + 0.1 * basis[2]
    scores = bss_eval(references, estimate[None, None], [(0, 0)], filter_length=1)
    expected = (0.25 / (0.04 + 0.01), 0.25 / 0.04, (0.25 + 0.04) / 0.01)
    for value, ratio in zip(scores[:3], expected, strict=True):
        assert value.item() == pytest.approx(10 * np.log10(ratio), abs=1e-9)


def test_equals_explicit_least_squares():
    T, N, L = 5, 3, 200
    rng = np.random.default_rng(3)
    references = rng.standard_normal((N, L))
    estimate = rng.standard_normal(L) + references[1]
    delayed = np.stack(
        [np.pad(r, (k, T - 1 - k)) for r in references for k in range(T)], axis=1
    )
    padded = np.pad(estimate, (0, T - 1))

    def project(columns):
        return columns @ np.linalg.lstsq(columns, padded, rcond=None)[0]

    target, everything = project(delayed[:, T : 2 * T]), project(delayed)

    def ratio(numerator, denominator):
        return 10 * np.log10((numerator**2).sum() / (denominator**2).sum())

    scores = bss_eval(references[None], estimate[None, None], [(0, 1)], filter_length=T)
    expected = (
        ratio(target, padded - target),
        ratio(target, everything - target),
        ratio(everything, padded - everything),
    )
    assert np.ravel(scores[:3]) == pytest.approx(expected)


def _later(signals, samples):
    """Signals (..., L), delayed by some samples."""
    return np.pad(signals, ((0, 0), (0, 0), (samples, 0)))[..., :-samples]


def test_filtered_reference_is_no_distortion():
    references, _, _ = mixtures(L=2000)
    references[..., -511:] = 0  # so that nothing of the reflection is cut off
    filtered = references - 0.5 * _later(references, 511)
    scores = bss_eval_sources(references, filtered)
    assert (scores.sdr > 200).all()
    one_more = _later(references, 512)
    assert (bss_eval_sources(references, one_more).sdr < 60).all()


def test_order_and_scale_of_sources():
    references, signals, pairs = mixtures(N=3, L=2000)
    scores = bss_eval(references, signals, pairs)
    order = [2, 0, 1]
    swapped = bss_eval(
        np.array([[1e-6], [3.0], [40.0]]) * references[:, order],
        -7 * signals[:, [*order, 3]],
        pairs,
    )
    for value, other in zip(scores[:2], swapped[:2], strict=True):
        assert np.allclose(value[:, [*order, *(3 + n for n in order)]], other)


def test_batch_equals_single_items():
    references, signals, pairs = mixtures(B=3, L=1500)
    together = bss_eval(references, signals, pairs)
    for b in range(3):
        single = bss_eval(references[b : b + 1], signals[b : b + 1], pairs)
        for all_values, value in zip(together, single, strict=True):
            assert np.array_equal(all_values[b], value[0])


def test_one_source_has_no_interference():
    references, signals, _ = mixtures(L=1000)
    scores = bss_eval_sources(references[:, :1], signals[:, :1])
    theirs = bss_eval_by_mir_eval(references[:, :1], signals[:, :1], [(0, 0)])
    assert scores.sdr.item() == pytest.approx(theirs.sdr.item(), abs=1e-6)
    assert scores.sir.item() > NOISE_FLOOR_DB


def _spoil(signals, spoil):
    signals = signals.copy()
    signals[0, 1] = {"silent": 0.0, "NaN": np.nan, "inf": np.inf}[spoil]
    return signals


@pytest.mark.parametrize(
    "spoil,message", [("silent", "silent"), ("NaN", "NaN"), ("inf", "infinite")]
)
def test_undefined_signals_are_refused(spoil, message):
    references, signals, pairs = mixtures(L=1000)
    with pytest.raises(ValueError, match=f"reference 1 of item 0 .*{message}"):
        bss_eval(_spoil(references, spoil), signals, pairs)
    with pytest.raises(ValueError, match=f"signal 1 of item 0 .*{message}"):
        bss_eval(references, _spoil(signals, spoil), pairs)


def test_short_signals_are_refused():
    assert shortest_length(2) == 514
    references, signals, pairs = mixtures(L=514)
    assert np.isfinite(bss_eval(references, signals, pairs).sdr).all()
    with pytest.raises(ValueError, match="513 samples .* at least 514"):
        bss_eval(references[..., :513], signals[..., :513], pairs)


def test_shapes_are_checked():
    references, signals, pairs = mixtures(L=1000)
    with pytest.raises(ValueError, match="expected .B, N, L."):
        bss_eval(references[0], signals[0], pairs)
    with pytest.raises(ValueError, match="expected .1, M, 1000."):
        bss_eval(references, signals[..., :-1], pairs)
    with pytest.raises(ValueError, match="must have one shape"):
        bss_eval_sources(references, signals)


def test_exactly_singular_system_falls_back_to_least_squares():
    solution, singular = module._solve(np.ones((2, 2)), np.ones((2, 1)))
    assert singular
    assert solution == pytest.approx(0.5)


def test_deprecation_of_mir_eval_stays_silent():
    references, signals, pairs = mixtures(L=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bss_eval_by_mir_eval(references, signals, pairs[:1])


def test_breakdown_of_mir_eval_gives_nan(monkeypatch):
    import mir_eval.separation

    references, signals, pairs = mixtures(L=1000)

    def break_down(error):
        def raising(*args, **kwargs):
            raise error

        monkeypatch.setattr(mir_eval.separation, "bss_eval_sources", raising)
        return bss_eval_by_mir_eval(references, signals, pairs)

    for error in (
        np.linalg.LinAlgError("singular"),
        AttributeError("no numpy.linalg.linalg", name="linalg"),
    ):
        scores = break_down(error)
        assert np.isnan(scores.sdr).all()
        assert scores.singular.all()
    with pytest.raises(AttributeError, match="other"):
        break_down(AttributeError("other", name="other"))
