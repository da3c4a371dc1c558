import pytest
import torch
from torch import nn
from torch.nn import functional as F

from espnet2_avsep.separator.tfc_tdf_separator import TFCTDFSeparator

CONF = {
    "visual_dim": 6,
    "num_bins": 16,
    "channels": (4, 8, 12),
    "blocks": 1,
    "convs": 1,
    "patch": 2,
    "width": 5,
}
# Complex logits are in single precision.
CLOSE = {"atol": 1e-6, "rtol": 1e-5}


def build(**options):
    torch.manual_seed(0)
    model = TFCTDFSeparator(**{**CONF, **options}).double()
    model(torch.randn(2, 1, 16, 24).double(), torch.randn(2, 2, 6).double())
    return model.eval()  # with statistics of some input


def inputs(frames=24, sources=3, rows=16):
    torch.manual_seed(1)
    feature = torch.randn(2, 1, rows, frames, dtype=torch.float64)
    return feature, torch.randn(2, sources, 6, dtype=torch.float64)


def test_the_mixture_is_encoded_once():
    model, sizes = build(), []
    for module in (model.patches, model.bottom, model.decoder[0]):
        module.register_forward_hook(lambda m, i, output: sizes.append(len(output)))
    model(*inputs())
    assert sizes == [2, 2, 2]


@pytest.mark.parametrize("training", [False, True])
def test_equals_one_plain_pass_per_source(training):
    """FiLM and the unpatching written out for one source and one patch at a time."""
    model = build().train(training)
    feature, visual = inputs()
    logits, _ = model(feature, visual)
    assert logits.is_complex()
    for n in range(3):
        maps = model.maps(model._decode(feature)[0])  # (B, K, T, F / patch)
        film = F.linear(visual[:, n], model.film[1].weight, model.film[1].bias)
        gamma, beta = film[:, :5, None, None], film[:, 5:, None, None]
        selected = (maps * (1 + gamma) + beta).clamp(min=0)
        for row in range(8):
            plain = torch.einsum(
                "bkt,vk->bvt", selected[..., row], model.unpatch.weight
            )
            plain = plain + model.unpatch.bias[:, None]  # two logits, two phases
            own = logits[:, n, 2 * row : 2 * row + 2]
            torch.testing.assert_close(own.real.double(), plain[:, :2], **CLOSE)
            torch.testing.assert_close(own.imag.double(), plain[:, 2:], **CLOSE)


def test_every_batch_norm_in_training_mode_collects_statistics():
    """Also where the rest of the network is in evaluation mode."""
    model = build()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.train().num_batches_tracked.item() for norm in norms]
    model(*inputs())
    assert [n.num_batches_tracked.item() for n in norms] == [n + 1 for n in before]


def test_rows_above_the_network_have_the_mask_of_the_last_one():
    model = build()
    feature, visual = inputs(rows=17)
    logits, _ = model(feature, visual)
    torch.testing.assert_close(logits[:, :, :16], model(feature[:, :, :16], visual)[0])
    assert torch.equal(logits[:, :, 16], logits[:, :, 15])


def test_real_masks_are_the_magnitudes_of_complex_ones():
    complex_masks, real_masks = build(), build(phase=False)
    state = complex_masks.state_dict()
    for name in ("unpatch.weight", "unpatch.bias"):
        state[name] = state[name][:2]
    real_masks.load_state_dict(state)
    logits, bottleneck = real_masks(*inputs())
    expected, same = complex_masks(*inputs())
    torch.testing.assert_close(logits, expected.real.double(), **CLOSE)
    torch.testing.assert_close(bottleneck, same)


@pytest.mark.parametrize("training", [False, True])
def test_complex_masks_follow_the_order_of_the_sources(training):
    model = build().train(training)
    feature, visual = inputs()
    expected = model(feature, visual)[0][:, [2, 0, 1]]
    torch.testing.assert_close(model(feature, visual[:, [2, 0, 1]])[0], expected)


@pytest.mark.parametrize("options", [{}, {"competition": True, "profile": 2}])
def test_every_weight_learns_from_complex_masks(options):
    model = build(**options).train()
    logits = model(*inputs())[0]
    torch.polar(logits.real.sigmoid(), logits.imag).real.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_shifted_input_gives_shifted_masks():
    model = build()
    context = model.context_frames
    feature, visual = inputs(frames=2 * context + 40)
    whole, _ = model(feature, visual)
    part, _ = model(feature[..., 4:], visual)
    torch.testing.assert_close(part[..., context:], whole[..., context + 4 :])


@pytest.mark.parametrize(
    "options", [{}, {"blocks": 2}, {"convs": 2}, {"layers": 2}, {"presence": 2}]
)
def test_a_mask_depends_on_the_context_and_on_no_more(options):
    if options.pop("layers", None):
        options["channels"] = (4, 8)
    model = build(**options)
    context = model.context_frames
    middle = context + 8
    feature, visual = inputs(frames=2 * middle)
    reached = torch.zeros(2 * middle, dtype=torch.bool)
    # Whether it is the first or the last frame of a pair matters.
    for frame in range(middle, middle + 4):
        given = feature.clone().requires_grad_()
        model(given, visual)[0][..., frame].abs().sum().backward()
        seen = given.grad.abs().sum(dim=(0, 1, 2)).nonzero()[:, 0] - frame + middle
        assert seen.min() >= middle - context and seen.max() <= middle + context
        reached[seen] = True
    # The bound is tight: some frame uses it.
    assert reached[middle - context] or reached[middle + context]


def test_dropout_changes_training_and_nothing_else():
    plain, dropping = build(), build(dropout=0.5)
    dropping.load_state_dict(plain.state_dict())
    expected = plain(*inputs())[0]
    assert torch.equal(dropping(*inputs())[0], expected)
    dropping.train()
    torch.manual_seed(0)
    maps = dropping.drop_maps(torch.ones(2, 5, 3, 4))
    assert set(maps.unique().tolist()) == {0.0, 2.0}  # whole maps, the rest doubled
    assert torch.equal(maps, maps[:, :, :1, :1].expand_as(maps))
    feature, visual = inputs()
    first, second = (dropping(feature, visual)[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_dropped_maps_are_0_for_all_queries_and_the_rest_are_doubled():
    model = build(dropout=0.5).train()
    nn.init.zeros_(model.film[1].weight)
    nn.init.zeros_(model.film[1].bias)  # FiLM changes nothing
    maps = model._decode(inputs()[0])[0]
    selected = model._select(maps, inputs()[1])  # (B, N, T', F', K)
    whole = model.maps(maps).clamp(min=0).permute(0, 2, 3, 1)[:, None]
    factor = selected.sum(dim=(2, 3)) / whole.sum(dim=(2, 3))  # (B, N, K)
    assert {round(value, 4) for value in factor.flatten().tolist()} == {0.0, 2.0}
    torch.testing.assert_close(selected, whole * factor[:, :, None, None])
    assert torch.equal(factor[:, :1].expand_as(factor) > 0, factor > 0)


def test_bad_options():
    with pytest.raises(ValueError, match="at least 2 levels"):
        build(channels=(4,))
    for wrong in ({"num_bins": 20}, {"patch": 3, "num_bins": 24}):
        with pytest.raises(ValueError, match="num_bins must be a multiple"):
            build(**wrong)
    with pytest.raises(ValueError, match="competition_dropout=2"):
        build(competition_dropout=2)


def magnitudes(model, feature, visual):
    return model(feature, visual)[0].real.double().sigmoid()


def test_masks_that_compete_are_a_softmax_over_sources_and_rest():
    plain, competing = build(), build(competition=True)
    competing.load_state_dict(plain.state_dict())  # the option has no weights
    feature, visual = inputs()
    logits = plain(feature, visual)[0]
    rest = torch.zeros_like(logits.real[:, :1])
    shares = torch.cat([logits.real, rest], dim=1).softmax(dim=1)[:, :-1].double()
    found = competing(feature, visual)[0]
    torch.testing.assert_close(found.real.double().sigmoid(), shares, **CLOSE)
    assert torch.equal(found.imag, logits.imag)
    assert float(shares.sum(dim=1).max()) < 1


def test_one_query_competes_with_the_rest_only():
    plain, competing = build(), build(competition=True)
    feature, visual = inputs(sources=1)
    expected = plain(feature, visual)[0]
    torch.testing.assert_close(competing(feature, visual)[0], expected)


@pytest.mark.parametrize("sources", [1, 2, 3, 4])
def test_any_number_of_sources_competes(sources):
    logits = 5 * torch.randn(2, sources, 3, dtype=torch.float64)
    found = build(competition=True)._compete(logits)
    total = logits.exp().sum(dim=1, keepdim=True) - logits.exp()
    torch.testing.assert_close(found, logits - total.log1p())


def test_masks_in_memory_are_frame_by_frame():
    """As the spectrum and the maps are, so that nothing is copied to another order."""
    logits, _ = build()(*inputs(rows=17))
    assert logits.transpose(-1, -2).is_contiguous()


def test_large_logits_compete_without_loss_of_digits():
    model = build(competition=True)
    logits = torch.tensor([[40.0, 35.0, -60.0]]).double().requires_grad_()
    found = model._compete(logits)
    others = [[35.0, 40.0, 40.0 + torch.tensor(-5.0).exp().log1p()]]
    torch.testing.assert_close(found, logits - torch.tensor(others).double())
    found.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("training", [False, True])
def test_competing_masks_follow_the_order_of_the_sources(training):
    model = build(competition=True).train(training)
    feature, visual = inputs()
    expected = model(feature, visual)[0][:, [2, 0, 1]]
    torch.testing.assert_close(model(feature, visual[:, [2, 0, 1]])[0], expected)


def test_competition_dropout_lets_each_source_compete_with_the_rest_only():
    plain, competing = build(), build(competition=True, competition_dropout=0.5)
    feature, visual = (torch.cat([x] * 8) for x in inputs())
    alone = magnitudes(plain.train(), feature, visual)
    torch.manual_seed(0)
    found = magnitudes(competing.train(), feature, visual)
    same = [torch.allclose(*pair) for pair in zip(found, alone, strict=True)]
    assert 2 < sum(same) < 14  # of 16 mixtures
    for shares, is_alone in zip(found, same, strict=True):
        assert is_alone or float(shares.sum(dim=0).max()) < 1
    competing.eval()
    assert float(magnitudes(competing, feature, visual).sum(dim=1).max()) < 1


def test_the_profile_is_added_to_the_logits_of_its_rows():
    plain, shaped = build(), build(profile=2)
    state = shaped.state_dict()
    shaped.load_state_dict({**state, **plain.state_dict()})
    feature, visual = inputs()
    first, last = shaped.profile
    values = F.linear(F.linear(visual, first.weight, first.bias), last.weight)
    values = values.repeat_interleave(2, dim=-1)[..., None]  # two rows a patch
    expected, found = plain(feature, visual)[0], shaped(feature, visual)[0]
    assert float(values.detach().std()) > 1e-3
    difference = (found.real - expected.real).double()
    torch.testing.assert_close(difference, values.expand_as(difference), **CLOSE)
    assert torch.equal(found.imag, expected.imag)


def with_presence(scale=1.0, **options):
    """A separator without and one with presence, of the same other weights."""
    plain, gated = build(), build(presence=3, **options)
    gated.load_state_dict({**gated.state_dict(), **plain.state_dict()})
    with torch.no_grad():
        gated.presence_query.weight.mul_(1e3 * scale)
        gated.presence_bias.fill_(0.5)
    return plain, gated


def test_presence_multiplies_the_masks_of_each_query():
    plain, gated = with_presence(presence_frames=5)  # as many as there are
    feature, visual = inputs()
    _, bottleneck = plain(feature, visual)
    sound = bottleneck.detach() @ gated.presence_sound.weight.T
    query = visual @ gated.presence_query.weight.T
    logits = torch.einsum("br,bnr->bn", sound, query) + 0.5
    found = gated.presence(bottleneck[:, None], visual)[:, 0]
    torch.testing.assert_close(found, logits)
    factor = logits.sigmoid()[:, :, None, None]
    assert float((factor.max() - factor.min()).detach()) > 0.1
    expected = factor * magnitudes(plain, feature, visual)
    torch.testing.assert_close(magnitudes(gated, feature, visual), expected, **CLOSE)
    imag = plain(feature, visual)[0].imag
    assert torch.equal(gated(feature, visual)[0].imag, imag)


def test_presence_of_a_frame_is_that_of_its_neighbourhood():
    plain, gated = with_presence(presence_frames=1, presence_scale=2.0)
    feature, visual = inputs(frames=32)
    deepest = plain._encode(feature)[0].mean(dim=-1)  # (B, C, 8)
    found = magnitudes(gated, feature, visual) / magnitudes(plain, feature, visual)
    for frame, cells in ((1, [0, 1]), (14, [2, 3, 4]), (31, [6, 7])):
        z = deepest[..., cells].mean(dim=-1)
        expected = (2 * gated.presence(z[:, None], visual)[:, 0]).sigmoid()
        expected = expected[..., None].expand_as(found[..., frame])
        torch.testing.assert_close(found[..., frame], expected, **CLOSE)


def test_presence_leaves_the_masks_of_training_alone():
    plain, gated = (model.train() for model in with_presence())
    expected, found = (magnitudes(model, *inputs()) for model in (plain, gated))
    torch.testing.assert_close(found, expected)


def test_factors_near_0_and_1_keep_masks_and_gradients_finite():
    for scale in (1e4, -1e4):
        _, gated = with_presence(scale)
        logits = gated(*inputs())[0]
        assert logits.isfinite().all()
        logits.real.sigmoid().sum().backward()
        for name, parameter in gated.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_what_sounds_is_what_gates_the_masks():
    _, gated = with_presence()
    feature, visual = inputs()
    sounds = torch.cat([feature, feature.flip(-1) / 2], dim=1)
    heard = torch.tensor([[True, True], [True, False]])
    logits = gated.ground(sounds, visual, heard)
    assert logits.shape == (2, 2, 3, 2) and logits[1, 1].isnan().all()
    for m in range(2):
        _, bottleneck = gated(sounds[:, m : m + 1], visual)
        expected = gated.presence(bottleneck[:, None], visual)[:, 0].sigmoid()
        found = logits.softmax(dim=-1)[:, m, :, 0]
        torch.testing.assert_close(found[heard[:, m]], expected[heard[:, m]])


def test_models_without_presence_have_the_weights_that_they_had():
    plain = build(competition=True, profile=2)
    assert not plain.tells_presence and not plain.grounds
    assert not [name for name in plain.state_dict() if "presence" in name]
