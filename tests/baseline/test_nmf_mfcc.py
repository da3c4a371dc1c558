import numpy as np
import pytest

from espnet2_avsep.baseline.nmf_mfcc import (
    NMFMFCC,
    factorise,
    k_means,
    spectrum_mfcc,
)

FS = 11025


def divergence(v, model):
    return (v * np.log(v / model) - v + model).sum()


def test_factorisation_is_that_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    rng = np.random.default_rng(0)
    v = rng.uniform(0.1, 1, (20, 30))
    w, h = rng.uniform(0.5, 1, (20, 4)), rng.uniform(0.5, 1, (4, 30))
    reference = decomposition.NMF(
        4,
        init="custom",
        solver="mu",
        beta_loss="kullback-leibler",
        max_iter=20,
        tol=0,
    )
    expected = reference.fit_transform(v, W=w.copy(), H=h.copy())
    ours, course = factorise(v, w, h, 20)
    np.testing.assert_allclose(
        ours @ course, expected @ reference.components_, rtol=1e-6
    )
    np.testing.assert_allclose(ours.sum(axis=0), 1)


def test_each_iteration_lowers_the_divergence():
    rng = np.random.default_rng(1)
    v = rng.uniform(0.1, 1, (15, 20))
    w, h = rng.uniform(0.5, 1, (15, 3)), rng.uniform(0.5, 1, (3, 20))
    values = []
    for n in range(1, 15):
        ours, course = factorise(v, w, h, n)
        values.append(divergence(v, ours @ course))
    assert all(b < a for a, b in zip(values[:-1], values[1:], strict=True))


def test_exact_factors_are_found_again():
    rng = np.random.default_rng(2)
    v = rng.uniform(0, 1, (12, 2)) @ rng.uniform(0, 1, (2, 40))
    w, h = factorise(
        v, rng.uniform(0.5, 1, (12, 2)), rng.uniform(0.5, 1, (2, 40)), 3000
    )
    np.testing.assert_allclose(w @ h, v, atol=2e-3)


def test_cepstra_follow_their_definition():
    """Mel bands in dB, then an orthonormal cosine transform written out."""
    import librosa

    rng = np.random.default_rng(3)
    spectra = rng.uniform(0.1, 1, (129, 5))
    mel = librosa.filters.mel(sr=FS, n_fft=256, n_mels=32)
    level = 10 * np.log10(mel @ spectra**2)
    k, n = np.arange(13)[:, None], np.arange(32)[None]
    basis = np.cos(np.pi * k * (2 * n + 1) / 64) * np.sqrt(2 / 32)
    basis[0] /= np.sqrt(2)
    found = spectrum_mfcc(spectra, FS, 13, 32)
    np.testing.assert_allclose(found, (basis @ level).T, atol=1e-4)


def test_k_means_finds_what_scikit_learn_finds():
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(4)
    points = np.concatenate([rng.normal(m, 1.0, (15, 2)) for m in (0, 3, 7)])
    label = k_means(points, 3, 10, np.random.default_rng(0))
    reference = cluster.KMeans(3, n_init=20, random_state=0).fit(points)
    pairs = set(zip(label.tolist(), reference.labels_.tolist(), strict=True))
    assert len(pairs) == 3


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_k_means_leaves_no_group_empty(groups):
    points = np.zeros((6, 2))
    points[0] = 1
    label = k_means(points, groups, 3, np.random.default_rng(0))
    assert set(label) == set(range(groups))


def test_two_timbres_come_apart():
    """A low and a high source, each with two spectra: no bin is shared."""
    rng = np.random.default_rng(5)
    sources = np.zeros((2, 65, 40))
    for n in range(2):
        for k in range(2):
            spectrum = np.exp(-0.5 * ((np.arange(65) - 8 - 40 * n - 4 * k) / 2) ** 2)
            sources[n] += np.outer(spectrum, rng.uniform(0, 1, 40) ** 4)
    mixture = sources.sum(axis=0)
    masks = NMFMFCC(components=2, iterations=300).masks(mixture, 2, FS)
    np.testing.assert_allclose(masks.sum(axis=0)[mixture > 1e-3], 1, atol=1e-6)
    errors = [
        np.abs(masks[list(order)] * mixture - sources).sum() / sources.sum()
        for order in ((0, 1), (1, 0))
    ]
    assert min(errors) < 0.02


def test_masks_are_reproducible_and_outlive_silence():
    mixture = np.random.default_rng(6).uniform(0, 1, (33, 10)).astype(np.float32)
    a, b = (NMFMFCC(components=3, iterations=5).masks(mixture, 3, FS) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert a.shape == (3, 33, 10) and a.dtype == np.float32
    silent = NMFMFCC(components=3, iterations=5).masks(np.zeros((33, 10)), 2, FS)
    assert np.isfinite(silent).all() and silent.min() >= 0
