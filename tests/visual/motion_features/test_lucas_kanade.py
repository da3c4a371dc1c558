import pytest
import torch

from espnet2_avsep.visual.motion_features.lucas_kanade import LucasKanade, warp

SIDE = 96


def waves(right=0.0, down=0.0):
    """A texture of sines, moved by a number of pixels: (1, 3, SIDE, SIDE)."""
    generator = torch.Generator().manual_seed(0)
    frequency = 0.25 * torch.randn(40, 2, 1, 1, generator=generator)
    phase = 6.28 * torch.rand(40, 1, 1, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(SIDE).float()] * 2, indexing="ij")
    angle = frequency[:, 0] * (x - right) + frequency[:, 1] * (y - down) + phase
    return (0.5 + torch.sin(angle).sum(dim=0) / 30).clamp(0, 1).expand(1, 3, -1, -1)


@pytest.mark.parametrize("moved", [(0, 0), (0.4, -0.3), (2.5, 1.2), (-6, 5)])
def test_finds_how_far_a_texture_has_moved(moved):
    flow = LucasKanade()(waves(), waves(*moved))
    assert flow.shape == (1, 2, SIDE, SIDE)
    error = flow - torch.tensor(moved).view(2, 1, 1)
    inside = error[..., 20:-20, 20:-20].norm(dim=1)
    assert inside.mean() < 0.1 and inside.median() < 0.08


def test_two_parts_move_apart():
    first = waves()
    second = torch.cat(
        [waves(2, 0)[..., : SIDE // 2], waves(-2, 0)[..., SIDE // 2 :]], -1
    )
    flow = LucasKanade()(first, second)[0, 0, 20:-20]
    assert (flow[:, 15:30] - 2).abs().mean() < 0.2
    assert (flow[:, -30:-15] + 2).abs().mean() < 0.2


def test_noise_on_a_blank_wall_hardly_moves():
    generator = torch.Generator().manual_seed(1)
    noise = 0.01 * torch.randn(2, 3, SIDE, SIDE, generator=generator)
    assert LucasKanade()(0.5 + noise[:1], 0.5 + noise[1:]).abs().mean() < 0.1


def test_warp_samples_where_the_flow_points():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0] = 1.5
    expected = (torch.arange(8.0) + 1.5).clamp(max=7).expand(1, 1, 8, 8)
    torch.testing.assert_close(warp(ramp, flow), expected)


def test_options_out_of_range():
    with pytest.raises(ValueError, match="damping=0"):
        LucasKanade(damping=0)
