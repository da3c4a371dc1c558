"""Stage 2 with --visual_encoder frames."""

import numpy as np
import pytest
import yaml
from PIL import Image

from espnet2_avsep.bin.prepare.extract_visual import main
from espnet2_avsep.data.segment_reader import matrix_shape, read_matrix
from espnet2_avsep.data.tables.scp import read_scp, read_skipped, write_scp
from espnet2_avsep.visual import frame_packer
from espnet2_avsep.visual.build import encoder_from_info
from tests.support.killed import Killed
from tests.support.media_fixtures import paint_number, read_number, write_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two videos and a folder of frames, all showing their frames' numbers."""
    folder = tmp_path_factory.mktemp("clips")
    table = {}
    for i, seconds in enumerate((1.0, 2.0)):
        path = folder / f"{i}.mp4"
        write_clip(path, seconds, paint=lambda k: paint_number(k, 100, 100))
        table[f"cello-{i}"] = str(path)
    frames = folder / "frames"
    frames.mkdir()
    for k in range(5):
        Image.fromarray(paint_number(k, 80, 80)).save(frames / f"{k:06d}.png")
    table["tuba-0"] = str(frames)
    return table


def run(table, folder, *options):
    write_scp(folder / "video.scp", table)
    argv = ["--video_scp", str(folder / "video.scp")]
    argv += ["--output_dir", str(folder / "out"), "--visual_encoder", "frames"]
    assert main([*argv, "--visual_size", "60", "--every", "2", *options]) == 0
    return folder / "out"


def test_pictures_are_those_of_the_sampled_times(clips, tmp_path):
    out = run(clips, tmp_path)
    table = read_scp(out / "visual.scp")
    shapes = read_scp(out / "visual_shape")
    assert shapes == {k: f"{n},3,60,60" for k, n in zip(table, (4, 8, 3), strict=True)}
    for key in ("cello-0", "cello-1"):
        images = read_matrix(table[key]).transpose(0, 2, 3, 1)
        # 4 pictures a second of a video of 25 a second.
        expected = [int(25 * (i + 0.5) / 4) for i in range(len(images))]
        assert [read_number(image) for image in images] == expected
    images = read_matrix(table["tuba-0"]).transpose(0, 2, 3, 1)
    assert [read_number(image) for image in images] == [0, 2, 4]
    info = yaml.safe_load((out / "visual_info.yaml").read_text())
    assert info == {
        "encoder": "frames",
        "size": 60,
        "jpeg_quality": 90,
        "fps": 8,
        "every": 2,
        "row_time": "(i + 1/2) / n of the sound",
    }


def test_killed_run_ends_byte_identical(clips, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = run(clips, tmp_path / "a")
    pack, calls = frame_packer.FramePacker.pack, []

    def pack_one_and_die(self, images):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return pack(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(frame_packer.FramePacker, "pack", pack_one_and_die)
        with pytest.raises(Killed):
            run(clips, tmp_path / "b")
    half = tmp_path / "b" / "out"
    assert not (half / "visual.scp").exists()
    with (half / "visual.ark").open("ab") as f:
        f.write(b"half a clip")
    run(clips, tmp_path / "b")
    for name in ("visual.ark", "visual_shape", "visual_info.yaml"):
        assert (half / name).read_bytes() == (whole / name).read_bytes(), name


def test_other_size_begins_anew_and_bad_clips_are_counted(clips, tmp_path):
    run(clips, tmp_path)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    out = run({**clips, "tuba-1": str(broken)}, tmp_path, "--visual_size", "20")
    assert matrix_shape(read_scp(out / "visual.scp")["cello-0"]) == (4, 3, 20, 20)
    assert [row.key for row in read_skipped(out / "visual_skipped.tsv")] == ["tuba-1"]


def test_pictures_for_a_trained_model_are_fitted_in_the_same_way(clips, tmp_path):
    out = run(clips, tmp_path)
    packer = encoder_from_info(out / "visual_info.yaml")
    picture = paint_number(777, 90, 90)
    frames = packer.encode([picture, picture[:70]])
    assert frames.shape == (2, 3, 60, 60) and frames.dtype == np.uint8
    assert read_number(frames[0].transpose(1, 2, 0)) == 777


@pytest.mark.parametrize("option", [("--visual_size", "0"), ("--jpeg_quality", "96")])
def test_bad_options(clips, tmp_path, option, capsys):
    write_scp(tmp_path / "video.scp", clips)
    argv = ["--video_scp", str(tmp_path / "video.scp")]
    argv += ["--output_dir", str(tmp_path / "out"), "--visual_encoder", "frames"]
    assert main([*argv, *option]) == 2
    assert option[0] in capsys.readouterr().err
