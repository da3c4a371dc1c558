"""avsep_extract_motion: windows of pictures, rows, tables."""

from fractions import Fraction

import kaldiio
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from espnet2_avsep.bin.prepare.extract_motion import main
from espnet2_avsep.data.tables.scp import read_scp, read_skipped, write_scp
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder, Preprocessing
from espnet2_avsep.visual.frames import Resize
from espnet2_avsep.visual.motion_features import motion_encoder
from espnet2_avsep.visual.motion_features.motion import clip_windows, window_times
from tests.support.killed import Killed
from tests.support.media_fixtures import paint_number, read_number, write_clip

HEIGHT, WIDTH, SIDE = 48, 96, 12


class Plain:
    """Stands in for an encoder that takes pictures as they are, three at a time."""

    class preprocessing:
        resize = None

    window = 3

    @staticmethod
    def fit(image):
        return image


def moving_square(speed):
    """Paint a bright square that moves by `speed` pixels a picture."""

    def paint(number):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        left = 40 + round(speed * number)
        image[18 : 18 + SIDE, left : left + SIDE] = 255
        return image

    return paint


class Drift(torch.nn.Module):
    """Row: how far the light's centre moves from first to last picture, and where."""

    def forward(self, windows):
        light = windows.mean(dim=1).sum(dim=2)  # (B, F, W)
        places = torch.arange(light.shape[-1], dtype=light.dtype)
        centres = (light * places).sum(-1) / light.sum(-1).clamp(min=1e-6)
        return torch.stack([centres[:, -1] - centres[:, 0], centres.mean(1)], dim=1)


@pytest.fixture
def drift(monkeypatch):
    """A stub for the video networks: 6 pictures, 5 a second; counts what is built."""
    built = []

    def load(model, pretrained, seed, **options):
        size = (HEIGHT, WIDTH)
        preprocessing = Preprocessing(Resize(size, "squash"), size)
        info = {"encoder": model, "pretrained": pretrained, "weights": "w"}
        built.append(FrameEncoder(Drift(), preprocessing, info, window=6, **options))
        return built[-1], 5.0

    monkeypatch.setattr(motion_encoder, "load_motion_encoder", load)
    return built


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of 2 s, 25 pictures a second: one square goes right, the other left."""
    folder = tmp_path_factory.mktemp("clips")
    table = {}
    for name, speed in (("right", 0.8), ("left", -0.6)):
        path = write_clip(folder / f"{name}.mp4", 2.0, paint=moving_square(speed))
        table[f"cello-{name}"] = str(path)
    return table


def run(table, folder, *options):
    folder.mkdir(exist_ok=True)
    write_scp(folder / "video.scp", table)
    argv = ["--video_scp", str(folder / "video.scp"), "--device", "cpu"]
    return main([*argv, "--output_dir", str(folder / "out"), *options]), folder / "out"


def loaded(out):
    return dict(kaldiio.load_scp(str(out / "motion.scp")).items())


def test_windows_stand_around_the_middle_of_their_row():
    windows = window_times(3.0, 1, 10, 5)
    assert len(windows) == 3
    for i, window in enumerate(windows):
        tenths = [Fraction(10 * i + 5 + k, 10) for k in (-2, -1, 0, 1, 2)]
        assert window == tenths
    # What reaches beyond the sound is held at its ends.
    assert window_times(0.5, 1, 10, 9) == [
        [Fraction(k, 20) for k in (0, 0, 1, 3, 5, 7, 9, 10, 10)]
    ]


@pytest.mark.parametrize(
    ("duration", "rate", "rows"),
    [(2.0, 1, 2), (2.1, 1, 3), (0.2, 1, 1), (3, 2.5, 8)],
)
def test_number_of_rows(duration, rate, rows):
    windows = window_times(duration, rate, 15, 16)
    assert len(windows) == rows
    centres = [(window[0] + window[-1]) / 2 for window in windows[1:-1]]
    for i, centre in enumerate(centres, 1):
        assert float(centre) == pytest.approx((i + 0.5) / rows * duration)


@pytest.mark.parametrize(
    ("duration", "rate", "rows"), [(1.1, 10, 11), (10.0, 0.2, 2), (1.1001, 10, 12)]
)
def test_durations_that_binary_numbers_round_up_have_no_row_more(duration, rate, rows):
    assert len(window_times(duration, rate, None, 2)) == rows
    assert window_times(duration, rate, None, 2)[-1][-1] == Fraction(str(duration))


@pytest.mark.parametrize("rows_per_second", [1, 5])
def test_pictures_of_the_windows(tmp_path, rows_per_second):
    video = str(write_clip(tmp_path / "a.mp4", 2.0))
    windows = list(clip_windows(video, video, rows_per_second, 5, Plain))
    count = 2 * rows_per_second
    assert len(windows) == count
    for i, window in enumerate(windows):
        times = [(i + 0.5) / rows_per_second + k / 5 for k in (-1, 0, 1)]
        shown = [min(int(25 * max(t, 0) + 1e-6), 49) for t in times]
        assert [read_number(image) for image in window] == shown


def test_pictures_of_a_folder_are_spread_over_the_sound(tmp_path):
    for i in range(10):
        Image.fromarray(paint_number(i)).save(tmp_path / f"{i + 1:06d}.png")
    sound = str(write_clip(tmp_path / "a.mp4", 5.0, frames=25, fps=5))
    windows = list(clip_windows(str(tmp_path), sound, 1, 2, Plain))
    shown = [[read_number(image) for image in window] for window in windows]
    assert shown == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8], [8, 9, 9]]


def test_rows_tell_the_motion(tmp_path, clips, drift):
    status, out = run(clips, tmp_path, "--motion_rate", "2", "--batch_size", "3")
    assert status == 0
    rows = loaded(out)
    for key, speed in (("cello-right", 0.8), ("cello-left", -0.6)):
        assert rows[key].shape == (4, 2)  # 2 s, 2 rows a second
        # The windows of 1 s stand around 0.25, 0.75, ...: the outer two are cut short.
        begin, end = np.array([0, 0.25, 0.75, 1.25]), np.array([0.75, 1.25, 1.75, 2])
        ends = np.minimum(np.floor(25 * end), 49)
        moved = np.round(speed * ends) - np.round(speed * np.floor(25 * begin))
        np.testing.assert_allclose(rows[key][:, 0], moved, atol=0.7)
    assert read_scp(out / "motion_shape") == {"cello-left": "4,2", "cello-right": "4,2"}
    assert read_skipped(out / "motion_skipped.tsv") == []
    assert yaml.safe_load((out / "motion_info.yaml").read_text()) == {
        "encoder": "s3d",
        "pretrained": "KINETICS400_V1",
        "weights": "w",
        "dim": 2,
        "dtype": "float32",
        "window": 6,
        "window_fps": 5.0,
        "rows_per_second": 2.0,
    }


def test_batches_and_jobs_leave_no_trace(tmp_path, clips, drift):
    _, whole = run(clips, tmp_path / "whole", "--batch_size", "3")
    for key in clips:
        _, single = run({key: clips[key]}, tmp_path / key, "--batch_size", "3")
        np.testing.assert_array_equal(loaded(single)[key], loaded(whole)[key])
        _, ones = run({key: clips[key]}, tmp_path / f"{key}1", "--batch_size", "1")
        np.testing.assert_allclose(loaded(ones)[key], loaded(whole)[key], atol=1e-5)


def test_a_run_goes_on_where_it_was_cut_off(tmp_path, clips, drift, monkeypatch):
    _, whole = run(clips, tmp_path / "whole", "--batch_size", "1")
    encode, calls = FrameEncoder.encode_fitted, []

    def die(self, windows):
        calls.append(1)
        if len(calls) == 4:  # two windows a clip
            raise Killed
        return encode(self, windows)

    with monkeypatch.context() as patch:
        patch.setattr(FrameEncoder, "encode_fitted", die)
        with pytest.raises(Killed):
            run(clips, tmp_path / "cut", "--batch_size", "1")
    half = tmp_path / "cut" / "out"
    assert not (half / "motion.scp").exists() and (half / "motion.ark").stat().st_size
    run(clips, tmp_path / "cut", "--batch_size", "1")
    for name in ("motion.ark", "motion_shape", "motion_info.yaml"):
        assert (half / name).read_bytes() == (whole / name).read_bytes()
    built = len(drift)
    run(clips, tmp_path / "cut", "--batch_size", "1")
    assert len(drift) == built  # nothing was left to do


def test_clips_without_motion_are_counted(tmp_path, clips, drift, capsys):
    gone = {"tuba-gone": str(tmp_path / "no.mp4")}
    status, out = run({**clips, **gone}, tmp_path)
    assert status == 0 and set(loaded(out)) == set(clips)
    (row,) = read_skipped(out / "motion_skipped.tsv")
    assert row == ("tuba-gone", "motion", "file not found")
    assert run(gone, tmp_path / "all")[0] == 2
    assert "none of its 1 clips" in capsys.readouterr().err
    assert run(gone, tmp_path / "all", "--allow_empty", "true")[0] == 0


def test_senseless_rate(tmp_path, clips, capsys):
    assert run(clips, tmp_path, "--motion_rate", "0")[0] == 2
    assert "--motion_rate 0.0: expected more than 0" in capsys.readouterr().err


def test_given_features(tmp_path):
    values = np.random.default_rng(0).normal(size=(1024, 4, 2, 2)).astype(np.float32)
    folder = tmp_path / "motion_features"
    (folder / "cello").mkdir(parents=True)
    np.save(folder / "cello" / "a.mp4.npy", values)
    np.save(folder / "cello" / "b.mp4.npy", values[:1000])
    table = {f"cello-{name}": "not looked at" for name in "abc"}
    write_scp(tmp_path / "utt2clip", {key: key.replace("-", "/") for key in table})
    options = ("--motion_precomputed", str(folder))
    options += ("--utt2clip", str(tmp_path / "utt2clip"))
    status, out = run(table, tmp_path, *options)
    assert status == 0
    rows = loaded(out)
    assert list(rows) == ["cello-a"]
    np.testing.assert_array_equal(rows["cello-a"], values.max(axis=(2, 3)).T)
    reasons = {r.key: r.reason for r in read_skipped(out / "motion_skipped.tsv")}
    assert "wrong shape: (1000, 4, 2, 2)" in reasons["cello-b"]
    assert reasons["cello-c"].startswith("no motion features: neither cello/c.npy")
    info = yaml.safe_load((out / "motion_info.yaml").read_text())
    assert (info["encoder"], info["dim"]) == ("precomputed", 1024)
    # A file that comes later, or changes, is taken.
    np.save(folder / "cello" / "c.npy", values[:, :2])
    np.save(folder / "cello" / "a.mp4.npy", values[:, :3])
    run(table, tmp_path, *options)
    assert {k: v.shape for k, v in loaded(out).items()} == {
        "cello-a": (3, 1024),
        "cello-c": (2, 1024),
    }
