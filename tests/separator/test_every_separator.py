"""What every separator must do, whatever its method: one suite over all of them."""

import io

import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.registry import separator_choices
from espnet2_avsep.separator.abs_wave_separator import AbsWaveSeparator

DIM = 6
# More forms than the tiny one that a separator declares: name -> (name in a config,
# what differs). The suite finds a new separator by itself.
FORMS = {
    "hfra-middle": ("hfra", {"fusion": "middle"}),
    "hfra-late": ("hfra", {"fusion": "late"}),
    "hfra-joint": ("hfra", {"bn_statistics": "joint"}),
    "iquery": ("query", {"gate": "none", "audio_attention": None}),
    "dgfnet-multiply": (
        "query",
        {"gate": "multiply", "audio_attention": "inner", "motion": False},
    ),
    "dgfnet-label-free": ("query", {"queries": "label_free"}),
    "ccol-frames": ("ccol", {"maps": 4, "grounding_dim": DIM - 4}),
    "tfc_tdf-presence": ("tfc_tdf", {"presence": 3}),
    "mp_net-ratio": ("mp_net", {"width": DIM, "mask": "ratio"}),
}
SEPARATORS = {**{name: (name, {}) for name in separator_choices}, **FORMS}

every_separator = pytest.mark.parametrize("name", SEPARATORS)


def build(name, seed=1):
    key, conf = SEPARATORS[name]
    torch.manual_seed(seed)
    cls = separator_choices[key]
    return cls(visual_dim=DIM, **{**cls.tiny, **conf})


def is_wave(name):
    return issubclass(separator_choices[SEPARATORS[name][0]], AbsWaveSeparator)


def sees_magnitude(name):
    return separator_choices[SEPARATORS[name][0]].sees_magnitude


def sources_for_rounding(name):
    """Sources of a test in bfloat16, whose rounding may turn a choice between two."""
    chooses = separator_choices[SEPARATORS[name][0]].gives_steps
    return 1 if chooses else 2


def conditions(name, visual, labels):
    """What a separator is told of the sources, (B, N, ...) each, by keyword.

    Args:
        labels: 0 to 3.
    """
    given = {"visual": visual}
    model = build(name)
    if model.needs_motion:
        generator = torch.Generator().manual_seed(5)
        motion = torch.randn(4, 3, model.motion_dim, generator=generator)
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
    labels = torch.randint(4, (batch, sources), generator=generator)
    return mixture, conditions(name, visual, labels)


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


def groups(model, rate):
    """Parameters with their learning rates, see AbsSeparator.rate_factors."""
    found = {}
    for name, parameter in model.named_parameters():
        factors = [f for p, f in model.rate_factors.items() if name.startswith(p)]
        found.setdefault(factors[0] if factors else 1.0, []).append(parameter)
    return [{"params": part, "lr": rate * factor} for factor, part in found.items()]


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
    optimizer = torch.optim.Adam(groups(model, 1e-2 if wave else 2e-2))
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
    other = build(name, seed=9)
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
