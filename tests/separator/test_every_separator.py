"""What every separator must do, whatever its method: one suite over one table."""

import io

import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.tasks.choices import separator_choices

DIM = 6
# name: (name in a config, tiny separator_conf). A new separator joins by one line.
SEPARATORS = {
    "hfra-middle": ("hfra", {"fusion": "middle"}),
    "hfra-late": ("hfra", {"fusion": "late"}),
    "hfra-hierarchical": ("hfra", {"fusion": "hierarchical"}),
    "hfra-joint": ("hfra", {"bn_statistics": "joint"}),
    "sound_of_pixels": ("sound_of_pixels", {}),
}
TINY = {
    "hfra": {"visual_dim": DIM, "channels": 4, "layers": 3, "width": 5},
    "sound_of_pixels": {"visual_dim": DIM, "channels": 4, "layers": 3},
}

every_separator = pytest.mark.parametrize("name", SEPARATORS)


def build(name):
    key, conf = SEPARATORS[name]
    torch.manual_seed(1)
    return separator_choices.get_class(key)(**{**TINY[key], **conf})


def inputs(batch=2, sources=2, bins=16, frames=24):
    generator = torch.Generator().manual_seed(2)
    feature = torch.randn(batch, 1, bins, frames, generator=generator)
    return feature, torch.randn(batch, sources, DIM, generator=generator)


def test_no_separator_is_left_out():
    assert {key for key, _ in SEPARATORS.values()} == set(separator_choices.classes)


@every_separator
@pytest.mark.parametrize("sources", [1, 2, 3, 4])
@pytest.mark.parametrize("training", [False, True])
def test_shapes(name, sources, training):
    model = build(name).train(training)
    logits, bottleneck = model(*inputs(3, sources))
    assert logits.shape == (3, sources, 16, 24)
    assert bottleneck.shape == (3, model.bottleneck_dim)
    assert logits.isfinite().all() and bottleneck.isfinite().all()
    assert model.visual_dim == DIM


@every_separator
@pytest.mark.parametrize("size", [(16, 16), (13, 21), (17, 5), (1, 1)])
def test_odd_lengths(name, size):
    logits, _ = build(name).eval()(*inputs(2, 2, *size))
    assert logits.shape == (2, 2, *size)


@every_separator
@pytest.mark.parametrize("training", [False, True])
def test_masks_follow_the_order_of_the_sources(name, training):
    model = build(name).train(training)
    feature, visual = inputs(2, 3)
    order = torch.tensor([2, 0, 1])
    logits, bottleneck = model(feature, visual)
    swapped, same = model(feature, visual[:, order])
    torch.testing.assert_close(swapped, logits[:, order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(same, bottleneck, atol=1e-5, rtol=1e-5)


@every_separator
def test_mixtures_of_a_batch_do_not_mix(name):
    model = build(name).eval()
    feature, visual = inputs(3, 2)
    whole = model(feature, visual)[0]
    for n in range(3):
        alone = model(feature[n : n + 1], visual[n : n + 1])[0]
        torch.testing.assert_close(whole[n : n + 1], alone, atol=1e-5, rtol=1e-4)


@every_separator
def test_the_visual_input_matters(name):
    model = build(name).eval()
    feature, visual = inputs()
    changed = visual + torch.tensor([1.0, -1.0] * (DIM // 2))
    assert (model(feature, visual)[0] - model(feature, changed)[0]).abs().max() > 1e-4


@every_separator
def test_gradients_reach_what_learns_and_nothing_frozen(name):
    model = build(name)
    feature, visual = inputs()
    model(feature, visual)[0].square().sum().backward()
    assert any(parameter.requires_grad for parameter in model.parameters())
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, key
        else:
            assert parameter.grad is None, key


def four_mixtures():
    """Magnitudes of sources that are bands of noise, told apart by their embedding."""
    generator = torch.Generator().manual_seed(3)
    bands = torch.zeros(4, 16, 1)
    for n in range(4):
        bands[n, 4 * n : 4 * n + 4] = 1
    pairs = torch.tensor([[0, 2], [1, 3], [3, 0], [2, 1]])
    noise = torch.rand(4, 2, 16, 16, generator=generator) + 0.1
    sources = bands[pairs] * noise  # (B, N, F, T)
    mixture = sources.sum(dim=1, keepdim=True)
    visual = 2 * torch.eye(DIM)[pairs]
    return (mixture + 1e-2).log(), visual, (sources > 0.5 * mixture).float()


@every_separator
def test_overfits_four_mixtures(name):
    model = build(name)
    feature, visual, target = four_mixtures()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(60):
        loss = F.binary_cross_entropy_with_logits(model(feature, visual)[0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = ((model(feature, visual)[0] > 0) == target.bool()).float().mean()
    # A mask that ignores the pictures is right in three quarters of the bins at most.
    assert right > 0.97, f"loss {loss:.3f}, {right:.3f} of the bins are right"


@every_separator
def test_saved_weights_give_the_same_masks(name):
    model = build(name).train()
    model(*inputs())  # statistics of normalisations are saved too
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    torch.manual_seed(9)
    key, conf = SEPARATORS[name]
    other = separator_choices.get_class(key)(**{**TINY[key], **conf})
    other.load_state_dict(state, strict=True)
    expected = model.eval()(*inputs())[0]
    assert torch.equal(other.eval()(*inputs())[0], expected)
    state.pop(next(iter(state)))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(state, strict=True)


@every_separator
def test_bfloat16_is_close_to_float32(name):
    model = build(name)
    feature, visual = inputs()
    expected = model(feature, visual)[0]
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = model(feature, visual)
    error = (logits.float() - expected).square().mean().sqrt()
    assert error < 0.05 * expected.square().mean().sqrt() + 0.02
    logits.float().square().mean().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all(), key


@every_separator
def test_another_embedding_width_names_the_option(name):
    feature, _ = inputs()
    with pytest.raises(ValueError, match="visual_dim"):
        build(name)(feature, torch.randn(2, 2, DIM + 1))
