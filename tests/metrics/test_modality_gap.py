import numpy as np
import pytest

from espnet2_avsep.metrics.modality_gap import modality_gap, modality_gap_interval


def test_opposite_and_orthogonal_directions():
    x = np.array([[3.0, 0.0], [0.5, 0.0]])
    assert modality_gap(x, x) == 0
    assert modality_gap(x, 7 * x) == pytest.approx(0)
    assert modality_gap(x, -x) == pytest.approx(2)
    assert modality_gap(x, x[:, ::-1]) == pytest.approx(np.sqrt(2))


def test_means_are_taken_before_the_norm():
    # Unit vectors at +-60 degrees about an axis: their mean is half the axis.
    s, c = np.sin(np.pi / 3), np.cos(np.pi / 3)
    x = np.array([[c, s], [c, -s]])
    y = np.array([[-1.0, 0.0], [-1.0, 0.0]])
    assert modality_gap(x, y) == pytest.approx(1 + c)


def test_interval():
    rng = np.random.default_rng(0)
    x = np.array([1.0, 0, 0]) + 0.3 * rng.standard_normal((200, 3))
    y = np.array([0, 1.0, 0]) + 0.3 * rng.standard_normal((200, 3))
    low, high = modality_gap_interval(x, y, resamples=2000)
    assert low < modality_gap(x, y) < high
    # Against the normal approximation: delta method along the gap's direction.
    d = x / np.linalg.norm(x, axis=1)[:, None] - y / np.linalg.norm(y, axis=1)[:, None]
    direction = d.mean(axis=0) / np.linalg.norm(d.mean(axis=0))
    width = 2 * 1.96 * (d @ direction).std() / np.sqrt(200)
    assert high - low == pytest.approx(width, rel=0.1)
    assert modality_gap_interval(x, y, resamples=2000) == (low, high)
    assert np.isnan(modality_gap_interval(x[:1], y[:1])).all()


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones((2, 3)), np.ones((3, 3))),
        (np.ones((0, 3)), np.ones((0, 3))),
        (np.zeros((2, 3)), np.ones((2, 3))),
        (np.full((2, 3), np.inf), np.ones((2, 3))),
    ],
)
def test_nonsense_is_refused(x, y):
    with pytest.raises(ValueError):
        modality_gap(x, y)
