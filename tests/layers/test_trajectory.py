import pytest
import torch

from espnet2_avsep.layers.trajectory import flow_grid, split_rows, trajectories

GRID = 8


def still(steps):
    return torch.zeros(1, steps, 2, GRID, GRID), torch.zeros(1, steps, dtype=torch.bool)


def test_a_constant_flow_adds_up():
    flow, cut = still(5)
    flow[:, :, 0], flow[:, :, 1] = 0.02, -0.01
    moved = trajectories(flow, cut, window=24)
    steps = torch.arange(1, 6.0).view(1, 5, 1, 1)
    torch.testing.assert_close(moved[:, :, 0], (0.02 * steps).expand(1, 5, GRID, GRID))
    torch.testing.assert_close(moved[:, :, 1], (-0.01 * steps).expand(1, 5, GRID, GRID))


def test_points_take_the_flow_of_where_they_are():
    """A point that has moved a cell to the right takes that cell's flow next."""
    flow, cut = still(2)
    flow[0, 0, 0] = 1 / GRID
    flow[0, 1, 1, :, 4] = 0.5  # downwards, in column 4
    moved = trajectories(flow, cut, window=24)[0, 1, 1]
    expected = torch.zeros(GRID, GRID)
    expected[:, 3] = 0.5
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)


def test_flow_between_two_cells_is_interpolated():
    flow, cut = still(2)
    flow[0, 0, 0] = 0.5 / GRID
    flow[0, 1, 1] = torch.arange(GRID) / GRID
    moved = trajectories(flow, cut, window=24)[0, 1, 1]
    expected = (torch.arange(GRID) + 0.5).clamp(max=GRID - 1) / GRID
    torch.testing.assert_close(moved, expected.expand(GRID, GRID))


def test_points_start_anew_after_a_window_and_after_a_cut():
    flow, cut = still(7)
    flow[:, :, 0] = 0.01
    flow[:, 3] = 0  # as a cut is stored
    cut[0, 3] = True
    hundredths = 100 * trajectories(flow, cut, window=5)[0, :, 0, 0, 0]
    assert hundredths.round().tolist() == [1, 2, 3, 0, 1, 1, 2]


def test_rows_are_split_into_flow_and_cuts():
    rows = torch.zeros(2, 3, 2 * 4 + 1)
    rows[0, 1, 1] = 0.3  # x of the first row of cells, second column
    rows[1, 2, 4] = 0.2  # y of the first cell
    rows[1, 0, -1] = 1
    flow, cut = split_rows(rows)
    assert flow.shape == (2, 3, 2, 2, 2)
    assert flow[0, 1, 0, 0, 1] == 0.3 and flow[1, 2, 1, 0, 0] == 0.2
    assert cut.tolist() == [[False] * 3, [True, False, False]]


@pytest.mark.parametrize("dim", [1, 2, 8, 1024])
def test_rows_of_another_size_are_no_flow(dim):
    with pytest.raises(ValueError, match=f"motion_dim={dim}: rows of optical flow"):
        flow_grid(dim)
    assert flow_grid(1569) == 28 and flow_grid(3) == 1


def test_paths_in_bfloat16_are_those_of_float32():
    """In bfloat16, places on a grid of 28 cells were wrong by a fifth."""
    torch.manual_seed(0)
    flow = (0.01 * torch.randn(1, 24, 2, 28, 28)).bfloat16()
    cut = torch.zeros(1, 24, dtype=torch.bool)
    expected = trajectories(flow.float(), cut, window=24)
    found = trajectories(flow, cut, window=24)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).norm() < 0.003 * expected.norm()
