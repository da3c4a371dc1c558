"""The loss of a recursion: order of the steps, refined masks, rest."""

import pytest
import torch

from espnet2_avsep.layers.recursion import RecursionSteps
from espnet2_avsep.loss.abs_criterion import SeparationOutput
from espnet2_avsep.loss.recursive_mask import RecursiveMaskLoss

LOG2 = torch.tensor(2.0).log()


def output_of(rank, logits, refined=None, rest=0.0, size=(1, 4)):
    """Sources of which the first fills the mixture; logits are constants."""
    batch, sources = len(rank), len(rank[0])
    shape = (batch, sources, *size)
    mixture = torch.ones(batch, 1, *size)
    reference = torch.zeros(shape)
    reference[:, 0] = 1
    steps = RecursionSteps(
        torch.tensor(rank),
        torch.full(shape, logits),
        torch.full((batch, 1, *size), rest),
        refined is not None,
    )
    final = torch.full(shape, logits if refined is None else refined)
    return SeparationOutput(
        final, final.sigmoid(), mixture, reference, torch.zeros(batch, 1), steps=steps
    )


@pytest.mark.parametrize("sources", [1, 2, 3, 4])
def test_later_steps_count_more(sources):
    """Each distance is log 2: (1 + 2 + 4 + ...) / N of it."""
    loss = RecursiveMaskLoss(weighted=False)
    found = loss(output_of([list(range(sources))], 0.0))
    expected = (2**sources - 1) / sources * LOG2
    torch.testing.assert_close(found, expected[None])


def test_the_weight_is_that_of_the_step_not_of_the_place_in_the_list():
    """The first source is right and the second wrong by 10; two orders."""
    loss = RecursiveMaskLoss(weighted=False)
    first = loss(output_of([[0, 1]], 10.0))
    second = loss(output_of([[1, 0]], 10.0))
    torch.testing.assert_close(first, torch.tensor([10.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(second, torch.tensor([5.0]), atol=1e-3, rtol=0)


def test_refined_masks_and_those_before_them():
    loss = RecursiveMaskLoss(weighted=False)
    alone = loss(output_of([[0, 1]], 0.0))
    both = loss(output_of([[0, 1]], 0.0, refined=0.0))
    torch.testing.assert_close(both, 2 * alone)


def test_rest():
    """w relu(R - floor), w = log(1 + 1)."""
    found, none = (
        RecursiveMaskLoss(rest_weight=3.0)(output_of([[0]], 200.0, rest=rest))
        for rest in (0.51, 0.009)
    )
    torch.testing.assert_close(found, 3 * 0.5 * LOG2[None])
    assert none == 0


def test_ratio_masks_are_clamped():
    output = output_of([[0]], 200.0)
    loss = RecursiveMaskLoss(mask="ratio", weighted=False, max_ratio=2.0)
    output = output._replace(reference=output.reference * 9)
    torch.testing.assert_close(loss(output), torch.tensor([1.0]))


def test_unknown_mask():
    with pytest.raises(ValueError, match="mask='soft': expected one of binary, ratio"):
        RecursiveMaskLoss(mask="soft")
