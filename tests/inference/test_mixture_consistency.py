"""Tracks that add up to the mixture, of all kinds of separators."""

import numpy as np
import pytest
import torch

from espnet2_avsep import SeparateAV
from espnet2_avsep.layers.mixture_consistency import mixture_consistent
from tests.support.tiny_corpus import DIM, SEGMENT
from tests.support.trained_model import make_trained_folder

SYSTEMS = {
    "hfra": {},
    "tfc_tdf": {
        "separator": "tfc_tdf",
        "separator_conf": {
            "visual_dim": DIM,
            "num_bins": 64,
            "channels": (4, 8),
            "blocks": 1,
            "patch": 4,
            "width": 4,
        },
        "model_conf": {"num_log_bins": None, "compression": "power"},
    },
    "wave_unet": {
        "separator": "wave_unet",
        "separator_conf": {"visual_dim": DIM, "channels": 4, "layers": 2},
        "criterions": [{"name": "wave_l1"}],
    },
}


def test_of_all_tracks_that_add_up_the_nearest():
    torch.manual_seed(0)
    tracks, mixture = torch.randn(2, 3, 2, 7).double(), torch.randn(2, 2, 7).double()
    found = mixture_consistent(tracks, mixture)
    torch.testing.assert_close(found.sum(dim=1), mixture)
    # The least-squares solution of "the sum of N numbers is x" moves them alike.
    ones = torch.ones(1, 3, dtype=torch.float64)
    moved = torch.linalg.pinv(ones) @ (mixture - tracks.sum(dim=1)).reshape(1, -1)
    moved = moved.reshape(3, 2, 2, 7).transpose(0, 1)
    torch.testing.assert_close(found - tracks, moved)
    torch.testing.assert_close(mixture_consistent(found, mixture), found)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("channels", ["mean", "each"])
def test_tracks_and_residual_add_up_and_the_residual_is_silent(
    tmp_path, system, channels
):
    folder = make_trained_folder(tmp_path, **SYSTEMS[system])
    rng = np.random.default_rng(1)
    mixture = rng.normal(size=(2, SEGMENT)).astype(np.float32) / 10
    prompts = list(rng.normal(size=(3, DIM)).astype(np.float32))
    levels = {}
    for consistent in (False, True):
        separate = SeparateAV.from_pretrained(folder, mixture_consistency=consistent)
        tracks = separate(mixture, prompts, channels=channels, residual=True)
        whole = mixture if channels == "each" else mixture.mean(axis=0)
        np.testing.assert_allclose(tracks.sum(axis=0), whole, atol=1e-6)
        levels[consistent] = np.abs(tracks[-1]).max()
    assert levels[True] < 1e-5 < 1e-3 < levels[False]
