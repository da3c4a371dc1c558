"""MP-Net: order of the steps, rest, plus stage, and faults of the released code."""

import pytest
import torch

from espnet2_avsep.layers.recursion import content_order
from espnet2_avsep.loss.abs_criterion import SeparationOutput
from espnet2_avsep.loss.recursive_mask import RecursiveMaskLoss
from espnet2_avsep.separator.mp_net_separator import MPNetSeparator

DIM, F, T = 6, 16, 16


def build(**conf):
    torch.manual_seed(1)
    return MPNetSeparator(DIM, channels=4, layers=2, width=5, **conf)


def given(batch=2, sources=3):
    generator = torch.Generator().manual_seed(2)
    magnitude = torch.randn(batch, 1, F, T, generator=generator).exp()
    return magnitude, torch.randn(batch, sources, DIM, generator=generator)


class Bands(torch.nn.Module):
    """Replaces M-Net: each query's first value names the band that is its sound."""

    def __init__(self, sources, high=10.0):
        super().__init__()
        self.rows, self.high, self.seen = F // sources, high, []

    def query(self, visual):
        return visual.transpose(0, 1)

    def forward(self, feature, query):
        self.seen.append(feature)
        logits = torch.full((query.size(1), query.size(0), F, T), -self.high)
        for b in range(query.size(1)):
            for n in range(query.size(0)):
                band = int(query[n, b, 0]) * self.rows
                logits[b, n, band : band + self.rows] = self.high
        return logits, feature.mean(dim=(-2, -1))


def with_bands(sources, levels, **conf):
    """A separator of ideal bands, a mixture of these levels, and its queries."""
    model = build(**conf).eval()
    model.minus = Bands(sources)
    model.set_phase("minus")
    magnitude = torch.ones(1, 1, F, T)
    for n, level in enumerate(levels):
        rows = F // sources
        magnitude[..., n * rows : (n + 1) * rows, :] = level
    visual = torch.zeros(1, sources, DIM)
    visual[0, :, 0] = torch.arange(sources)
    return model, magnitude, visual


def test_the_strongest_sound_is_taken_first_and_the_rest_comes_back():
    model, magnitude, visual = with_bands(4, [2.0, 8.0, 1.0, 4.0])
    _, _, steps = model.run(magnitude, visual, compress=lambda x: x)
    assert steps.rank.tolist() == [[2, 0, 3, 1]]
    # What each step saw: the bands that the steps before had taken are empty.
    levels = [seen[0, 0, ::4, 0] for seen in model.minus.seen]
    expected = [[2, 8, 1, 4], [2, 0, 1, 4], [2, 0, 1, 0], [0, 0, 1, 0]]
    torch.testing.assert_close(
        torch.stack(levels), torch.tensor(expected).float(), atol=1e-3, rtol=1e-3
    )
    assert steps.rest.max() < 1e-3


def test_energies_are_those_of_the_linear_axis():
    """A row that represents four linear ones has four times the energy."""
    model, magnitude, visual = with_bands(2, [2.0, 1.0])
    for weight, first in ((1.0, 0), (4.0, 1)):
        rows = torch.ones(F)
        rows[F // 2 :] = weight
        _, _, steps = model.run(magnitude, visual, row_weight=rows)
        assert steps.rank[0, first] == 0


@pytest.mark.parametrize("mask", ["binary", "ratio"])
@pytest.mark.parametrize("training", [False, True])
def test_permuted_queries_give_permuted_masks_bit_by_bit(mask, training):
    model = build(mask=mask).train(training)
    magnitude, visual = given(2, 4)
    order = torch.tensor([3, 1, 0, 2])
    logits, _, steps = model.run(magnitude, visual)
    permuted, _, other = model.run(magnitude, visual[:, order])
    assert torch.equal(permuted, logits[:, order])
    assert torch.equal(other.rank, steps.rank[:, order])
    assert torch.equal(other.rest, steps.rest)


@pytest.mark.parametrize("levels", [[3.0, 3.0, 3.0], [0.0, 0.0, 0.0]])
def test_permuted_queries_where_energies_tie(levels):
    model, magnitude, visual = with_bands(3, levels)
    magnitude[..., 15:, :] = 0  # belongs to no band
    logits, _, steps = model.run(magnitude, visual)
    assert sorted(steps.rank[0].tolist()) == [0, 1, 2]
    for order in ([1, 0, 2], [2, 1, 0], [1, 2, 0]):
        permuted, _, other = model.run(magnitude, visual[:, order])
        assert torch.equal(permuted, logits[:, order])
        assert torch.equal(other.rank, steps.rank[:, order])


def test_content_order():
    queries = torch.tensor([[[1.0, 5.0], [0.0, 9.0], [1.0, -2.0]]])
    assert content_order(queries).tolist() == [[1, 2, 0]]
    assert content_order(torch.zeros(1, 3, 2)).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("sources", [2, 3, 4])
def test_one_set_of_weights_for_any_number_of_sources(sources):
    model = build().eval()
    magnitude, visual = given(2, sources)
    logits, _ = model(magnitude, visual)
    assert logits.shape == (2, sources, F, T)
    names = {k: v.shape for k, v in model.state_dict().items()}
    assert names == {k: v.shape for k, v in build().state_dict().items()}


def test_the_recursion_stops_where_the_rest_is_empty():
    """Levels 8, 4 and 0.1: what the first two leave is 39 dB below the mixture."""
    silent = torch.sigmoid(torch.tensor(-100.0))
    for stop_db, taken in ((None, 3), (-45.0, 3), (-30.0, 2), (-5.0, 1)):
        model, magnitude, visual = with_bands(3, [4.0, 0.1, 8.0], stop_db=stop_db)
        magnitude[..., 15:, :] = 0
        masks = model(magnitude, visual)[0].sigmoid()
        assert (masks.amax(dim=(-2, -1)) > silent).sum() == taken
        assert masks[0, 2].max() > 0.99
        model.uses_plus.fill_(1)
        masks = model(magnitude, visual)[0].sigmoid()
        assert (masks.amax(dim=(-2, -1)) > silent).sum() == taken
        # In training all steps are made.
        model.train()
        assert (model(magnitude, visual)[0].amax(dim=(-2, -1)) > -100).all()


def test_silence_stops_before_the_first_step():
    model = build(stop_db=-20.0).eval()
    masks = model(torch.zeros(1, 1, F, T), given(1)[1])[0].sigmoid()
    assert masks.max() < 1e-40


def test_mixtures_of_a_batch_stop_apart():
    model, magnitude, visual = with_bands(2, [4.0, 0.01], stop_db=-30.0)
    both = torch.cat([magnitude, torch.ones_like(magnitude)])
    masks = model(both, visual.expand(2, -1, -1))[0].sigmoid().amax(dim=(-2, -1))
    assert (masks > 0.5).tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize(
    "conf, message",
    [
        ({"stop_db": 0.0}, "stop_db=0.0: expected a level below 0 dB"),
        ({"mask": "soft"}, "mask='soft': expected one of binary, ratio"),
    ],
)
def test_bad_values(conf, message):
    with pytest.raises(ValueError, match=message):
        build(**conf)


def test_phase_that_is_unknown():
    with pytest.raises(ValueError, match="'last' is none of"):
        build().set_phase("last")


# Faults of the released code, each with the right behaviour.


def output_of(model, magnitude, visual, reference):
    logits, bottleneck, steps = model.run(magnitude, visual)
    return SeparationOutput(
        logits, logits.sigmoid(), magnitude, reference, bottleneck, steps=steps
    )


def test_fault_the_penalty_on_the_rest_has_no_gradient():
    model = build()
    model.set_phase("minus")
    magnitude, visual = given()
    output = output_of(model, magnitude, visual, torch.zeros(2, 3, F, T))
    output.steps.rest.sum().backward()
    assert model.minus.decoder.blocks[-1].conv.weight.grad.abs().max() > 0


def test_fault_the_input_of_a_step_is_not_detached():
    """log(rest) has a gradient of 1 / rest, without bound where a mask is 1."""
    model = build(mask="ratio")
    model.set_phase("minus")
    magnitude, visual = given(1, 2)
    seen = []
    model.minus.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    model.run(magnitude, visual, compress=lambda x: (x + 1e-10).log())
    assert len(seen) == 2
    assert not any(x.requires_grad for x in seen)


def test_fault_the_plus_stage_sees_nothing_of_the_sounds_before():
    """In the release its first input is always zero."""
    model, magnitude, visual = with_bands(3, [2.0, 8.0, 4.0])
    magnitude[..., 15:, :] = 0
    model.set_phase("plus")
    seen = []
    model.plus.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    model(magnitude, visual)
    earlier, own = seen[0].expm1().unflatten(0, (3, 1))[:, 0].unbind(dim=1)
    bands = torch.zeros(3, F, T)  # in the order of the steps
    for step, (band, level) in enumerate([(1, 8.0), (2, 4.0), (0, 2.0)]):
        bands[step, 5 * band : 5 * band + 5] = level
    expected = torch.cat([torch.zeros(1, F, T), bands[:1], bands[:1] + bands[1:2]])
    torch.testing.assert_close(own, bands, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(earlier, expected, atol=1e-2, rtol=1e-2)


def test_fault_the_plus_stage_is_dead():
    """It changes the masks, learns, and moves each bin both ways."""
    model = build()
    magnitude, visual = given()
    refined, _, steps = model.run(magnitude, visual)
    assert (refined - steps.logits).abs().max() > 1e-3
    refined.sum().backward()
    for name, parameter in model.plus.named_parameters():
        assert parameter.grad.abs().max() > 0, name

    class Residual(torch.nn.Module):
        value = 0.0

        def forward(self, pairs):
            return pairs.new_full((len(pairs), F, T), self.value)

    model.plus = Residual()
    model.eval()
    before = model.run(magnitude, visual)[2].logits.sigmoid()
    r = torch.tensor(0.5).tanh()
    for value, expected in (
        (0.0, before),
        (20.0, 1.0),
        (-20.0, 0.0),
        (0.5, before + r * (1 - before)),
        (-0.5, before - r * before),
    ):
        model.plus.value = value
        mask = model(magnitude, visual)[0].sigmoid()
        assert (mask - expected).abs().max() < 2e-3


def test_fault_the_logarithm_of_a_rounded_mask():
    """Where a mask is 0 everywhere, the plus stage has finite inputs and gradients."""
    model, magnitude, visual = with_bands(2, [4.0, 0.0])
    model.minus.high = 200.0  # masks are exactly 0 and 1
    model.set_phase("both")
    model.train()
    seen = []
    model.plus.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    logits, _ = model(magnitude, visual)
    logits.square().sum().backward()
    assert seen[0].isfinite().all() and logits.isfinite().all()
    for name, parameter in model.plus.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_fault_silence_is_scaled_to_a_constant():
    """An empty mixture stays empty: finite masks, nothing left, a finite loss."""
    model = build()
    visual = given()[1]
    magnitude = torch.zeros(2, 1, F, T)
    output = output_of(model, magnitude, visual, torch.zeros(2, 3, F, T))
    assert output.logits.isfinite().all() and output.steps.rest.abs().max() == 0
    assert RecursiveMaskLoss()(output).isfinite().all()
