import numpy as np
import pytest

from espnet2_avsep.baseline.rpca import RPCA, robust_pca


def low_rank_and_sparse(seed=0, size=(60, 50), rank=3, share=0.05):
    rng = np.random.default_rng(seed)
    low_rank = rng.normal(size=(size[0], rank)) @ rng.normal(size=(rank, size[1]))
    sparse = np.where(rng.uniform(size=size) < share, rng.uniform(-50, 50, size), 0)
    return low_rank, sparse


def objective(low_rank, sparse, weight):
    return np.linalg.norm(low_rank, "nuc") + weight * np.abs(sparse).sum()


def test_low_rank_and_sparse_parts_are_recovered():
    """Candes et al., 2011: with this weight, recovery is exact."""
    low_rank, sparse = low_rank_and_sparse()
    found = robust_pca(low_rank + sparse, 1 / np.sqrt(60))
    np.testing.assert_allclose(found[0], low_rank, atol=1e-4)
    np.testing.assert_allclose(found[1], sparse, atol=1e-4)
    assert np.linalg.matrix_rank(found[0], tol=1e-4) == 3


def test_nothing_near_is_better():
    rng = np.random.default_rng(1)
    matrix = rng.uniform(0, 1, (20, 15))
    low_rank, sparse = robust_pca(matrix, 1 / np.sqrt(20), 1e-9)
    np.testing.assert_allclose(low_rank + sparse, matrix, atol=1e-7)
    least = objective(low_rank, sparse, 1 / np.sqrt(20))
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            step = size * rng.normal(size=matrix.shape)
            moved = objective(low_rank + step, sparse - step, 1 / np.sqrt(20))
            assert moved > least - 1e-5


def test_masks_are_shares():
    matrix = np.abs(sum(low_rank_and_sparse(2))).astype(np.float32)
    soft = RPCA().masks(matrix, 2, 11025)
    np.testing.assert_allclose(soft.sum(axis=0), 1, atol=1e-5)
    assert soft.min() >= 0 and soft.dtype == np.float32
    binary = RPCA(binary=True).masks(matrix, 2, 11025)
    np.testing.assert_array_equal(binary[0], soft[0] >= soft[1])
    np.testing.assert_array_equal(binary.sum(axis=0), 1)


def test_silence_and_numbers_of_sources():
    silent = RPCA().masks(np.zeros((8, 6)), 2, 11025)
    assert np.isfinite(silent).all()
    with pytest.raises(ValueError, match="3 sources"):
        RPCA().masks(np.ones((8, 6)), 3, 11025)
