import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.separator.sound_of_motions_separator import SoundOfMotionsSeparator

GRID = 4
DIM = 2 * GRID**2 + 1
SMALL = {
    "visual_dim": 8,
    "places": 2,
    "motion_dim": DIM,
    "motion_channels": 8,
    "channels": 4,
    "layers": 3,
    "steps_per_column": 2,
}


def build(**changes):
    torch.manual_seed(0)
    return SoundOfMotionsSeparator(**{**SMALL, **changes})


def inputs(batch=2, sources=2, steps=8, frames=16):
    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(batch, 1, 16, frames, generator=generator)
    visual = torch.randn(batch, sources, 8, generator=generator)
    motion = 0.05 * torch.randn(batch, sources, steps, DIM, generator=generator)
    return feature, visual, motion


def test_motion_is_aligned_in_time():
    """The motion of a moment changes its own columns of FiLM's input, no others.

    With a mean over time in place of the steps, all columns would change.
    """
    model = build().eval()
    _, visual, motion = inputs(1, 1, steps=16)
    other = motion.clone()
    other[..., 12:, :] = 0.3
    lengths = torch.tensor([[16]])

    def told(motion):
        codes = model.motion_codes(visual, motion, lengths)
        return model._of_columns(codes, lengths[0], columns=8, share=1.0)

    changed = (told(motion) - told(other)).abs().amax(dim=(0, 2))
    # Two convolutions over three steps reach two steps back, to step 10.
    assert (changed[:5] < 1e-6).all() and (changed[6:] > 1e-3).all()


def test_steps_are_kept_apart_in_a_column():
    """What a column is told are its own steps, in their order."""
    model = build(steps_per_column=2)
    codes = torch.arange(8.0).view(1, 1, 8)
    told = model._of_columns(codes, torch.tensor([8]), columns=4, share=1.0)
    torch.testing.assert_close(told[0], torch.arange(8.0).view(4, 2))
    # A mixture that fills three of four columns: its last step is held in the fourth.
    codes = torch.arange(6.0).view(1, 1, 6)
    told = model._of_columns(codes, torch.tensor([6]), columns=4, share=4 / 3)
    expected = torch.tensor([[0, 1], [2, 3], [4, 5], [5, 5.0]])
    torch.testing.assert_close(told[0], expected)


@pytest.mark.parametrize("training", [False, True])
def test_padding_does_not_count(training):
    model = build().train(training)
    feature, visual, motion = inputs(steps=6)
    lengths = torch.full((2, 2), 6)
    expected = model(feature, visual, motion, lengths)[0]
    statistics = {k: v.clone() for k, v in model.named_buffers()}
    again = build().train(training)
    padded = F.pad(motion, (0, 0, 0, 3), value=7.0)
    found = again(feature, visual, padded, lengths)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    # Trajectories end somewhere: what is held there enters no statistics of BatchNorm.
    torch.testing.assert_close(dict(again.named_buffers()), statistics)
    found.square().sum().backward()
    expected.square().sum().backward()
    for (name, one), other in zip(
        model.named_parameters(), again.parameters(), strict=True
    ):
        torch.testing.assert_close(other.grad, one.grad, msg=name, atol=1e-3, rtol=1e-3)


def test_still_sources_of_one_look_get_one_mask():
    model = build().eval()
    feature, visual, motion = inputs()
    visual[:, 1] = visual[:, 0]
    logits = model(feature, visual, motion * 0)[0]
    torch.testing.assert_close(logits[:, 0], logits[:, 1], atol=1e-6, rtol=1e-6)
    moving = model(feature, visual, 20 * motion)[0]
    assert (moving[:, 0] - moving[:, 1]).abs().max() > 1e-4


def test_motion_that_does_not_fit():
    model = build()
    feature, visual, motion = inputs()
    with pytest.raises(ValueError, match="needs the motion features"):
        model(feature, visual)
    with pytest.raises(ValueError, match=r"built for \(B, N, steps, 33\)"):
        model(feature, visual, motion[..., :-1])
    with pytest.raises(ValueError, match="lengths of motion features are 8 to 9"):
        model(feature, visual, motion, torch.tensor([[8, 9], [8, 8]]))
    with pytest.raises(ValueError, match="visual_dim=9: expected a multiple"):
        build(visual_dim=9)
    with pytest.raises(ValueError, match="motion_dim=1024: rows of optical flow"):
        build(motion_dim=1024)


def test_separates_what_only_motion_tells_apart():
    """Noise that is on while its source moves; pictures are the same for all."""
    generator = torch.Generator().manual_seed(2)
    steps, frames = 8, 32

    def draw(batch):
        on = torch.rand(batch, 2, steps, generator=generator) < 0.5
        noise = torch.rand(batch, 2, 16, frames, generator=generator) + 0.2
        sources = noise * on.repeat_interleave(frames // steps, dim=2)[:, :, None]
        mixture = sources.sum(dim=1, keepdim=True)
        flow = torch.zeros(batch, 2, steps, DIM)
        flow[..., : GRID**2] = 0.05 * on[..., None]
        return (mixture + 1e-2).log(), flow, (sources > 0.5 * mixture).float(), mixture

    model = build(channels=8, layers=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    visual = torch.ones(16, 2, 8)
    for _ in range(90):
        feature, motion, target, _ = draw(16)
        loss = F.binary_cross_entropy_with_logits(
            model(feature, visual, motion)[0], target
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    feature, motion, target, mixture = draw(16)
    # Bins in which one source sounds and the other does not.
    clear = (target.sum(dim=1, keepdim=True) == 1) & (mixture > 0)

    def right(motion):
        with torch.no_grad():
            mask = model(feature, visual, motion)[0] > 0
        return (mask == target.bool())[clear.expand_as(target)].float().mean()

    assert right(motion) > 0.72
    assert right(motion.flip(1)) < 0.28  # the motion of the other source
    assert 0.45 < right(motion * 0) < 0.55  # frozen
