"""What is peculiar to queries: padding, classes, new queries, one pass per source."""

import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.separator.query_separator import QuerySeparator

DIM, MOTION_DIM, CLASSES = 6, 7, 4
TINY = {
    "visual_dim": DIM,
    "num_queries": CLASSES,
    "motion_dim": MOTION_DIM,
    "channels": 8,
    "layers": 3,
    "middle_level": 2,
    "width": 8,
    "attention_groups": 4,
    "dim": 16,
    "heads": 2,
    "feedforward_dim": 32,
}


def build(**changes):
    torch.manual_seed(0)
    return QuerySeparator(**{**TINY, **changes}).eval()


def inputs(sources=2, steps=5):
    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(2, 1, 16, 16, generator=generator)
    return feature, {
        "visual": torch.randn(2, sources, DIM, generator=generator),
        "motion": torch.randn(2, sources, steps, MOTION_DIM, generator=generator),
        "motion_lengths": torch.randint(
            1, steps + 1, (2, sources), generator=generator
        ),
        "labels": torch.randint(CLASSES, (2, sources), generator=generator),
    }


def test_padded_steps_change_nothing():
    """Whatever stands in them, and however many there are."""
    model = build()
    feature, told = inputs()
    told["motion_lengths"] = torch.tensor([[5, 2], [3, 1]])
    expected = model(feature, **told)[0]
    padded = torch.arange(5) >= told["motion_lengths"][..., None]
    other = dict(told)
    other["motion"] = told["motion"].masked_fill(padded[..., None], 1e3)
    torch.testing.assert_close(model(feature, **other)[0], expected, atol=0, rtol=0)
    more = torch.full((2, 2, 4, MOTION_DIM), -50.0)
    other["motion"] = torch.cat([told["motion"], more], dim=2)
    torch.testing.assert_close(
        model(feature, **other)[0], expected, atol=1e-5, rtol=1e-5
    )
    # A step that is not padding does change the mask.
    other["motion"] = told["motion"].clone()
    other["motion"][1, 1, 0] += 1.0
    changed = (model(feature, **other)[0] - expected).abs().amax(dim=(2, 3))
    assert changed[1, 1] > 1e-4 and changed.flatten()[:3].max() < 1e-6
    # And without lengths, all steps count.
    del other["motion_lengths"]
    assert (model(feature, **other)[0] - expected).abs().max() > 1e-4


def test_the_order_of_the_steps_counts_only_with_positions():
    """Without them, masks are the same for a melody that is played backwards."""
    feature, told = inputs()
    told["motion_lengths"] = torch.full((2, 2), 5)
    backwards = {**told, "motion": told["motion"].flip(2)}
    for positions in (False, True):
        model = build(motion_positions=positions)
        change = model(feature, **told)[0] - model(feature, **backwards)[0]
        assert (change.abs().max() > 1e-4) == positions


def test_motion_only_weighs_the_maps_of_the_mixture():
    """logits(f, t) = q(motion) . F_a(f, t): of any number of motions, rank width."""
    model = build(gate="none", audio_attention=None, motion_positions=True)
    feature, told = inputs(sources=20)
    told["visual"] = told["visual"][:, :1].expand(-1, 20, -1)
    told["labels"] = torch.zeros(2, 20, dtype=torch.long)
    logits = model.double()(
        feature.double(),
        **{k: v.double() if v.is_floating_point() else v for k, v in told.items()},
    )[0]
    assert torch.linalg.matrix_rank(logits.flatten(2)).tolist() == [8, 8]  # width


def test_standardised_motion_does_not_depend_on_its_scale():
    """Optical flow has small values: queries hardly change by them."""
    feature, told = inputs(steps=9)
    told["motion_lengths"] = torch.full((2, 2), 9)
    change = {}
    for standardised in (False, True):
        for scale in (1.0, 0.01):
            model = build(motion_standardised=standardised)
            own = {**told, "motion": told["motion"] * scale}
            if standardised:
                model.motion_scale.train()(own["motion"])
                model.motion_scale.eval()
            other = {**own, "motion": own["motion"].flip(1)}
            gap = model(feature, **own)[0] - model(feature, **other)[0]
            change[standardised, scale] = gap.abs().mean().item()
    assert change[True, 0.01] == pytest.approx(change[True, 1.0], rel=1e-4)
    assert change[False, 0.01] < 0.05 * change[False, 1.0]


def test_padded_steps_are_no_part_of_the_statistics():
    model = build(motion_standardised=True).train()
    feature, told = inputs()
    model(feature, **told)
    seen = torch.arange(5) < told["motion_lengths"][..., None]
    rows = told["motion"][seen].double()
    assert model.motion_scale.count == len(rows)
    torch.testing.assert_close(model.motion_scale.mean, rows.mean(dim=0))


def slow_and_quick(batch, generator):
    """Mixtures of held tones of slow players and pulses of quick ones, in any order.

    Returns:
        Which parts are a source's, (B, 2, 16, 16), and its motion, (B, 2, 24, 7): a
        velocity of unknown phase, and noise.
    """
    quick = torch.rand(batch, generator=generator) < 0.5
    quick = torch.stack([quick, ~quick], dim=1)
    rate = torch.where(quick, 0.25, 0.02)[..., None]  # periods a step
    start = torch.rand(batch, 2, 1, generator=generator)
    place = torch.sin(2 * torch.pi * (rate * torch.arange(25) + start))
    motion = place.diff()[..., None] * torch.linspace(0.5, 1.0, MOTION_DIM)
    motion = motion + 0.1 * torch.randn(motion.shape, generator=generator)
    sounds = torch.zeros(batch, 2, 16, 16)
    for item, kinds in zip(sounds, quick, strict=True):
        for sound, is_quick in zip(item, kinds, strict=True):
            if is_quick:
                sound[:, int(torch.randint(4, (1,), generator=generator)) :: 4] = 1
            else:
                sound[torch.randint(16, (3,), generator=generator)] = 1
    return sounds, motion


@pytest.mark.parametrize(
    "network", [{"gate": "none", "audio_attention": None}, {"gate": "dynamic"}]
)
def test_masks_follow_the_kind_of_motion_on_what_was_never_heard(network):
    """iQuery and DGFNet; the phase of the motion is of no use, the picture neither."""
    model = build(
        queries="label_free",
        motion_standardised=True,
        motion_positions=True,
        decoder_layers=1,
        **network,
    ).train()
    optim = torch.optim.Adam(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(1, 2, DIM)

    def logits(sounds, motion):
        mixture = sounds.sum(dim=1, keepdim=True).log1p()
        return model(mixture, picture.expand(len(sounds), -1, -1), motion)[0]

    new_sounds, new_motion = slow_and_quick(32, generator)
    batches = [x.split(8) for x in slow_and_quick(64, generator)]
    for sounds, motion in list(zip(*batches, strict=True)) * 12:
        loss = F.binary_cross_entropy_with_logits(logits(sounds, motion), sounds)
        optim.zero_grad()
        loss.backward()
        optim.step()

    model.eval()
    one = (new_sounds.sum(dim=1, keepdim=True) == 1).expand_as(new_sounds)

    def right(motion):
        with torch.no_grad():
            correct = (logits(new_sounds, motion) > 0) == (new_sounds > 0)
        return correct[one].float().mean().item()

    assert right(new_motion) > 0.9
    assert right(new_motion.flip(1)) < 0.1
    assert right(torch.zeros_like(new_motion)) == 0.5  # one mask for both sources


@pytest.mark.parametrize("gate", ["none", "multiply", "dynamic"])
def test_joint_pass_equals_one_pass_per_source(gate):
    """In training, where BatchNorm has the statistics of each source."""
    attention = {"none": None, "multiply": "inner", "dynamic": "every"}[gate]
    model = build(gate=gate, audio_attention=attention).train()
    feature, told = inputs(sources=3)
    logits = model(feature, **told)[0]
    for n in range(3):
        own = {key: value[:, n : n + 1] for key, value in told.items()}
        alone = model(feature, **own)[0]
        torch.testing.assert_close(logits[:, n : n + 1], alone, atol=1e-5, rtol=1e-4)


def test_folded_maps_equal_made_ones():
    """Without attention at level 1 the last maps are never computed."""
    folded = build(audio_attention="inner")
    made = build(audio_attention="every")
    made.load_state_dict(folded.state_dict(), strict=False)
    made.decoder.attentions[-1] = torch.nn.Identity()
    made.decoder.attentions[-1].forward = lambda x, num_sources: x
    feature, told = inputs()
    torch.testing.assert_close(
        made(feature, **told)[0], folded(feature, **told)[0], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("named", "levels"), [("every", [1, 2, 3]), ("inner", [3, 2])])
def test_named_levels_of_the_attention_are_lists(named, levels):
    """Level 1 is the last up-sampling layer; the highest lies at the bottleneck."""
    one, other = (build(audio_attention=value) for value in (named, levels))
    other.load_state_dict(one.state_dict(), strict=True)
    feature, told = inputs()
    assert torch.equal(one(feature, **told)[0], other(feature, **told)[0])
    deepest = build(audio_attention=[3]).decoder.attentions
    assert [attention is None for attention in deepest] == [False, True, True]


@pytest.mark.parametrize(("gate", "passes"), [("none", (1, 1)), ("dynamic", (1, 3))])
def test_what_the_mixture_decides_runs_once(gate, passes):
    model = build(gate=gate, audio_attention=None)
    before, behind = model.decoder.blocks[0], model.decoder.blocks[-1]
    assert len(model.decoder.blocks) == 2 and model.decoder.num_before == 1
    sizes = {}
    for name, block in (("before", before), ("behind", behind)):
        block.register_forward_hook(
            lambda module, given, _, name=name: sizes.update({name: len(given[0])})
        )
    feature, told = inputs(sources=3)
    model(feature, **told)
    assert (sizes["before"], sizes["behind"]) == tuple(2 * n for n in passes)


def test_the_gate_changes_the_masks():
    """dynamic and multiply with the same weights give different masks."""
    dynamic = build(gate="dynamic", audio_attention=None)
    multiply = build(gate="multiply", audio_attention=None)
    multiply.load_state_dict(dynamic.state_dict(), strict=False)
    none = build(gate="none", audio_attention=None)
    none.load_state_dict(dynamic.state_dict(), strict=False)
    feature, told = inputs()
    masks = [model(feature, **told)[0] for model in (dynamic, multiply, none)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (masks[one] - masks[other]).abs().max() > 1e-3
    with torch.no_grad():
        for conv in (dynamic.fusion.fused_conv, dynamic.fusion.audio_conv):
            conv.weight.zero_()
            conv.bias.fill_(200.0)
        torch.testing.assert_close(dynamic(feature, **told)[0], masks[1])
        dynamic.fusion.fused_conv.bias.fill_(-400.0)
        torch.testing.assert_close(
            dynamic(feature, **told)[0], masks[2], atol=1e-5, rtol=1e-4
        )


def test_the_class_chooses_the_query():
    model = build()
    feature, told = inputs()
    expected = model(feature, **told)[0]
    other = {**told, "labels": (told["labels"] + 1) % CLASSES}
    assert (model(feature, **other)[0] - expected).abs().max() > 1e-3
    free = build(queries="label_free")
    same = {**told, "labels": None}
    torch.testing.assert_close(free(feature, **told)[0], free(feature, **same)[0])


def test_a_new_query_leaves_the_trained_classes_alone():
    old = build()
    new = build(new_queries=2)
    new.load_state_dict({**new.state_dict(), **old.state_dict()})
    feature, told = inputs()
    expected = old(feature, **told)[0]
    torch.testing.assert_close(new(feature, **told)[0], expected)
    with torch.no_grad():
        new.queries.added.normal_(0, 10)
    torch.testing.assert_close(new(feature, **told)[0], expected)
    told["labels"] = torch.full_like(told["labels"], CLASSES)
    masks = new(feature, **told)[0]
    with torch.no_grad():
        new.queries.added[1].normal_()  # the other new one is not seen either
        torch.testing.assert_close(new(feature, **told)[0], masks)
        new.queries.added[0].normal_()
    assert (new(feature, **told)[0] - masks).abs().max() > 1e-3


def test_explanation():
    model = build()
    feature, told = inputs(sources=3)
    told["motion_lengths"][0, 1] = 2
    found = model.explain(feature, **told)
    assert found.gate.shape == (2, 3, 4, 4)
    assert found.gate.min() > 0 and found.gate.max() < 1
    assert found.attention.shape == (2, 3, 3, 4, 4)
    torch.testing.assert_close(found.attention.sum(dim=(3, 4)), torch.ones(2, 3, 3))
    assert found.motion.shape == (2, 3, 5)
    torch.testing.assert_close(found.motion.sum(dim=2), torch.ones(2, 3))
    assert found.motion[0, 1, 2:].abs().max() == 0
    # A source's own, in its place.
    alone = model.explain(feature, **{k: v[:, 2:] for k, v in told.items()})
    torch.testing.assert_close(found.gate[:, 2:], alone.gate)
    torch.testing.assert_close(found.attention[:, 2:], alone.attention)
    cut = model.explain(feature[..., :14, :9], **told)
    assert cut.gate.shape == (2, 3, 4, 3) and cut.attention.shape[-2:] == (4, 3)
    plain = build(gate="none", motion=False).explain(feature, **told)
    assert plain.gate is None and plain.motion is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.tensor([[0, 1], [2, CLASSES]])}, "queries 0 to 3"),
        ({"labels": torch.tensor([[0, 1], [-1, 2]])}, "queries 0 to 3"),
        ({"labels": None}, "needs the class of every source"),
        ({"motion": None}, "needs the motion features"),
        ({"motion": torch.zeros(2, 2, 5, 3)}, "motion_dim"),
        ({"motion_lengths": torch.zeros(2, 2, dtype=torch.long)}, "lengths"),
        ({"motion_lengths": torch.full((2, 2), 6)}, "lengths"),
    ],
)
def test_what_is_missing_or_does_not_fit(changes, message):
    feature, told = inputs()
    with pytest.raises(ValueError, match=message):
        build()(feature, **{**told, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gate": "open"}, "gate"),
        ({"queries": "free"}, "queries"),
        ({"queries": "label_free", "new_queries": 1}, "new_queries"),
        ({"audio_attention": "all"}, "audio_attention"),
        ({"audio_attention": [0, 1]}, "audio_attention=.0, 1.: expected"),
        ({"audio_attention": [4]}, "1 .full resolution. to 3"),
        ({"audio_attention": [2, 2]}, "different levels"),
        ({"audio_attention": []}, "audio_attention"),
        ({"audio_attention": [True]}, "audio_attention"),
        ({"attention_place": "before"}, "attention_place"),
        ({"fused_map": "decoder"}, "fused_map"),
        ({"positions": "learned"}, "positions"),
        ({"middle_level": 3}, "middle_level"),
        ({"heads": 3}, "heads"),
        ({"dim": 18, "heads": 2}, "multiple of 4"),
    ],
)
def test_options_out_of_range(changes, message):
    feature, told = inputs()
    with pytest.raises(ValueError, match=message):
        build(**changes)(feature, **told)
