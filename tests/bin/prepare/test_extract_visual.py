import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import kaldiio
import numpy as np
import pytest
import yaml
from PIL import Image

from espnet2_avsep.bin.prepare.extract_visual import main
from espnet2_avsep.data import features
from espnet2_avsep.data.tables.scp import read_scp, read_skipped, write_scp
from espnet2_avsep.visual import build
from tests.support.media_fixtures import (
    paint_number,
    tone,
    truncate,
    write_clip,
    write_video,
    write_wav,
)
from tests.support.number_encoder import BARS, number_encoder


def shown(rows):
    """Numbers of the pictures that rows of number_encoder mean."""
    return [sum(1 << k for k in range(BARS) if row[k] > 0.5) for row in rows]


@pytest.fixture
def numbers(monkeypatch):
    monkeypatch.setattr(
        build, "build_encoder", lambda **o: number_encoder(o["batch_size"])
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Six good clips: clip i shows the numbers from 100 * i on."""
    folder = tmp_path_factory.mktemp("clips")
    table = {}
    for i in range(6):
        path = folder / f"{i}.mp4"
        seconds = 1.0 + 0.5 * i
        write_clip(
            path, seconds, paint=lambda k, i=i: paint_number(min(100 * i + k, 1023))
        )
        table[f"cello-{i}"] = str(path)
    return table


def run(table, folder, *options):
    scp = Path(folder) / "video.scp"
    write_scp(scp, table)
    out = Path(folder) / "out"
    status = main(
        ["--video_scp", str(scp), "--output_dir", str(out), "--device", "cpu", *options]
    )
    return status, out


def loaded(out):
    return dict(kaldiio.load_scp(str(out / "visual.scp")).items())


def contents(out):
    return {p.name: p.read_bytes() for p in out.iterdir()}


def test_rows_are_the_pictures_of_each_second(tmp_path, clips, numbers):
    status, out = run(clips, tmp_path, "--batch_size", "4")
    assert status == 0
    rows = loaded(out)
    for i, key in enumerate(clips):
        seconds = 1.0 + 0.5 * i
        count = int(np.ceil(seconds))
        times = (np.arange(count) + 0.5) / count * seconds
        expected = [100 * i + int(25 * time) for time in times]
        assert shown(rows[key]) == expected
        assert rows[key].dtype == np.float32
    shapes = read_scp(out / "visual_shape")
    assert shapes["cello-3"] == "3,10"
    assert read_skipped(out / "visual_skipped.tsv") == []
    info = yaml.safe_load((out / "visual_info.yaml").read_text())
    assert info == {
        "encoder": "numbers",
        "model": "m",
        "pretrained": "p",
        "weights": "w",
        "dim": 10,
        "dtype": "float32",
        "fps": 8,
        "every": 8,
        "row_time": "(i + 1/2) / n of the sound",
    }


def test_fps_and_every(tmp_path, clips, numbers):
    table = {"cello-1": clips["cello-1"]}  # 1.5 s
    _, out = run(table, tmp_path, "--fps", "8", "--every", "2")
    assert shown(loaded(out)["cello-1"]) == [103, 109, 115, 121, 128, 134]


def test_splitting_and_batches_leave_no_trace(tmp_path, clips, numbers):
    _, whole = run(clips, tmp_path / "whole", "--batch_size", "4")
    rows = loaded(whole)
    for n, key in enumerate(clips):
        _, out = run({key: clips[key]}, tmp_path / str(n), "--batch_size", "4")
        np.testing.assert_array_equal(loaded(out)[key], rows[key])


def test_several_tables_share_one_encoder(tmp_path, clips, monkeypatch):
    built = []
    monkeypatch.setattr(
        build,
        "build_encoder",
        lambda **o: built.append(o) or number_encoder(o["batch_size"]),
    )
    wav = write_wav(tmp_path / "a.wav", tone(4.0, 8000), 8000)
    write_scp(tmp_path / "wav.scp", {"cello-1": str(wav)})
    tables = {"a": ["cello-0"], "b": ["cello-1"], "c": []}
    for name, keys in tables.items():
        write_scp(tmp_path / f"{name}.scp", {key: clips[key] for key in keys})
    options = ["--batch_size", "4", "--device", "cpu"]
    options += ["--video_scp", *(str(tmp_path / f"{name}.scp") for name in tables)]
    options += ["--output_dir", *(str(tmp_path / name) for name in tables)]
    assert main([*options, "--wav_scp", "-", str(tmp_path / "wav.scp"), "-"]) == 0
    assert len(built) == 1
    assert shown(loaded(tmp_path / "a")["cello-0"]) == [12]
    # The sound of its own table: 4 s, of which the picture of 1.5 s lasts for the rest.
    assert shown(loaded(tmp_path / "b")["cello-1"]) == [112, 137, 137, 137]
    assert not (tmp_path / "c").exists()


def test_every_table_has_its_own_folder(tmp_path, capsys):
    options = ["--video_scp", "a.scp", "b.scp", "--output_dir", "a"]
    assert main(options) == 2
    assert "--output_dir: 1 values, --video_scp has 2" in capsys.readouterr().err


def test_weights_are_looked_for_without_a_network_in_memory():
    """The check before the jobs of stage 2: one error, no torch, no clip."""
    program = (
        "import sys; from espnet2_avsep.bin.prepare.extract_visual import main\n"
        "status = main(['--check_weights', '--visual_pretrained', 'no_such'])\n"
        "sys.exit(f'{status} {\"torch\" in sys.modules}')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True
    )
    error, last = done.stderr.splitlines()
    assert error.startswith("error: --visual_pretrained no_such: no such file, and no")
    assert "openai, laion400m_e31" in error
    assert last == "2 False"


def test_the_sound_of_another_file_counts(tmp_path, clips, numbers):
    wav = write_wav(tmp_path / "a.wav", tone(4.0, 8000), 8000)
    write_scp(tmp_path / "wav.scp", {"cello-0": str(wav), "cello-9": "x"})
    table = {"cello-0": clips["cello-0"]}  # 1 s
    _, out = run(table, tmp_path, "--wav_scp", str(tmp_path / "wav.scp"))
    assert shown(loaded(out)["cello-0"]) == [12, 24, 24, 24]


def test_the_sound_of_another_file_begins_with_the_picture(tmp_path, numbers):
    """The clock of a transport stream begins at 1.4 s, that of a wav at 0."""
    video = write_video(tmp_path / "a.ts")  # 2 s, without sound
    wav = write_wav(tmp_path / "a.wav", tone(2.0, 8000), 8000)
    write_scp(tmp_path / "wav.scp", {"cello-0": str(wav)})
    table = {"cello-0": str(video)}
    _, out = run(table, tmp_path, "--wav_scp", str(tmp_path / "wav.scp"))
    assert shown(loaded(out)["cello-0"]) == [12, 37]


def test_tables_that_disagree(tmp_path, clips, numbers, capsys):
    write_scp(tmp_path / "wav.scp", {"cello-0": clips["cello-0"]})
    status, _ = run(clips, tmp_path, "--wav_scp", str(tmp_path / "wav.scp"))
    assert status == 2
    error = capsys.readouterr().err
    assert "has no line for cello-1 (and 4 other" in error


def test_folders_of_images(tmp_path, numbers):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(20):
        Image.fromarray(paint_number(i)).save(folder / f"{i + 1:06d}.png")
    _, out = run({"cello-0": str(folder)}, tmp_path, "--every", "8")
    assert shown(loaded(out)["cello-0"]) == [3, 10, 16]


@pytest.fixture
def bad_clips(tmp_path):
    folder = tmp_path / "bad"
    (folder / "zero.mp4").parent.mkdir()
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(b"\x07\x12" * 5000)
    fast = {"movflags": "faststart"}
    return {
        "bad-missing": str(folder / "missing.mp4"),
        "bad-zero": str(folder / "zero.mp4"),
        "bad-noise": str(folder / "noise.mp4"),
        "bad-mute": str(write_video(folder / "mute.mp4")),
        "bad-blind": str(write_video(folder / "b.m4a", frames=0, audio=tone(1, 22050))),
        "bad-cut": str(
            truncate(write_clip(folder / "c.mp4", 4.0, container_options=fast), 0.5)
        ),
        "bad-folder": str(folder),
    }


REASONS = {
    "bad-missing": "file not found",
    "bad-zero": "zero-length file",
    "bad-noise": "unreadable",
    "bad-mute": "no audio stream",
    "bad-blind": "no video stream",
    "bad-cut": "truncated",
    "bad-folder": "no images",
}


def test_bad_clips_are_left_out_with_the_reason(tmp_path, clips, bad_clips, numbers):
    table = {**dict(list(clips.items())[:3]), **bad_clips}
    status, out = run(table, tmp_path, "--batch_size", "4")
    assert status == 0
    assert set(loaded(out)) == {"cello-0", "cello-1", "cello-2"}
    assert shown(loaded(out)["cello-2"]) == [212, 237]
    skipped = {row.key: row for row in read_skipped(out / "visual_skipped.tsv")}
    assert set(skipped) == set(REASONS)
    for key, reason in REASONS.items():
        assert skipped[key].stage == "visual"
        assert skipped[key].reason.startswith(reason)


def test_only_bad_clips_are_an_error(tmp_path, bad_clips, numbers, capsys):
    status, out = run(bad_clips, tmp_path)
    assert status == 2
    assert "none of its 7 clips has pictures" in capsys.readouterr().err
    assert not (out / "visual.scp").exists()
    assert len(read_skipped(out / "visual_skipped.tsv")) == 7
    status, out = run(bad_clips, tmp_path, "--allow_empty", "true")
    assert status == 0
    assert (out / "visual.scp").read_text() == ""
    assert (out / "visual_info.yaml").exists()


def test_finished_clips_are_not_encoded_again(tmp_path, clips, monkeypatch):
    built = []

    def counting(**options):
        built.append(number_encoder(options["batch_size"]))
        return built[-1]

    monkeypatch.setattr(build, "build_encoder", counting)
    _, out = run(clips, tmp_path)
    before = contents(out)
    assert run(clips, tmp_path)[0] == 0
    assert contents(out) == before
    assert len(built) == 1
    more = {**clips, "cello-9": clips["cello-0"]}
    run(more, tmp_path)
    assert len(built) == 2
    assert list(loaded(out)) == list(more)
    assert contents(out)["visual.ark"].startswith(before["visual.ark"])
    run(clips, tmp_path, "--every", "4")  # another sampling: all anew
    assert len(loaded(out)["cello-1"]) == 3
    assert "cello-9" not in loaded(out)


def test_torch_is_not_imported_where_nothing_is_to_do(tmp_path, clips, numbers):
    _, out = run(clips, tmp_path)
    argv = ["--video_scp", str(tmp_path / "video.scp"), "--output_dir", str(out)]
    code = "import sys; sys.modules['torch'] = None  # importing it fails\n"
    code += "from espnet2_avsep.bin.prepare.extract_visual import main\n"
    code += "sys.exit(main(sys.argv[1:]))"
    result = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True)
    assert result.returncode == 0, result.stderr


def test_a_changed_video_is_encoded_again(tmp_path, clips, numbers):
    path = tmp_path / "a.mp4"
    write_clip(path, 1.0)
    _, out = run({"cello-0": str(path)}, tmp_path)
    assert shown(loaded(out)["cello-0"]) == [12]
    write_clip(path, 3.0, paint=lambda k: paint_number(k + 5))
    run({"cello-0": str(path)}, tmp_path)
    assert shown(loaded(out)["cello-0"]) == [17, 42, 67]
    path.unlink()
    other = {"cello-0": str(path), "cello-1": clips["cello-1"]}
    run(other, tmp_path)
    assert list(loaded(out)) == ["cello-1"]


KILL = """
import os, signal, sys
sys.path.insert(0, {root!r})
from tests.support.number_encoder import number_encoder
from espnet2_avsep.bin.prepare.extract_visual import main
from espnet2_avsep.data import features
from espnet2_avsep.visual import build

build.build_encoder = lambda **o: number_encoder(o["batch_size"])
write, count = features._write_all, 0

def write_and_die(file, content):
    global count
    count += 1
    if count == {die_at}:
        file.write(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(file, content)

features._write_all = write_and_die
main({arguments!r})
"""


def test_kill_9_and_again_ends_byte_identical(tmp_path, clips, numbers):
    die_at = 4
    folder = tmp_path / "work"
    _, out = run(clips, folder, "--batch_size", "4")
    expected = contents(out)
    for path in out.iterdir():
        path.unlink()
    arguments = ["--video_scp", str(folder / "video.scp"), "--output_dir", str(out)]
    arguments += ["--device", "cpu", "--batch_size", "4"]
    root = str(Path(__file__).resolve().parents[3])
    code = KILL.format(root=root, die_at=die_at, arguments=arguments)
    result = subprocess.run([sys.executable, "-c", code], check=False)
    assert result.returncode == -signal.SIGKILL
    assert not (out / "visual.scp").exists()
    assert (out / "visual.ark").stat().st_size > 0
    with features.FeatureWriter(out, _settings(out)) as writer:
        assert len(writer.entries) == die_at - 1
    assert run(clips, folder, "--batch_size", "4")[0] == 0
    assert contents(out) == expected


def _settings(out):
    import json

    first = (out / "visual.journal").read_bytes().splitlines()[0]
    return json.loads(first)["settings"]


def test_full_disk(tmp_path, clips, numbers, monkeypatch, capsys):
    folder = tmp_path / "work"
    _, out = run(clips, folder)
    expected = contents(out)
    for path in out.iterdir():
        path.unlink()
    written = []
    write = features._write_all

    def fill_up(file, content):
        if len(written) == 2:
            file.write(bytes(content)[:7])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(1)
        write(file, content)

    monkeypatch.setattr(features, "_write_all", fill_up)
    status, _ = run(clips, folder)
    assert status == 2
    assert "no space left on device. Free some space" in capsys.readouterr().err
    assert not (out / "visual.scp").exists()
    monkeypatch.setattr(features, "_write_all", write)
    assert run(clips, folder)[0] == 0
    assert contents(out) == expected


def test_two_processes_do_not_write_at_once(tmp_path, clips, numbers, capsys):
    _, out = run(clips, tmp_path)
    with features.FeatureWriter(out, _settings(out)):
        status, _ = run(clips, tmp_path)
    assert status == 2
    assert "another process is at work" in capsys.readouterr().err


def precomputed(tmp_path, content):
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as f:
        for key, matrix in content.items():
            f[key] = matrix
    write_scp(tmp_path / "utt2clip", {f"cello-{i}": f"cello/{i}" for i in range(3)})
    table = {f"cello-{i}": "not looked at" for i in range(3)}
    options = ("--precomputed", str(path), "--utt2clip", str(tmp_path / "utt2clip"))
    return table, options


def test_precomputed_features_are_taken_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    content = {f"cello/{i}": rng.standard_normal((i + 1, 4)) for i in range(2)}
    table, options = precomputed(tmp_path, content)
    status, out = run(table, tmp_path, *options)
    assert status == 0
    rows = loaded(out)
    for i in range(2):
        np.testing.assert_array_equal(
            rows[f"cello-{i}"], content[f"cello/{i}"].astype(np.float32)
        )
    (row,) = read_skipped(out / "visual_skipped.tsv")
    assert row == (
        "cello-2",
        "visual",
        "cello/2 is not in the precomputed features",
    )
    info = yaml.safe_load((out / "visual_info.yaml").read_text())
    assert info["encoder"] == "precomputed"
    assert (info["file"], info["dim"]) == (options[1], 4)
    before = contents(out)
    assert run(table, tmp_path, *options)[0] == 0
    assert contents(out) == before


def test_precomputed_features_of_another_width(tmp_path, capsys):
    content = {f"cello/{i}": np.ones((2, 4 + i)) for i in range(2)}
    table, options = precomputed(tmp_path, content)
    status, out = run(table, tmp_path, *options)
    assert status == 2
    assert "rows of cello-1 have 5 values" in capsys.readouterr().err
    assert not (out / "visual.scp").exists()
    # As well where those before are finished already.
    assert run({"cello-0": "not looked at"}, tmp_path, *options)[0] == 0
    assert run(table, tmp_path, *options)[0] == 2
    message = "rows of cello-1 have 5 values, those of the clips before 4"
    assert message in capsys.readouterr().err
    assert not (out / "visual.scp").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--fps", "0"), "--fps 0.0: expected more than 0"),
        (("--batch_size", "-1"), "--batch_size -1"),
        (("--every", "0"), "--every 0"),
        (("--fps", "inf"), "--fps inf: expected more than 0 and at most"),
        (("--box_fps", "0"), "--box_fps 0.0: expected more than 0"),
        (
            ("--visual_boxes", "detector", "--precomputed", "a.h5"),
            "--visual_boxes detector and --precomputed a.h5: give one of them",
        ),
        (
            ("--visual_boxes", "detector", "--region", "left"),
            "--visual_boxes detector and --region left: give one of them",
        ),
        (
            ("--visual_encoder", "frames", "--region", "left"),
            "--visual_encoder frames and --region left: give one of them",
        ),
    ],
)
def test_senseless_options(tmp_path, clips, capsys, options, message):
    assert run(clips, tmp_path, *options)[0] == 2
    assert message in capsys.readouterr().err


def test_missing_table(tmp_path, capsys):
    arguments = ["--video_scp", str(tmp_path / "no.scp"), "--output_dir", str(tmp_path)]
    assert main(arguments) == 2
    assert "no such file" in capsys.readouterr().err


def test_resnet18_on_a_video_end_to_end(tmp_path, clips, caplog):
    status, out = run(
        {"cello-1": clips["cello-1"]},
        tmp_path,
        *("--visual_encoder", "resnet18", "--visual_pretrained", "random"),
        *("--batch_size", "2"),
    )
    assert status == 0
    assert "randomly initialised (seed 0), not CLIP" in caplog.text
    rows = loaded(out)["cello-1"]
    assert rows.shape == (2, 512)
    assert np.isfinite(rows).all()
    info = yaml.safe_load((out / "visual_info.yaml").read_text())
    assert (info["encoder"], info["weights"]) == ("resnet18", "random, seed 0")


def test_clip_weights_that_cannot_be_had(tmp_path, clips, capsys):
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    status, out = run({"cello-0": clips["cello-0"]}, tmp_path)
    assert status == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: --visual_pretrained openai: the weights of ViT-B-32"
    )
    assert not (out / "visual.scp").exists()
