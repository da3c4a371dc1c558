import numpy as np
import pytest

from espnet2_avsep.metrics.linear_probe import fit_linear_probe

CLASSES, DIM = 5, 12


def clouds(rng, count, spread):
    """Classes as clouds around corners."""
    centre = np.random.default_rng(99).standard_normal((CLASSES, DIM))
    y = np.arange(count) % CLASSES
    return centre[y] + spread * rng.standard_normal((count, DIM)), y


def test_separable_embeddings_are_all_told_apart():
    rng = np.random.default_rng(0)
    probe = fit_linear_probe(*clouds(rng, 60, 0.05), CLASSES)
    x, y = clouds(rng, 200, 0.05)
    assert (probe.predict(x) == y).all()


def test_shuffled_labels_give_chance():
    rng = np.random.default_rng(0)
    x, y = clouds(rng, 2000, 0.5)
    probe = fit_linear_probe(x, rng.permutation(y), CLASSES)
    x, y = clouds(rng, 2000, 0.5)
    # Of 2000 clips, within three standard deviations of 1 / 5.
    accuracy = (probe.predict(x) == y).mean()
    assert abs(accuracy - 1 / CLASSES) < 3 * np.sqrt(0.16 / 2000) + 0.05
    assert accuracy < 0.3


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
def test_equals_scikit_learn(penalty):
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    x, y = clouds(rng, 120, 1.0)
    x = 3 * x + 7
    probe = fit_linear_probe(x, y, CLASSES, penalty)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    other = linear_model.LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10000)
    expected = other.fit(z, y).predict_log_proba(z)
    np.testing.assert_allclose(probe.log_probability(x), expected, atol=2e-4)


def test_two_points_analytically():
    """Points at +-1 and two classes: the gradient of the loss is 0 in closed form."""
    penalty = 0.7
    probe = fit_linear_probe(np.array([[1.0], [-1.0]]), np.array([0, 1]), 2, penalty)
    w = probe.weight[0, 0]
    assert probe.weight[0, 1] == pytest.approx(-w, abs=1e-6)
    assert probe.bias[0] == pytest.approx(probe.bias[1], abs=1e-6)
    # d/dw of 2 log(1 + exp(-2 w)) + penalty w ** 2
    assert penalty * w == pytest.approx(2 / (1 + np.exp(2 * w)), abs=1e-5)


def test_scale_and_constant_values_do_not_matter():
    rng = np.random.default_rng(2)
    x, y = clouds(rng, 80, 1.0)
    wide = np.hstack([1e3 * x - 5, np.full((len(x), 1), 0.1)])
    one, two = fit_linear_probe(x, y, CLASSES), fit_linear_probe(wide, y, CLASSES)
    np.testing.assert_allclose(
        one.log_probability(x), two.log_probability(wide), atol=1e-4
    )
    np.testing.assert_allclose(two.weight[-1], 0, atol=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "penalty"),
    [
        (np.zeros((2, 3)), np.array([0]), 1.0),
        (np.zeros((0, 3)), np.zeros(0, int), 1.0),
        (np.full((1, 3), np.nan), np.array([0]), 1.0),
        (np.zeros((1, 3)), np.array([2]), 1.0),
        (np.zeros((1, 3)), np.array([0]), 0.0),
    ],
)
def test_nonsense_is_refused(x, y, penalty):
    with pytest.raises(ValueError):
        fit_linear_probe(x, y, 2, penalty)
