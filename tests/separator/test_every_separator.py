"""What every separator must do, whatever its method: one suite over one table."""

import io

import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.separator.abs_wave_separator import AbsWaveSeparator
from espnet2_avsep.tasks.choices import separator_choices

DIM = 6
UNET = {"channels": 4, "layers": 3}
HFRA = {**UNET, "width": 5}
GROUPING = {**UNET, "num_classes": 5, "blocks": 1, "heads": 2}
RESUNET = {"channels": [8, 8], "window": 64, "hop": 16, "condition_dim": 8}
# Rows of flow on a grid of 2 x 2 have 9 values.
MOTION_DIM, CLASSES = 9, 5
QUERY = {
    **UNET,
    "channels": 8,
    "width": 8,
    "middle_level": 2,
    "attention_groups": 4,
    "dim": 16,
    "heads": 2,
    "feedforward_dim": 32,
    "num_queries": CLASSES,
    "motion_dim": MOTION_DIM,
}
# name: (name in a config, tiny separator_conf). A new separator joins by one line.
SEPARATORS = {
    "hfra-middle": ("hfra", {**HFRA, "fusion": "middle"}),
    "hfra-late": ("hfra", {**HFRA, "fusion": "late"}),
    "hfra-hierarchical": ("hfra", {**HFRA, "fusion": "hierarchical"}),
    "hfra-joint": ("hfra", {**HFRA, "bn_statistics": "joint"}),
    "sound_of_pixels": ("sound_of_pixels", UNET),
    "semantic_grouping": ("semantic_grouping", GROUPING),
    "predictive_coding": ("predictive_coding", {"channels": 8, "layers": 3}),
    "co_separation": ("co_separation", UNET),
    "wave_unet": ("wave_unet", {"channels": 8, "layers": 2, "condition_dim": 8}),
    "decoupled_resunet": ("decoupled_resunet", RESUNET),
    "iquery": ("query", {**QUERY, "gate": "none", "audio_attention": None}),
    "dgfnet": ("query", QUERY),
    "dgfnet-multiply": (
        "query",
        {**QUERY, "gate": "multiply", "audio_attention": "inner", "motion": False},
    ),
    "tfc_tdf": (
        "tfc_tdf",
        {
            "num_bins": 16,
            "channels": [8, 16],
            "blocks": 1,
            "patch": 2,
            "width": 8,
            "phase": False,  # complex logits: see test_tfc_tdf_separator.py
        },
    ),
    "sound_of_motions": (
        "sound_of_motions",
        {**UNET, "places": 1, "motion_dim": MOTION_DIM, "motion_channels": 8},
    ),
    "dgfnet-label-free": ("query", {**QUERY, "queries": "label_free"}),
    "ccol": ("ccol", {**UNET, "maps": 5, "grounding_channels": 2}),
    "ccol-frames": (
        "ccol",
        {**UNET, "maps": 4, "grounding_dim": DIM - 4, "grounding_channels": 2},
    ),
    "mp_net": ("mp_net", {**UNET, "width": 5}),
    "mp_net-ratio": ("mp_net", {**UNET, "width": DIM, "mask": "ratio"}),
}

every_separator = pytest.mark.parametrize("name", SEPARATORS)


def build(name):
    key, conf = SEPARATORS[name]
    torch.manual_seed(1)
    return separator_choices.get_class(key)(visual_dim=DIM, **conf)


def is_wave(name):
    return issubclass(
        separator_choices.get_class(SEPARATORS[name][0]), AbsWaveSeparator
    )


def sees_magnitude(name):
    return separator_choices.get_class(SEPARATORS[name][0]).sees_magnitude


def sources_for_rounding(name):
    """Sources of a test in bfloat16, whose rounding may turn a choice between two."""
    chooses = separator_choices.get_class(SEPARATORS[name][0]).gives_steps
    return 1 if chooses else 2


def conditions(name, visual, labels):
    """What a separator is told of the sources, (B, N, ...) each, by keyword."""
    given = {"visual": visual}
    model = build(name)
    if model.needs_motion:
        generator = torch.Generator().manual_seed(5)
        motion = torch.randn(CLASSES, 3, MOTION_DIM, generator=generator)
        given.update(motion=motion[labels], motion_lengths=1 + labels % 3)
    if model.needs_labels:
        given["labels"] = labels
    return given


def inputs(name, batch=2, sources=2, size=(16, 24)):
    """A mixture as the separator takes it, and what it is told of the sources.

    Args:
        size: (F, T) of a spectrogram; a waveform has F * T samples.
    """
    generator = torch.Generator().manual_seed(2)
    shape = (batch, 1, *size)
    if is_wave(name):
        shape = (batch, size[0] * size[1])
    mixture = torch.randn(shape, generator=generator)
    if sees_magnitude(name):
        mixture = mixture.exp()
    visual = torch.randn(batch, sources, DIM, generator=generator)
    labels = torch.randint(CLASSES, (batch, sources), generator=generator)
    return mixture, conditions(name, visual, labels)


def test_no_separator_is_left_out():
    assert {key for key, _ in SEPARATORS.values()} == set(separator_choices.classes)


@every_separator
@pytest.mark.parametrize("sources", [1, 2, 3, 4])
@pytest.mark.parametrize("training", [False, True])
def test_shapes(name, sources, training):
    model = build(name).train(training)
    mixture, told = inputs(name, 3, sources)
    logits, bottleneck = model(mixture, **told)
    shape = mixture.shape[1:] if is_wave(name) else mixture.shape[2:]
    assert logits.shape == (3, sources, *shape)
    assert bottleneck.shape == (3, model.bottleneck_dim)
    assert logits.isfinite().all() and bottleneck.isfinite().all()
    assert model.visual_dim == DIM


@every_separator
@pytest.mark.parametrize("size", [(16, 16), (13, 21), (17, 5), (1, 1)])
def test_odd_lengths(name, size):
    mixture, told = inputs(name, 2, 2, size)
    logits, _ = build(name).eval()(mixture, **told)
    assert logits.shape == (2, 2, *([size[0] * size[1]] if is_wave(name) else size))


@every_separator
@pytest.mark.parametrize("training", [False, True])
def test_masks_follow_the_order_of_the_sources(name, training):
    model = build(name).train(training)
    feature, told = inputs(name, 2, 3)
    order = torch.tensor([2, 0, 1])
    logits, bottleneck = model(feature, **told)
    swapped, same = model(feature, **{k: v[:, order] for k, v in told.items()})
    torch.testing.assert_close(swapped, logits[:, order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(same, bottleneck, atol=1e-5, rtol=1e-5)


@every_separator
def test_mixtures_of_a_batch_do_not_mix(name):
    model = build(name).eval()
    feature, told = inputs(name, 3)
    whole = model(feature, **told)[0]
    for n in range(3):
        own = {key: value[n : n + 1] for key, value in told.items()}
        alone = model(feature[n : n + 1], **own)[0]
        torch.testing.assert_close(whole[n : n + 1], alone, atol=1e-5, rtol=1e-4)


@every_separator
def test_the_visual_input_matters(name):
    model = build(name).eval()
    feature, told = inputs(name)
    expected = model(feature, **told)[0]
    told["visual"] = told["visual"] + torch.tensor([1.0, -1.0] * (DIM // 2))
    assert (model(feature, **told)[0] - expected).abs().max() > 1e-4


@every_separator
def test_gradients_reach_what_learns_and_nothing_frozen(name):
    model = build(name)
    feature, told = inputs(name)
    model(feature, **told)[0].square().sum().backward()
    assert any(parameter.requires_grad for parameter in model.parameters())
    for key, parameter in model.named_parameters():
        if parameter.requires_grad and not key.startswith(model.beside_masks):
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, key
        else:
            assert parameter.grad is None, key


PAIRS = torch.tensor([[0, 2], [1, 3], [3, 0], [2, 1]])


def four_spectrograms():
    """Magnitudes of sources that are bands of noise, told apart by their embedding."""
    generator = torch.Generator().manual_seed(3)
    bands = torch.zeros(4, 16, 1)
    for n in range(4):
        bands[n, 4 * n : 4 * n + 4] = 1
    noise = torch.rand(4, 2, 16, 16, generator=generator) + 0.1
    sources = bands[PAIRS] * noise  # (B, N, F, T)
    mixture = sources.sum(dim=1, keepdim=True)
    return (mixture + 1e-2).log(), (sources > 0.5 * mixture).float()


def four_waves():
    """Tones, told apart by their embedding."""
    time = torch.arange(320) / 320
    tones = torch.stack([torch.sin(6.28 * f * time) for f in (10, 25, 45, 70)])
    sources = tones[PAIRS]  # (B, N, L)
    return sources.sum(dim=1), sources


@every_separator
def test_overfits_four_mixtures(name):
    model = build(name)
    wave = is_wave(name)
    mixture, target = four_waves() if wave else four_spectrograms()
    if sees_magnitude(name):
        mixture = mixture.exp()
    told = conditions(name, 2 * torch.eye(DIM)[PAIRS], PAIRS)
    rate = 1e-2 if wave or SEPARATORS[name][0] == "query" else 2e-2
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(100 if wave else 60):
        output = model(mixture, **told)[0]
        if wave:
            loss = (output - target).abs().mean()
        else:
            loss = F.binary_cross_entropy_with_logits(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    output = model(mixture, **told)[0]
    if wave:
        # Without pictures, nothing is better than half the mixture: 0 dB.
        error = (output - target).square().mean() / target.square().mean()
        assert error < 0.1, f"loss {loss:.3f}, error {error:.3f}"
    else:
        right = ((output > 0) == target.bool()).float().mean()
        # A mask that ignores the pictures is right in three quarters of the bins at
        # most.
        assert right > 0.97, f"loss {loss:.3f}, {right:.3f} of the bins are right"


@every_separator
def test_saved_weights_give_the_same_masks(name):
    model = build(name).train()
    mixture, told = inputs(name)
    model(mixture, **told)  # statistics of normalisations are saved too
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    torch.manual_seed(9)
    key, conf = SEPARATORS[name]
    other = separator_choices.get_class(key)(visual_dim=DIM, **conf)
    other.load_state_dict(state, strict=True)
    expected = model.eval()(mixture, **told)[0]
    assert torch.equal(other.eval()(mixture, **told)[0], expected)
    state.pop(next(iter(state)))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(state, strict=True)


@every_separator
def test_bfloat16_is_close_to_float32(name):
    model = build(name)
    feature, told = inputs(name, sources=sources_for_rounding(name))
    expected = model(feature, **told)[0]
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = model(feature, **told)
    error = (logits.float() - expected).square().mean().sqrt()
    assert error < 0.05 * expected.square().mean().sqrt() + 0.02
    logits.float().square().mean().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad and not key.startswith(model.beside_masks):
            assert parameter.grad.isfinite().all(), key


@every_separator
def test_weights_in_bfloat16(name):
    """As SeparateAV(dtype="bfloat16") has them; waveforms stay float32."""
    model = build(name).eval()
    mixture, told = inputs(name, sources=sources_for_rounding(name))
    expected = model(mixture, **told)[0]
    model.to(torch.bfloat16)
    mixture = mixture if is_wave(name) else mixture.bfloat16()
    told = {k: v.bfloat16() if v.is_floating_point() else v for k, v in told.items()}
    output = model(mixture, **told)[0].float()
    error = (output - expected).square().mean().sqrt()
    assert error < 0.05 * expected.square().mean().sqrt() + 0.02


@every_separator
def test_another_embedding_width_names_the_option(name):
    feature, told = inputs(name)
    told["visual"] = torch.randn(2, 2, DIM + 1)
    with pytest.raises(ValueError, match="visual_dim"):
        build(name)(feature, **told)
