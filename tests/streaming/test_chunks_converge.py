"""Chunks converge to one pass as their context grows, where the network allows it."""

import numpy as np
import pytest
import torch

from espnet2_avsep import Chunking, SeparateAV
from tests.support.tiny_corpus import DIM, FS, HOP, SEGMENT
from tests.support.trained_model import make_trained_folder

U_NET = {"visual_dim": DIM, "channels": 4, "layers": 3, "width": 4}
OURS = {"visual_dim": DIM, "num_bins": 64, "channels": [4, 8], "blocks": 1}
OURS.update(convs=1, patch=4, width=4)


def noise_and_tones(seconds=6):
    rng = np.random.default_rng(0)
    time = np.arange(seconds * FS) / FS
    tones = np.sin(2 * np.pi * 300 * time) * (np.sin(3 * time) > 0)
    return (0.05 * rng.normal(size=len(time)) + 0.2 * tones).astype(np.float32)


def separator(folder, name, conf, **options):
    folder = make_trained_folder(
        folder, separator=name, separator_conf=conf, model_conf={"num_log_bins": None}
    )
    separate = SeparateAV.from_pretrained(folder, **options)
    with torch.no_grad():
        for parameter in separate.model.separator.parameters():
            if parameter.dim() > 1:
                parameter.mul_(1.5)  # masks that are far from constant
    return separate


def difference(separate, context, seconds=2.0, fade=0.1):
    """Level in dB of chunks with some s of context against one pass."""
    wav, prompts = noise_and_tones(), np.eye(DIM, dtype=np.float32)[:2]
    whole = separate(wav, prompts, chunking="whole")
    assert np.std(whole) > 0.01
    chunking = Chunking(seconds, 2 * context + fade, fade)
    error = separate(wav, prompts, chunking=chunking) - whole
    return 10 * np.log10(np.square(error).sum() / np.square(whole).sum() + 1e-20)


@pytest.mark.parametrize(
    ("name", "conf", "options"),
    [
        ("hfra", U_NET, {"shift_invariant": True}),
        ("hfra", {**U_NET, "fusion": "late"}, {"shift_invariant": True}),
        ("tfc_tdf", OURS, {}),
        ("tfc_tdf", {**OURS, "competition": True, "profile": 2}, {}),
    ],
)
def test_chunks_converge_to_one_pass(tmp_path, name, conf, options):
    separate = separator(tmp_path / "exp", name, conf, **options)
    little, much = difference(separate, 0.02), difference(separate, 0.43)
    assert much < -60 and much < little - 20


def test_aligned_corners_do_not(tmp_path):
    """As published: the same context, and no such agreement."""
    separate = separator(tmp_path / "exp", "hfra", U_NET)
    assert difference(separate, 0.43) > -55


def test_the_context_of_a_bounded_network_is_enough(tmp_path):
    """The default plan gives all of it, so that chunks and one pass are equal."""
    separate = separator(tmp_path / "exp", "tfc_tdf", OURS)
    frames = separate.model.separator.context_frames
    plan = separate.plan(Chunking(2.0))
    assert plan.context == frames * HOP + separate.model.encoder.n_fft
    grid = HOP << separate.model.separator.layers
    assert 0 < plan.fade <= 2 * grid
    needed = plan.context / FS
    errors = [difference(separate, share * needed) for share in (0, 0.25, 1)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < -100, errors
    # No room for it: the fade takes the whole overlap.
    assert separate.plan(Chunking(SEGMENT / FS, 0.1)).context == 0


def test_short_segments_make_no_short_chunks_of_a_bounded_network(tmp_path):
    """By default chunks equal one pass, for at most a third more frames."""
    separate = separator(tmp_path / "exp", "tfc_tdf", OURS)
    needed = (
        separate.model.separator.context_frames * HOP + separate.model.encoder.n_fft
    )
    plan = separate.plan(Chunking())
    assert plan.context >= needed and plan.chunk <= 4 / 3 * plan.step + 1
    wav, prompts = noise_and_tones(), np.eye(DIM, dtype=np.float32)[:2]
    assert len(wav) > 2 * plan.chunk
    whole = separate(wav, prompts, chunking="whole")
    chunked = separate(wav, prompts, chunking=Chunking())
    np.testing.assert_allclose(chunked, whole, atol=1e-5 * np.abs(whole).max())
