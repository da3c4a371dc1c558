"""The steps that handle lists grow with the corpus, and no faster."""

import pytest

from tests.benchmarks.bench_scale import GOAL_GROWTH, Cost, growth, measure

# Next to none: what start-up takes.
SIZES = (100, 10_000, 20_000)
# Of memory for an entry: 200,000 of them then take below 1 GiB.
MOST_KIB_AN_ENTRY = 5.0


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    return measure(tmp_path_factory.mktemp("scale"), SIZES)


def test_every_step_ran_on_every_size(costs):
    assert len(costs) == 12
    assert all(len(found) == len(SIZES) for found in costs.values())


def test_time_grows_linearly(costs):
    factors = {name: growth(found) for name, found in costs.items()}
    slow = {name: factor for name, factor in factors.items() if factor > GOAL_GROWTH}
    assert not slow, {name: costs[name] for name in slow}


def test_memory_does_not_grow_but_for_the_keys(costs):
    for name, (_, once, twice) in costs.items():
        more = (twice.mebibytes - once.mebibytes) * 1024 / (SIZES[2] - SIZES[1])
        assert more < MOST_KIB_AN_ENTRY, (name, more)


def test_quadratic_growth_would_be_seen():
    def step(seconds):
        return [Cost(0.3 + seconds * n**2, 0.0) for n in (0, 1, 2)]

    assert growth(step(1.0)) == pytest.approx(4.0)
    assert growth(step(0.01)) == 0.0  # 2 n take 0.04 s
    assert growth([Cost(0.3 + n, 0.0) for n in (0, 1, 2)]) == pytest.approx(2.0)
