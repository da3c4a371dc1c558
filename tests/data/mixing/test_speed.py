from fractions import Fraction

import numpy as np
import pytest

from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.mixing.speed import (
    change_speed,
    parse_speed_factors,
    samples_to_read,
)
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import FS, write_sinusoids

SEGMENT = 4096
FACTORS = [0.8, 1.0, 1.25]


def pitch(samples):
    """Frequency of a sinusoid, Hz, by the parabola through its spectrum's peak."""
    levels = np.log(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) + 1e-12)
    k = int(np.argmax(levels))
    a, b, c = levels[k - 1 : k + 2]
    return (k + (a - c) / (2 * (a - 2 * b + c))) * FS / len(samples)


@pytest.mark.parametrize("factor", [0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 2.0])
@pytest.mark.parametrize("num", [1, 1000, SEGMENT])
def test_a_sinusoid_is_faster_and_as_loud(factor, num):
    (fraction,) = parse_speed_factors([min(factor, 1 / factor)])
    fraction = fraction if factor <= 1 else 1 / fraction
    length = samples_to_read(fraction, num)
    time = np.arange(length) / FS
    changed = change_speed(
        np.sin(2 * np.pi * 500 * time).astype(np.float32), fraction, num
    )
    assert changed.shape == (num,) and changed.dtype == np.float32
    expected = np.sin(2 * np.pi * 500 * factor * np.arange(num) / FS)
    inner = slice(30, num - 30)
    np.testing.assert_allclose(changed[inner], expected[inner], atol=5e-3)


@pytest.fixture(scope="module")
def sinusoids(tmp_path_factory):
    return write_sinusoids(tmp_path_factory.mktemp("sinusoids"), 40)


def build(corpus, **options):
    options.setdefault("segment_samples", SEGMENT)
    return MixAndSeparateDataset(**corpus.tables(), **options)


def found_factors(corpus, dataset):
    """The factor of each source of an epoch, from its pitch."""
    keys, factors = list(corpus.audio), []
    for index in range(len(dataset)):
        clips, item = dataset[index]
        for n, clip in enumerate(clips.split("+"), 1):
            reference = item[f"speech_ref{n}"]
            assert reference.shape == (SEGMENT,) and reference.dtype == np.float32
            assert np.abs(reference[50:-50]).max() == pytest.approx(0.25, abs=2e-3)
            factors.append(pitch(reference) / (300 + 40 * keys.index(clip)))
    return factors


def test_every_source_has_one_of_the_factors(sinusoids):
    dataset = build(sinusoids, speed_factors=FACTORS, repeat=4)
    factors = found_factors(sinusoids, dataset)
    nearest = [min(FACTORS, key=lambda f: abs(f - found)) for found in factors]
    np.testing.assert_allclose(factors, nearest, rtol=2e-3)
    counts = [nearest.count(factor) for factor in FACTORS]
    # 96 draws; the standard deviation of each number is 4.6.
    assert all(12 <= count <= 52 for count in counts)
    first, again = dataset[5], build(sinusoids, speed_factors=FACTORS, repeat=4)[5]
    assert first[0] == again[0]
    assert all(np.array_equal(first[1][k], again[1][k]) for k in first[1])
    assert "speed_factors=[0.8, 1.0, 1.25]" in repr(dataset)


def test_the_same_clips_as_without(sinusoids):
    plain, changed = build(sinusoids), build(sinusoids, speed_factors=FACTORS)
    assert "speed_factors" not in repr(plain)
    for index in range(len(plain)):
        assert plain[index][0] == changed[index][0]


def test_pictures_are_of_the_time_span_that_is_read(sinusoids):
    """Slower by a half, 9,000 samples come from 4,500: of the 10 rows 2 or 3."""
    widest = {}
    for factor in (0.5, 1.0):
        dataset = build(
            sinusoids, speed_factors=[factor], segment_samples=9000, visual_frames=2
        )
        widths = [
            np.ptp(item[f"visual_ref{n}"][:, 1])
            for _, item in (dataset[index] for index in range(len(dataset)))
            for n in (1, 2)
        ]
        widest[factor] = max(widths)
    assert widest[0.5] <= 3 < widest[1.0]


def test_a_short_clip_has_only_factors_that_it_is_long_enough_for(sinusoids):
    segment = min(sinusoids.num_samples.values())
    dataset = build(sinusoids, segment_samples=segment, speed_factors=[0.8, 1, 2])
    short = min(sinusoids.num_samples, key=sinusoids.num_samples.get)
    number = list(sinusoids.audio).index(short)
    for index in range(len(dataset)):
        clips, item = dataset[index]
        for n, clip in enumerate(clips.split("+"), 1):
            if clip == short:
                factor = pitch(item[f"speech_ref{n}"]) / (300 + 40 * number)
                assert min(abs(factor - 0.8), abs(factor - 1)) < 1e-3


@pytest.mark.parametrize(
    "value", [[], "0.9", [0.9, "1"], [0.4, 1], [1, 2.5], [True], None, 0.9, [1.1, 1.2]]
)
def test_wrong_factors_name_the_value(sinusoids, value):
    with pytest.raises(InputError, match="speed_factors is .*(from 0.5 to 2|at most)"):
        build(sinusoids, speed_factors=value)


def test_not_with_motion_nor_parts_of_one_video(sinusoids):
    motion = {key: str(path) for key, path in sinusoids.visual.items()}
    with pytest.raises(InputError, match="not its motion"):
        build(sinusoids, speed_factors=FACTORS, conditions={"motion": motion})
    with pytest.raises(InputError, match="pairs is same_video"):
        build(sinusoids, speed_factors=FACTORS, pairs="same_video")


def test_factors_are_fractions():
    factors = parse_speed_factors([1.1, 0.9, 1])
    assert factors == (Fraction(9, 10), Fraction(1), Fraction(11, 10))
