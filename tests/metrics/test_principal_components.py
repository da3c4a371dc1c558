import numpy as np
import pytest

from espnet2_avsep.metrics.principal_components import principal_components


def test_known_axes():
    t = np.linspace(-1, 1, 21)
    long, short = np.array([0.6, 0.8, 0]), np.array([-0.8, 0.6, 0])
    points = np.concatenate([5 * np.outer(t, long), 2 * np.outer(t, short)]) + 3
    found, share = principal_components(points, 2)
    np.testing.assert_allclose(found[:21], np.stack([5 * t, 0 * t], 1), atol=1e-12)
    # The second direction's greatest entry, -0.8, is made positive.
    np.testing.assert_allclose(found[21:], np.stack([0 * t, -2 * t], 1), atol=1e-12)
    assert share == pytest.approx(1)
    assert principal_components(points, 1)[1] == pytest.approx(25 / 29)


def test_no_variance():
    found, share = principal_components(np.ones((4, 3)))
    np.testing.assert_array_equal(found, 0)
    assert share == 1
