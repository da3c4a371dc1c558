import kaldiio
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from espnet2_avsep.bin.prepare.extract_motion import main
from espnet2_avsep.data.tables.scp import read_skipped, write_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.motion_features.flow_encoder import FlowRows, is_cut
from espnet2_avsep.visual.motion_features.motion_encoder import load_motion_encoder
from tests.support.media_fixtures import write_clip

HEIGHT, WIDTH = 96, 160


def noise_picture(seed, size=(HEIGHT, WIDTH)):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    picture = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(picture)


SCENE = noise_picture(0, (HEIGHT, 2 * WIDTH))


def panning(number):
    """A scene that moves 2 pixels to the left from picture to picture."""
    return SCENE[:, 2 * number : 2 * number + WIDTH]


class Given(torch.nn.Module):
    """A flow of 7 pixels to the right and 3 downwards, whatever the pictures."""

    def forward(self, first, second):
        flow = torch.ones_like(first[:, :2])
        return flow * torch.tensor([7.0, 3.0]).view(2, 1, 1)


def run(table, folder, *options):
    folder.mkdir(exist_ok=True)
    write_scp(folder / "video.scp", table)
    argv = ["--video_scp", str(folder / "video.scp"), "--device", "cpu"]
    argv += ["--motion_encoder", "lucas_kanade", "--output_dir", str(folder / "out")]
    return main([*argv, *options]), folder / "out"


def test_rows_are_fractions_of_the_pictures_sides():
    windows = torch.rand(2, 3, 2, 20, 40)
    rows = FlowRows(Given(), grid=4)(windows)
    assert rows.shape == (2, 33)
    assert torch.allclose(rows[:, :16], torch.tensor(7 / 40))
    assert torch.allclose(rows[:, 16:32], torch.tensor(3 / 20))
    assert not rows[:, 32].any()


def test_a_cut_has_no_flow():
    generator = torch.Generator().manual_seed(0)
    dark = 0.3 * torch.rand(1, 3, 20, 20, generator=generator)
    first = torch.cat([dark, dark])
    second = torch.cat([dark.flip(3), dark + 0.6])  # the same colours, and others
    assert is_cut(first, second).tolist() == [False, True]
    rows = FlowRows(Given(), grid=4)(torch.stack([first, second], dim=2))
    assert rows[0, :-1].all() and rows[0, -1] == 0
    assert not rows[1, :-1].any() and rows[1, -1] == 1


def test_rows_of_a_video(tmp_path):
    """25 pictures a second, 8 rows: the scene moves 2 of 160 pixels a picture."""
    clip = write_clip(tmp_path / "a.mp4", 1.0, paint=panning)
    cut = write_clip(
        tmp_path / "b.mp4",
        1.0,
        paint=lambda n: panning(n) // 4 if n < 12 else 255 - panning(n) // 4,
    )
    status, out = run({"a": str(clip), "b": str(cut)}, tmp_path)
    assert status == 0
    rows = dict(kaldiio.load_scp(str(out / "motion.scp")).items())
    assert rows["a"].shape == (8, 1569)
    shown = np.floor(25 * np.arange(9) / 8 + 1e-6).clip(max=24)
    across = rows["a"][:, :784].reshape(8, 28, 28)[:, 6:-6, 6:-6].mean(axis=(1, 2))
    np.testing.assert_allclose(across, -2 / WIDTH * np.diff(shown), atol=0.004)
    down = rows["a"][:, 784:-1].reshape(8, 28, 28)[:, 6:-6, 6:-6]
    assert np.abs(down.mean(axis=(1, 2))).max() < 0.004
    assert not rows["a"][:, -1].any()
    # The cut lies between picture 9 (3/8 s) and picture 12 (4/8 s).
    assert rows["b"][:, -1].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    info = yaml.safe_load((out / "motion_info.yaml").read_text())
    assert info["encoder"] == "lucas_kanade" and info["rows_per_second"] == 8
    assert info["weights"].startswith("none")


def test_a_single_picture_has_no_flow(tmp_path):
    """Left out and counted, as a video of one picture and as a folder of one."""
    moving = write_clip(tmp_path / "a.mp4", 1.0, paint=panning)
    still = write_clip(tmp_path / "b.mp4", 1.0, frames=1, paint=panning)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(panning(0)).save(folder / "000001.png")
    table = {"a": str(moving), "b": str(still), "c": str(folder)}
    write_scp(tmp_path / "wav.scp", dict.fromkeys(table, str(moving)))
    status, out = run(table, tmp_path / "x", "--wav_scp", str(tmp_path / "wav.scp"))
    assert status == 0
    reason = "shows a single picture, which has no optical flow"
    assert read_skipped(out / "motion_skipped.tsv") == [
        ("b", "motion", reason),
        ("c", "motion", reason),
    ]


def test_random_raft_says_that_its_flow_is_meaningless(caplog):
    encoder, rate = load_motion_encoder("raft_small", "random", batch_size=1)
    assert (encoder.dim, encoder.window, rate) == (1569, 2, None)
    assert "the flow is meaningless" in caplog.text
    assert encoder.info["weights"] == "random, seed 0: meaningless flow"


def test_raft_gets_the_values_that_torchvision_states(tmp_path):
    """From a file of weights, as torchvision's own preprocessing has it."""
    import torchvision

    torch.manual_seed(3)
    network = torchvision.models.optical_flow.raft_small(weights=None).eval()
    path = tmp_path / "raft.pth"
    torch.save(network.state_dict(), path)
    encoder, _ = load_motion_encoder("raft_small", str(path), batch_size=1)
    assert encoder.info["weights"].startswith("sha256 ")
    pictures = np.stack([noise_picture(n, (224, 224)) for n in (0, 1)])
    row = encoder.encode_fitted([pictures])[0]
    stated = torchvision.models.optical_flow.Raft_Small_Weights.C_T_V2.transforms()
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    with torch.inference_mode():
        flow = network(*stated(batch[:1], batch[1:]))[-1] / 224
    expected = torch.nn.functional.avg_pool2d(flow, 8).flatten()
    cut = is_cut(batch[:1] / 255, batch[1:] / 255)
    assert not cut
    np.testing.assert_allclose(row[:-1], expected, atol=1e-5)


def test_weights_and_types_that_do_not_fit(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"fnet.weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="--motion_pretrained .*does not fit RAFT"):
        load_motion_encoder("raft_small", str(path))
    with pytest.raises(InputError, match="no torchvision weights of raft_small"):
        load_motion_encoder("raft_small", "KINETICS400_V1")
    with pytest.raises(InputError, match="has no weights; leave the option out"):
        load_motion_encoder("lucas_kanade", "random")
    with pytest.raises(InputError, match="bfloat16: optical flow needs float32"):
        load_motion_encoder("lucas_kanade", dtype="bfloat16")
    with pytest.raises(InputError, match="--motion_encoder pwc: unknown"):
        load_motion_encoder("pwc")
