import ast
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import LogFrequencyWarp, pad_to_multiple
from espnet2_avsep.errors import InputError


def grid_sample_warp(x, rows, inverse, align_corners):
    """As other implementations have it: grid_sample over (time, frequency)."""
    y = torch.linspace(-1, 1, rows, dtype=x.dtype)
    if inverse:
        y = torch.log(10 * y + 11) / math.log(21) * 2 - 1
    else:
        y = (21 ** ((y + 1) / 2) - 11) / 10
    t = torch.linspace(-1, 1, x.size(-1), dtype=x.dtype)
    grid = torch.stack(torch.broadcast_tensors(t[None, :], y[:, None]), dim=-1)
    return F.grid_sample(
        x,
        grid[None].expand(len(x), -1, -1, -1),
        align_corners=align_corners,
        mode="bilinear",
    )


@pytest.mark.parametrize("frames", [1, 2, 40])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("inverse", [False, True])
def test_equals_grid_sample(inverse, align_corners, frames):
    x = torch.rand(2, 3, 256 if inverse else 513, frames, dtype=torch.float64)
    warp = LogFrequencyWarp(513, 256, align_corners).double()
    ours = warp.inverse(x) if inverse else warp(x)
    theirs = grid_sample_warp(x, 513 if inverse else 256, inverse, align_corners)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_without_aligned_corners_the_ends_lose_half():
    """torch >= 1.3 where align_corners is not given: zeros lie beyond the edges."""
    warped = LogFrequencyWarp(513, 256, align_corners=False)(torch.ones(1, 513, 8))
    torch.testing.assert_close(warped[0, 9:-1, 1:-1], torch.ones(246, 6))
    torch.testing.assert_close(warped[0, [0, -1], 1:-1], torch.full((2, 6), 0.5))
    torch.testing.assert_close(warped[0, 9:-1, [0, -1]], torch.full((246, 2), 0.5))
    torch.testing.assert_close(warped[0, 0, 0], torch.tensor(0.25))


def test_edges_and_constant_are_kept():
    warp = LogFrequencyWarp(513, 256)
    x = torch.rand(1, 513, 5)
    torch.testing.assert_close(warp(x)[:, [0, -1]], x[:, [0, -1]])
    torch.testing.assert_close(
        warp.inverse(warp(torch.ones_like(x))), torch.ones(x.shape)
    )


def test_round_trip_of_a_smooth_spectrum():
    frequency = torch.linspace(0, 1, 513)[:, None]
    x = (-(((frequency - 0.4) / 0.2) ** 2)).exp()
    warp = LogFrequencyWarp(513, 256)
    torch.testing.assert_close(warp.inverse(warp(x)), x, atol=2e-3, rtol=0)


def test_low_frequencies_get_more_rows():
    warp = LogFrequencyWarp(513, 256)
    position = warp(torch.arange(513.0)[:, None])[:, 0]
    step = position.diff()
    assert (step > 0).all() and step[0] < 0.4 and step[-1] > 5


def test_linear_axis():
    warp = LogFrequencyWarp(65, None)
    x = torch.rand(2, 65, 7)
    assert warp.output_dim == 65
    assert warp(x) is x and warp.inverse(x) is x


def test_wrong_number_of_rows():
    with pytest.raises(InputError, match="513"):
        LogFrequencyWarp(513, 256)(torch.rand(1, 512, 4))


def test_pad_to_multiple_repeats_the_edge():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    padded, size = pad_to_multiple(x, 8)
    assert size == (3, 4) and padded.shape == (1, 1, 8, 8)
    torch.testing.assert_close(padded[..., :3, :4], x)
    assert padded[0, 0, 7, 7] == x[0, 0, 2, 3]
    assert pad_to_multiple(padded, 8)[0] is padded


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_resampled_in_float32(dtype, align_corners):
    """torch 2.11 on a CPU: grid_sample in half precision gives wrong values."""
    warp = LogFrequencyWarp(513, 256, align_corners=align_corners)
    x = torch.rand(1, 2, 513, 9).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        result, back = warp(x), warp.inverse(warp(x).to(dtype))
    assert result.dtype == back.dtype == torch.float32
    assert torch.equal(result, warp(x.float()))
    assert torch.equal(back, warp.inverse(result.to(dtype).float()))


def test_only_optical_flow_calls_grid_sample():
    """See above: the warp is written as an interpolation along one axis."""
    flow = {"lucas_kanade.py", "trajectory.py"}
    package = Path(__file__).parents[2] / "espnet2_avsep"
    for path in package.rglob("*.py"):
        if path.name in flow:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert getattr(node, "attr", None) != "grid_sample", path
            assert getattr(node, "id", None) != "grid_sample", path


@pytest.mark.parametrize("num_log", [None, 48])
@pytest.mark.parametrize("align_corners", [True, False])
def test_row_weight_is_what_the_inverse_makes_of_each_row(num_log, align_corners):
    warp = LogFrequencyWarp(65, num_log, align_corners)
    one_row = torch.eye(warp.output_dim)[..., None].expand(-1, -1, 1)
    sums = warp.inverse(one_row).sum(dim=(-2, -1))
    if align_corners or num_log is None:
        torch.testing.assert_close(warp.row_weight, sums)
        assert abs(warp.row_weight.sum() - 65) < 1e-3
    assert warp.row_weight.shape == (warp.output_dim,) and warp.row_weight.min() >= 0
