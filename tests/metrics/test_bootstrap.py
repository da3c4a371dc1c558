import numpy as np
import pytest

from espnet2_avsep.metrics.bootstrap import bootstrap_interval


def test_width_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap_interval(values, range(400))
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(
            rng.normal(0, 1, 50), range(50), resamples=500, seed=seed
        )
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_sources_of_a_mixture_stay_together():
    rng = np.random.default_rng(2)
    of_mixture = rng.normal(0, 1, 100)
    twice = np.repeat(of_mixture, 2)
    together = bootstrap_interval(twice, np.repeat(np.arange(100), 2))
    assert np.allclose(together, bootstrap_interval(of_mixture, range(100)))
    apart = bootstrap_interval(twice, range(200))
    ratio = (together[1] - together[0]) / (apart[1] - apart[0])
    assert ratio == pytest.approx(np.sqrt(2), rel=0.1)


def test_groups_of_different_size_weigh_by_their_rows():
    values = [0.0] * 9 + [1.0]
    groups = ["a"] * 9 + ["b"]
    low, high = bootstrap_interval(values, groups, resamples=1000)
    assert (low, high) == (0, 1)  # "a" or "b" is drawn twice half of the time
    low, high = bootstrap_interval(values, groups, level=0.2, resamples=1000)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_same_seed_same_interval():
    values, groups = np.random.default_rng(3).normal(size=(30, 4)), range(30)
    first = bootstrap_interval(values, groups, seed=7)
    assert np.array_equal(first, bootstrap_interval(values, groups, seed=7))
    assert not np.array_equal(first, bootstrap_interval(values, groups, seed=8))
    assert first[0].shape == (4,)
    single = bootstrap_interval(values[:, 2], groups, seed=7)
    assert single == (pytest.approx(first[0][2]), pytest.approx(first[1][2]))


def test_one_mixture_has_no_interval():
    assert np.isnan(bootstrap_interval([1.0, 2.0], ["a", "a"])).all()


@pytest.mark.parametrize(
    "values,groups", [([], []), ([1.0], ["a", "b"]), ([np.nan, 1.0], ["a", "b"])]
)
def test_bad_input(values, groups):
    with pytest.raises(ValueError):
        bootstrap_interval(values, groups)
