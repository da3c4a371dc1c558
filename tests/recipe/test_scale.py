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
    assert len(costs) == 11
    assert all(len(found) == len(SIZES) for found in costs.values())


def test_time_grows_linearly(costs, tmp_path):
    """CPU time, of which other processes may cost a little: the least of three runs."""
    least = dict(costs)
    for again in range(3):
        slow = [name for name, found in least.items() if growth(found) > GOAL_GROWTH]
        if not slow or again == 2:
            break
        for name, found in measure(tmp_path / str(again), SIZES, slow).items():
            least[name] = [min(pair) for pair in zip(least[name], found, strict=True)]
    assert not slow, {name: least[name] for name in slow}


def test_memory_does_not_grow_but_for_the_keys(costs):
    for name, (_, once, twice) in costs.items():
        more = (twice.mebibytes - once.mebibytes) * 1024 / (SIZES[2] - SIZES[1])
        assert more < MOST_KIB_AN_ENTRY, (name, more)


def test_quadratic_growth_would_be_seen():
    def step(seconds):
        return [Cost(0.3 + seconds * n**2, 0.0) for n in (0, 1, 2)]

    assert growth(step(1.0)) == pytest.approx(3.97 / 1.03)
    assert growth(step(0.01)) == 0.0  # 2 n take 0.04 s
    linear = growth([Cost(0.3 + n, 0.0) for n in (0, 1, 2)])
    assert linear == pytest.approx(1.97 / 1.03)


def test_noise_of_start_up_is_not_growth():
    """A process that imports torch takes 1.8 s, give or take a tenth of that."""
    none, once, twice = (Cost(seconds, 0.0) for seconds in (1.81, 1.95, 2.35))
    assert growth([none, once, twice]) < 1.5 < GOAL_GROWTH
    # Quadratic growth on top of the same start-up is seen.
    assert growth([none, none._replace(seconds=2.81), Cost(5.81, 0.0)]) > GOAL_GROWTH


def test_training_set_takes_little_for_a_clip():
    """Its process begins with torch, beside which its tables do not show above."""
    import tracemalloc

    from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset

    peaks = []
    for size in SIZES[1:]:
        keys = [f"c{n % 300:03d}-{n:08d}" for n in range(size)]
        tables = {
            "audio": {key: f"dump/{key}.wav" for key in keys},
            "visual": {key: f"dump/visual.ark:{n}" for n, key in enumerate(keys)},
            "num_samples": {key: 10**5 + n for n, key in enumerate(keys)},
            "num_rows": dict.fromkeys(keys, 10),
            "category": {key: key[:4] for key in keys},
        }
        tracemalloc.start()
        data = MixAndSeparateDataset(**tables, different_class=True)
        data._first_clip(0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] / peaks[0] < 2.2
    assert peaks[1] / SIZES[2] < 1024
