import numpy as np
import pytest
import torch

from espnet2_avsep.baseline.ideal_mask import IdealBinaryMask, IdealRatioMask
from espnet2_avsep.loss.abs_criterion import SeparationOutput
from espnet2_avsep.loss.binary_mask_bce import BinaryMaskBCE
from espnet2_avsep.loss.ratio_mask_l1 import RatioMaskL1


@pytest.fixture
def magnitudes():
    rng = np.random.default_rng(0)
    references = rng.uniform(0, 1, (2, 8, 6)).astype(np.float32)
    return np.abs(references[0] - 0.3 * references[1]), references


def output(logits, mask, mixture, references):
    def tensor(x):
        return torch.from_numpy(np.ascontiguousarray(x))[None]

    return SeparationOutput(
        logits=tensor(logits),
        mask=tensor(mask),
        mixture=tensor(mixture)[None],
        reference=tensor(references),
        bottleneck=torch.zeros(1, 1),
    )


def test_values():
    mixture = np.array([[1.0, 2.0, 0.0]])
    references = np.array([[[0.6, 0.5, 0.0]], [[0.4, 1.5, 1.0]]])
    binary = IdealBinaryMask().masks(mixture, 2, 1, references)
    np.testing.assert_array_equal(binary, [[[1, 0, 0]], [[0, 1, 1]]])
    ratio = IdealRatioMask(max_ratio=0.7).masks(mixture, 2, 1, references)
    np.testing.assert_allclose(ratio, [[[0.6, 0.25, 0]], [[0.4, 0.7, 0.7]]])


def test_they_are_the_targets_of_the_losses(magnitudes):
    mixture, references = magnitudes
    ratio = IdealRatioMask().masks(mixture, 2, 1, references)
    loss = RatioMaskL1()(output(ratio, ratio, mixture, references))
    assert loss.item() == pytest.approx(0, abs=1e-6)
    binary = IdealBinaryMask().masks(mixture, 2, 1, references)
    logits = 40 * (binary - 0.5)
    loss = BinaryMaskBCE()(output(logits, binary, mixture, references))
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss = BinaryMaskBCE()(output(-logits, binary, mixture, references))
    assert loss.item() > 1
