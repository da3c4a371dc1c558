"""The losses of CCoL, against numbers worked out by hand."""

import math

import pytest
import torch

from espnet2_avsep.layers.grounding import Grounding
from espnet2_avsep.loss.abs_criterion import SeparationOutput
from espnet2_avsep.loss.co_learning import (
    CoLearning,
    slots_per_video,
    winners,
)

NAN = math.nan
# Probability that a picture sounds: of the mixture, and of the sounds s0 and s2.
P_MIX = [0.8, 0.4, 0.3, 0.9]
P_S0 = [0.6, 0.7, 0.2, 0.1]
P_S2 = [0.25, 0.5, 0.5, 0.5]
# The sources' magnitudes: slots 1 and 3 are silent. One bin, in which log1p(X) = 2.
MIXTURE = math.e**2 - 1
SHARES = [0.75, 0.0, 0.25, 0.0]
MASKS = [0.5, 0.7, 0.9, 0.3]


def logits_of(probability):
    p = torch.tensor(probability, dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()], dim=-1)


def item(phase, masks=MASKS, p_mix=P_MIX):
    silent = torch.full((4, 2), NAN, dtype=torch.float64)
    logits = torch.stack(
        [logits_of(p_mix), logits_of(P_S0), silent, logits_of(P_S2), silent]
    )[None]
    as_maps = (
        torch.tensor(values).double()[None, :, None, None] for values in (masks, SHARES)
    )
    mask, reference = as_maps
    return SeparationOutput(
        logits=mask,
        mask=mask,
        mixture=torch.full((1, 1, 1, 1), MIXTURE).double(),
        reference=reference * MIXTURE,
        bottleneck=torch.zeros(1, 1),
        grounding=Grounding(logits, phase),
    )


def entropy(p):
    return -math.log(p)


# min over the two pictures of the first video, and the wrong picture for s2.
GROUNDING = entropy(0.7) + entropy(1 - 0.25)
# P0 = round(.8) .5 + round(.4) .7 = .5, P2 = 0 + .3; ratios .75 and .25; weight 2.
SEPARATION = (2 * abs(0.5 - 0.75) + 2 * abs(0.3 - 0.25)) / 2


def test_grounding_phase():
    found = CoLearning()(item("grounding"))
    assert found.tolist() == pytest.approx([GROUNDING])


def test_co_learning_phase():
    """Masks are gated by rounded probabilities; the cross-entropies weigh 1/4."""
    expected = SEPARATION + 0.25 * (GROUNDING + entropy(0.8) + entropy(0.9))
    found = CoLearning()(item("co_learning"))
    assert found.tolist() == pytest.approx([expected])


def test_cyclic_phase():
    """Winners: slot 1 of the first video (d .5 > .1), slot 3 of the second.

    d0 = 2 |.5 - .75| = .5, d1 = 2 |.7 - .75| = .1: r = round(1 - .5 / .6) = 0.
    d2 = 2 |.9 - .25| = 1.3, d3 = 2 |.3 - .25| = .1: slot 3.
    """
    positive = entropy(0.4) + entropy(0.9)
    negative = entropy(1 - 0.8) + entropy(1 - 0.3)
    solo = entropy(0.7) + entropy(1 - 0.25)
    expected = SEPARATION + 0.25 * (positive + negative) + 0.5 * solo
    found = CoLearning()(item("cyclic"))
    assert found.tolist() == pytest.approx([expected])


def test_cyclic_phase_follows_the_winner_and_not_the_smaller_entropy():
    """With the masks of the first video exchanged slot 0 wins: CE+(s0, v0) counts."""
    masks = [0.7, 0.5, 0.9, 0.3]
    separation = (2 * abs(0.7 - 0.75) + 2 * abs(0.3 - 0.25)) / 2
    positive = entropy(0.8) + entropy(0.9)
    negative = entropy(1 - 0.4) + entropy(1 - 0.3)
    solo = entropy(0.6) + entropy(1 - 0.25)
    expected = separation + 0.25 * (positive + negative) + 0.5 * solo
    found = CoLearning()(item("cyclic", masks))
    assert found.tolist() == pytest.approx([expected])


def test_loser_that_asks_for_the_sound_is_not_called_silent():
    """d1 = 2 |.7 - .74| = .08 loses against d0 = .06, and is not above 0.1."""
    masks = [0.72, 0.71, 0.9, 0.3]
    separation = (2 * abs(0.72 - 0.75) + 2 * abs(0.3 - 0.25)) / 2
    positive = entropy(0.8) + entropy(0.9)
    solo = entropy(0.6) + entropy(1 - 0.25)
    expected = separation + 0.25 * (positive + entropy(1 - 0.3)) + 0.5 * solo
    output = item("cyclic", masks)
    assert CoLearning()(output).tolist() == pytest.approx([expected])
    # With a lower threshold it is.
    expected += 0.25 * entropy(1 - 0.4)
    assert CoLearning(threshold=0.07)(output).tolist() == pytest.approx([expected])


def test_weights_of_the_terms():
    criterion = CoLearning(grounding_weight=3.0)
    expected = SEPARATION + 3 * (GROUNDING + entropy(0.8) + entropy(0.9))
    assert criterion(item("co_learning")).tolist() == pytest.approx([expected])
    criterion = CoLearning(mixture_weight=0.0, solo_weight=2.0)
    expected = SEPARATION + 2 * (entropy(0.7) + entropy(0.75))
    assert criterion(item("cyclic")).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("phase", ["co_learning", "cyclic"])
@pytest.mark.parametrize("rounding", ["round", "straight_through"])
def test_separation_teaches_grounding_only_straight_through(phase, rounding):
    output = item(phase)
    output.grounding.logits.requires_grad_()
    criterion = CoLearning(
        rounding=rounding, grounding_weight=0.0, mixture_weight=0.0, solo_weight=0.0
    )
    loss = criterion(output).sum()
    assert loss.item() == pytest.approx(SEPARATION)
    loss.backward()
    gradient = output.grounding.logits.grad[0, 0, :, 0]
    if rounding == "round":
        assert not gradient.any()
    else:
        # L_sep = |P0 - .75| + |P2 - .25|, P0 below, P2 above; p' = p (1 - p).
        slope = [-0.5, -0.7, 0.9, 0.3]
        expected = [s * p * (1 - p) for s, p in zip(slope, P_MIX, strict=True)]
        assert gradient.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("phase", ["grounding", "co_learning", "cyclic"])
def test_mixtures_without_silent_sources(phase):
    """Validation: each source is a video of one slot, which always wins."""
    p = {"mix": [0.8, 0.6], "s0": [0.7, 0.4], "s1": [0.2, 0.9]}
    logits = torch.stack([logits_of(values) for values in p.values()])[None]
    mask = torch.tensor([0.5, 0.3]).double()[None, :, None, None]
    reference = torch.tensor([0.75, 0.25]).double()[None, :, None, None] * MIXTURE
    output = item(phase)._replace(
        mask=mask, reference=reference, grounding=Grounding(logits, phase)
    )
    solo = entropy(0.7) + entropy(0.8)
    mixture = entropy(0.8) + entropy(0.6)
    expected = {
        "grounding": solo,
        "co_learning": SEPARATION + 0.25 * (solo + mixture),
        "cyclic": SEPARATION + 0.25 * mixture + 0.5 * solo,
    }[phase]
    assert CoLearning()(output).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("phase", ["grounding", "co_learning", "cyclic"])
def test_perfect_masks_and_silent_bins_give_finite_gradients(phase):
    """d0 + d1 = 0, and a mixture whose bins are all zero."""
    output = item(phase, [0.75, 0.75, 0.25, 0.25])
    parts = [
        output,
        output._replace(mixture=0 * output.mixture),
    ]
    for part in parts:
        logits = part.grounding.logits.clone().requires_grad_()
        mask = part.mask.clone().requires_grad_()
        loss = CoLearning()(
            part._replace(mask=mask, grounding=Grounding(logits, phase))
        )
        loss.sum().backward()
        assert loss.isfinite().all()
        assert logits.grad[:, [0, 1, 3]].isfinite().all()
        assert mask.grad is None or mask.grad.isfinite().all()
    assert winners(torch.zeros(1, 1, 2)).tolist() == [[[False, True]]]


def test_items_that_it_cannot_use():
    reference = torch.ones(2, 4, 1, 1)
    reference[:, [1, 3]] = 0
    assert slots_per_video(reference) == 2
    assert slots_per_video(torch.ones(2, 3, 1, 1)) == 1
    wrong = reference.clone()
    wrong[1] = wrong[1].flip(0)
    for each in (wrong, reference[:, :3], reference[:, 1:]):
        with pytest.raises(ValueError, match=r"silent_sources to \[2, 4\]"):
            slots_per_video(each)
    for each in (torch.ones(1, 1, 1, 1), reference[:, :2]):
        with pytest.raises(ValueError, match="two sources that sound"):
            slots_per_video(each)


def test_wrong_rounding():
    with pytest.raises(ValueError, match="rounding='floor'"):
        CoLearning(rounding="floor")
