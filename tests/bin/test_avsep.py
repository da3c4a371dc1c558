"""The command `avsep`, called in this process."""

import functools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from espnet2_avsep import __version__
from espnet2_avsep.bin import avsep
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference import query
from espnet2_avsep.inference.prompts import LEFT, During, Mean, Region, Text
from espnet2_avsep.visual import build
from tests.support.media_fixtures import tone, truncate, write_video
from tests.support.number_encoder import number_encoder
from tests.support.tiny_corpus import DIM
from tests.support.trained_model import make_trained_folder

RATE = 8000


class Encoder:
    """Embeds a picture by its mean colour, on the left and on the right."""

    def encode(self, images):
        rows = [[i[..., c].mean() / 255 for c in range(3)] + [1] for i in images]
        return np.array(rows, np.float32)[:, :DIM]


def red_and_blue(number):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32, 0] = picture[:, 32:, 2] = 255
    return picture


@pytest.fixture
def encoder(monkeypatch):
    monkeypatch.setattr(build, "encoder_from_info", lambda *_: Encoder())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avsep")
    make_trained_folder(folder / "model")
    info = {"encoder": "open_clip", "model": "ViT-B-32", "pretrained": "random"}
    info["weights"] = "random, seed 0"
    (folder / "model" / "visual_info.yaml").write_text(yaml.safe_dump(info))
    sound = np.stack([tone(3, RATE, 300), tone(3, RATE, 200, 0.2)])
    write_video(
        folder / "duet.mp4", 30, 10, sound, RATE, paint=red_and_blue, pixels="yuv444p"
    )
    soundfile.write(folder / "mix.wav", sound.T, RATE, subtype="PCM_16")
    Image.fromarray(red_and_blue(0)[:, :32]).save(folder / "red.png")
    np.save(folder / "e.npy", np.eye(DIM, dtype=np.float32)[0])
    return folder


def run(capsys, *argv):
    status = avsep.main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return status, out, err


def test_video_by_regions_picture_and_embedding(place, tmp_path, capsys, encoder):
    out = tmp_path / "out"
    queries = ["box:0,0,0.5,1", "box:0.5,0,1,1", place / "red.png", place / "e.npy"]
    words = [w for q in queries for w in ("--query", q)]
    status, text, err = run(
        *(capsys, "separate", place / "duet.mp4", *words),
        *("--out", out, "--model", place / "model", "--json", "--channels", "mean"),
    )
    assert (status, err) == (0, "")
    result = json.loads(text)
    assert result == json.loads((out / "result.json").read_text())
    names = ["1_box_0_0_0.5_1", "2_box_0.5_0_1_1", "3_red", "4_e", "residual"]
    assert [n for n in result["tracks"] if n != "mixture"] == names
    tracks = {n: soundfile.read(out / f"{n}.wav", dtype="int32")[0] >> 8 for n in names}
    assert {len(t) for t in tracks.values()} == {result["samples"]}
    # The left half is red, as the picture is.
    assert np.abs(tracks[names[0]] - tracks["3_red"]).max() < 2**23 * 1e-3
    assert np.abs(tracks[names[0]] - tracks[names[1]]).max() > 2**23 * 1e-3
    mixture = sum(tracks.values())
    assert abs(np.abs(mixture).max() / 2**23 - 0.35) < 0.02
    for name in names:
        with Image.open(out / f"{name}.png") as picture:
            assert picture.size == (min(800, -(-result["samples"] // 512)), 512)
            assert len(set(picture.convert("L").tobytes())) > 20
        assert result["tracks"][name]["picture_copied"] is True
        assert (out / f"{name}.mp4").exists()
    page = (out / "index.html").read_text()
    assert page.count("<audio") == page.count("data:audio/flac") == 5
    assert page.count("data:image/png") == 6 and 'src="http' not in page
    assert re.findall(r'style="left: ([\d.]+)%', page) == ["0.0", "50.0"]
    assert page.count('class="query"') == 3 and "<video muted" in page
    hidden = [p.name for p in out.iterdir() if p.name.startswith(".")]
    assert hidden == [".avsep_separate.json"]
    assert len(list(out.iterdir())) == 3 * 5 + 1 + 2 + 1


def test_left_right_of_a_recording_that_the_page_links(
    place, tmp_path, capsys, encoder
):
    out = tmp_path / "out"
    status, text, err = run(
        *(capsys, "separate", place / "duet.mp4", "--sources", "left-right"),
        *("--out", out, "--model", place / "model", "--format", "flac"),
        *("--embed_seconds", 1, "--mp4", "false", "--every", 0),
    )
    assert status == 0
    # One bar over the sound and the pictures, after what takes long before it.
    shown = ("loading the encoder of the pictures", "separate:", "separate: 100%")
    places = [err.index(text) for text in shown]
    assert places == sorted(places)
    # How often the bar is drawn depends on time; each redraw is over the last one.
    assert sum("100%" in line for line in err.split("\n")) == 1
    assert re.search(r"3\.\d s separated in", text) and "1_left.flac" in text
    page = (out / "index.html").read_text()
    assert 'src="1_left.flac"' in page and "data:audio" not in page
    assert soundfile.info(out / "2_right.flac").channels == 2
    assert not list(out.glob("*.mp4"))
    again = {p.name: p.read_bytes() for p in out.glob("*.flac")}
    run(
        *(capsys, "separate", place / "duet.mp4", "--sources", "left-right"),
        *("--out", out, "--model", place / "model", "--format", "flac"),
        *("--mp4", "false", "--every", 0, "--page", "false"),
    )
    assert again == {p.name: p.read_bytes() for p in out.glob("*.flac")}


def words_of(place, *more):
    return ["separate", "--query", place / "e.npy", "--mp4", "false", *more]


def test_stereo_stays_stereo_and_the_tracks_add_up_to_it(place, tmp_path, capsys):
    words = words_of(place, place / "mix.wav", "--model", place / "model")
    mixture = soundfile.read(place / "mix.wav", dtype="int32")[0] >> 8
    assert run(capsys, *words, "--out", tmp_path / "each")[0] == 0
    tracks = [
        soundfile.read(tmp_path / "each" / f"{name}.wav", dtype="int32")[0] >> 8
        for name in ("1_e", "residual")
    ]
    np.testing.assert_array_equal(sum(tracks), mixture)
    words += ["--channels", "mean", "--out", tmp_path / "mean"]
    assert run(capsys, *words)[0] == 0
    assert soundfile.info(tmp_path / "mean" / "residual.wav").channels == 1


def test_tracks_are_as_bright_as_the_input(place, tmp_path, capsys):
    """Noise at 48 kHz: full bandwidth is the default, --bandwidth model leaves it."""
    noise = np.random.default_rng(0).normal(size=3 * 48000) / 20
    soundfile.write(tmp_path / "noise.wav", noise, 48000, subtype="PCM_16")
    words = words_of(place, tmp_path / "noise.wav", "--model", place / "model")
    share = {}
    for name, more in (("full", []), ("model", ["--bandwidth", "model"])):
        out = tmp_path / name
        assert run(capsys, *words, "--page", "false", *more, "--out", out)[0] == 0
        assert json.loads((out / "result.json").read_text())["bandwidth"] == name
        spectrum = np.abs(np.fft.rfft(soundfile.read(out / "1_e.wav")[0])) ** 2
        share[name] = spectrum[len(spectrum) // 2 :].sum() / spectrum.sum()
    assert share["full"] > 0.3 and share["model"] < 1e-4


@pytest.mark.parametrize(
    ("kind", "suffix", "subtype", "error"),
    [("float", "wav", "FLOAT", 1e-6), ("mp3", "mp3", "MPEG_LAYER_III", 0.05)],
)
def test_formats_of_the_tracks(place, tmp_path, capsys, kind, suffix, subtype, error):
    words = words_of(place, place / "mix.wav", "--model", place / "model")
    status, _, err = run(capsys, *words, "--format", kind, "--out", tmp_path / "o")
    assert status == 0, err
    paths = [tmp_path / "o" / f"{name}.{suffix}" for name in ("1_e", "residual")]
    assert {soundfile.info(path).subtype for path in paths} == {subtype}
    mixture = soundfile.read(place / "mix.wav")[0]
    total = sum(soundfile.read(path)[0] for path in paths)
    assert total.shape == mixture.shape and np.abs(total - mixture).max() < error


def test_model_and_folder_have_defaults(place, tmp_path, capsys, monkeypatch):
    """The last trained of ./exp, or the environment's; the input's name and _tracks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AVSEP_MODEL", raising=False)
    words = words_of(place, place / "mix.wav", "--page", "false")
    status, _, err = run(capsys, *words)
    assert status == 2 and "no model was named, AVSEP_MODEL is not set" in err
    for name, age in (("avsep_old", 100), ("avsep_new", 0), ("avsep_older", 200)):
        folder = make_trained_folder(tmp_path / "exp" / name)
        weights = folder / "valid.si_sdr_i.best.pth"
        time = weights.stat().st_mtime - age
        os.utime(weights, (time, time))
    status, out, err = run(capsys, *words)
    assert status == 0 and "mix_tracks/1_e.wav" in out
    assert "model: exp/avsep_new (the last trained of ./exp/avsep_*)" in err
    assert json.loads((tmp_path / "mix_tracks" / "result.json").read_text())[
        "model"
    ] == str(Path("exp", "avsep_new"))
    monkeypatch.setenv("AVSEP_MODEL", str(place / "model"))
    status, _, err = run(capsys, *words, "--out", "mine")
    assert status == 0 and (tmp_path / "mine" / "1_e.wav").exists()
    assert f"model: {place / 'model'} (from the environment variable" in err
    status, out, _ = run(capsys, "info", "--json")
    assert json.loads(out)["model"] == str(place / "model")


def test_several_inputs(place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = (place / "mix.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole)
    write_video(tmp_path / "b.mkv", audio=tone(4, RATE), rate=RATE)
    truncate(tmp_path / "b.mkv", 0.5)
    (tmp_path / "c.wav").write_bytes(whole)
    words = words_of(place, "--model", place / "model", "--page", "false")
    status, out, err = run(capsys, *words, "a.wav", "b.mkv", "c.wav", "--out", "o")
    assert status == 2 and "truncated" in err
    assert "1 of 3 recordings could not be separated, see above: b.mkv" in err
    assert not (tmp_path / "o" / "b_tracks").exists()
    assert all((tmp_path / "o" / f"{x}_tracks" / "1_e.wav").exists() for x in "ac")
    assert "a.wav: 3.0 s" in out and "c.wav: 3.0 s" in out
    status, out, _ = run(capsys, *words, "a.wav", "c.wav", "--json")
    assert status == 0
    assert [each["input"] for each in json.loads(out)] == ["a.wav", "c.wav"]
    status, _, err = run(capsys, *words, "a.wav", "o/../a.wav")
    assert status == 2 and "both would be written to a_tracks" in err


def separate_embedding(capsys, place, source, out, *more):
    return run(
        *(capsys, "separate", source, "--query", place / "e.npy", "--out", out),
        *("--model", place / "model", *more),
    )


def test_an_input_is_never_overwritten(place, tmp_path, capsys):
    """The residual separated once more, into the folder where it lies."""
    out = tmp_path / "out"
    out.mkdir()
    content = (place / "mix.wav").read_bytes()
    (out / "residual.wav").write_bytes(content)
    for more in ((), ("--overwrite",)):
        status, _, err = separate_embedding(
            capsys, place, out / "residual.wav", out, *more
        )
        assert status == 2 and "residual.wav: is an input" in err
        assert [p.name for p in out.iterdir()] == ["residual.wav"]
        assert (out / "residual.wav").read_bytes() == content


def test_files_of_the_user_are_not_replaced(place, tmp_path, capsys):
    out = tmp_path / "out"
    first = separate_embedding(capsys, place, place / "mix.wav", out)
    again = separate_embedding(capsys, place, place / "mix.wav", out)
    assert first[0] == again[0] == 0
    (out / "index.html").write_text("my own page")
    status, _, err = separate_embedding(capsys, place, place / "mix.wav", out)
    assert status == 2 and "index.html: exists" in err and "--overwrite" in err
    assert (out / "index.html").read_text() == "my own page"
    more = ("--overwrite",)
    assert separate_embedding(capsys, place, place / "mix.wav", out, *more)[0] == 0
    assert (out / "index.html").read_text() != "my own page"


def test_files_of_another_run_are_named(place, tmp_path, capsys, caplog):
    out = tmp_path / "out"
    words = ("--page", "false", "--mp4", "false")
    separate_embedding(capsys, place, place / "mix.wav", out, *words)
    assert "former runs" not in caplog.text
    more = (*words, "--format", "flac")
    assert separate_embedding(capsys, place, place / "mix.wav", out, *more)[0] == 0
    assert "tracks: 1_e.wav, residual.wav" in caplog.text


def test_a_video_that_cannot_be_written_costs_nothing_else(
    place, tmp_path, capsys, monkeypatch, caplog
):
    from espnet2_avsep.data.audio import video_writer

    written = video_writer.write_video

    def fail(video, sound, path, *more):
        if path.name == "residual.mp4":
            raise InputError("no mp4 holds this")
        return written(video, sound, path, *more)

    monkeypatch.setattr(video_writer, "write_video", fail)
    out = tmp_path / "out"
    status, text, _ = separate_embedding(
        capsys, place, place / "duet.mp4", out, "--json"
    )
    result = json.loads(text)
    note = "no video of the track residual: no mp4 holds this"
    assert status == 0 and result["notes"] == [note]
    assert "no mp4 holds this" in caplog.text
    assert "video" not in result["tracks"]["residual"]
    assert result["tracks"]["1_e"]["video"] == "1_e.mp4"
    names = {"1_e.wav", "1_e.mp4", "1_e.png", "residual.wav", "residual.png"}
    names |= {"mixture.png", "index.html", "result.json", ".avsep_separate.json"}
    assert {p.name for p in out.iterdir()} == names


def test_text_with_a_random_encoder_is_explained(place, tmp_path, capsys):
    status, out, err = run(
        *(capsys, "separate", place / "mix.wav", "--query", "violin"),
        *("--out", tmp_path / "out", "--model", place / "model"),
    )
    assert status == 2 and "text says nothing to it" in err and out == ""
    assert not (tmp_path / "out").exists()


def test_text_is_refused_before_torch_is_imported(place, tmp_path):
    program = (
        "import sys\n"
        "from espnet2_avsep.bin import avsep\n"
        "print(avsep.main(sys.argv[1:]), 'torch' in sys.modules)\n"
    )
    words = ["separate", place / "mix.wav", "--query", "violin", "--out", tmp_path]
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, words), "--model", place / "model"],
        capture_output=True,
        text=True,
    )
    assert result.stdout == "2 False\n" and "text says nothing" in result.stderr


def test_separation_imports_only_what_it_needs(place, tmp_path):
    program = (
        "import sys\n"
        "from espnet2_avsep.bin import avsep\n"
        "status = avsep.main(sys.argv[1:])\n"
        "heavy = ['matplotlib', 'scipy', 'espnet2.tasks', 'open_clip', 'torchvision']\n"
        "heavy += ['torch.export', 'torch.distributions']\n"
        "print(status, [name for name in heavy if name in sys.modules])\n"
    )
    words = words_of(place, place / "mix.wav", "--model", place / "model")
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, words), "--out", tmp_path],
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-1] == "0 []", result.stderr
    assert "Warning" not in result.stderr


def test_info(place, capsys):
    status, out, _ = run(capsys, "info", place / "model", "--json")
    found = json.loads(out)
    assert status == 0 and found["prompt_dim"] == DIM and found["sample_rate"] == 2000
    assert found["prompts"]["text"].startswith("no: ")
    assert "random, seed 0" in found["prompts"]["picture"]
    status, out, _ = run(capsys, "info", place / "model")
    assert (
        "  region: yes" in out and f"weights_sha256: {found['weights_sha256']}" in out
    )


RESULTS = """\
# RESULTS of avsep_x

**Generated corpus: not music.**

## Scores

| set  |   n | skipped |  SDR |               SDRi |
| :--- | --: | ------: | ---: | -----------------: |
| test |  48 |       0 | 5.80 |  5.71 [4.14, 7.39] |

* leaks of test: none

## Experiment

* model: valid.si_sdr_i.best.pth, SHA-256 {digest}

## test

| instrument | scored | skipped |  SDR | SDRi |
| :--------- | -----: | ------: | ---: | ---: |
| cello      |      6 |       0 | 4.84 | 3.34 |
| tuba       |      6 |       0 | 6.23 | 8.75 |

## Corpus

* train: 64 of 64 listed clips are there
"""


def test_info_says_what_the_model_separates_and_how_well(place, tmp_path, capsys):
    folder = make_trained_folder(tmp_path / "model")
    found = json.loads(run(capsys, "info", folder, "--json")[1])
    assert found["scores"].startswith("none: no RESULTS.md beside the model")
    text = RESULTS.format(digest=found["weights_sha256"])
    (folder / "RESULTS.md").write_text(text)
    found = json.loads(run(capsys, "info", folder, "--json")[1])
    assert found["classes"] == ["cello", "tuba"] and "warning" not in found
    assert found["corpus"] == {"train": "64 of 64 listed clips are there"}
    scores = {"test": "SDR 5.80, SDRi 5.71 [4.14, 7.39] dB (n = 48)"}
    assert found["scores"] == scores and found["note"] == "Generated corpus: not music."
    assert found["scores of test"]["tuba"] == "SDR 6.23, SDRi 8.75 dB (n = 6)"
    (folder / "RESULTS.md").write_text(RESULTS.format(digest="0" * 64))
    status, out, _ = run(capsys, "info", folder)
    assert status == 0 and "classes: cello, tuba" in out
    assert "warning: the scores are of other weights" in out


def test_score(tmp_path, capsys):
    rng = np.random.default_rng(0)
    refs = 0.1 * rng.normal(size=(2, 4000))
    noise = 0.01 * rng.normal(size=(2, 4000))
    for n in (0, 1):
        soundfile.write(tmp_path / f"r{n}.wav", refs[n], 8000, subtype="DOUBLE")
        soundfile.write(
            tmp_path / f"e{n}.wav", refs[n] + noise[n], 8000, subtype="DOUBLE"
        )
    soundfile.write(tmp_path / "m.wav", refs.sum(axis=0), 8000, subtype="DOUBLE")
    words = ["score", "--reference", tmp_path / "r0.wav", tmp_path / "r1.wav"]
    words += ["--estimate", tmp_path / "e0.wav", tmp_path / "e1.wav"]
    status, out, _ = run(capsys, *words, "--mixture", tmp_path / "m.wav", "--json")
    found = json.loads(out)
    assert status == 0
    for n, row in enumerate(found["sources"]):
        expected = 10 * np.log10((refs[n] ** 2).sum() / (noise[n] ** 2).sum())
        assert abs(row["si_sdr"] - expected) < 0.2
        assert abs(row["si_sdr_i"] - expected) < 0.5
        assert row["sir"] > row["sdr"] > expected - 0.1
    status, out, _ = run(capsys, *words)
    assert status == 0 and out.splitlines()[-1].startswith("mean\t")
    status, _, err = run(capsys, *words[:-1])
    assert status == 2 and "one of each" in err


def test_score_names_the_file_that_is_silent(tmp_path, capsys, caplog):
    """It said "signal 1 of item 0"; equal references had an SIR of 290 dB."""
    rng = np.random.default_rng(0)
    for name in ("r0", "e0", "e1"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.normal(size=4000), 8000)
    sound, _ = soundfile.read(tmp_path / "r0.wav", dtype="float32")
    soundfile.write(tmp_path / "half.wav", sound / 2, 8000, "FLOAT")
    soundfile.write(tmp_path / "zero.wav", np.zeros(4000), 8000)

    def score(*names):
        first, second, *estimates = (tmp_path / f"{name}.wav" for name in names)
        words = ["score", "--reference", first, second, "--estimate", *estimates]
        return run(capsys, *words)

    for names in (("r0", "zero", "e0", "e1"), ("r0", "e1", "zero", "e1")):
        status, _, err = score(*names)
        assert status == 2 and "zero.wav: all samples are 0" in err
    assert "one sound" not in caplog.text
    status, text, _ = score("r0", "half", "e0", "e1")
    assert status == 0 and "half.wav: are one sound" in caplog.text


def test_score_takes_what_separate_writes(tmp_path, capsys):
    """Stereo, mp4, and a length that differs by less than a codec's frame."""
    rng = np.random.default_rng(0)
    refs = 0.1 * rng.normal(size=(2, 16000))
    for n in (0, 1):
        soundfile.write(tmp_path / f"r{n}.wav", refs[n], 8000, subtype="DOUBLE")
        stereo = np.stack([1.5 * refs[n], 0.5 * refs[n]], axis=1)  # mean: the reference
        stereo = np.r_[stereo, np.zeros((2000, 2))]
        soundfile.write(tmp_path / f"e{n}.wav", stereo, 8000, subtype="DOUBLE")
    words = ["score", "--reference", tmp_path / "r0.wav", tmp_path / "r1.wav"]
    words += ["--estimate", tmp_path / "e0.wav", tmp_path / "e1.wav"]
    status, out, err = run(capsys, *words, "--json")
    found = json.loads(out)
    assert status == 0 and found["samples"] == 16000
    assert min(row["si_sdr"] for row in found["sources"]) > 100
    status, _, err = run(capsys, *words, "--max-length-difference", 1999)
    assert status == 2
    assert "r0.wav has 16000 samples" in err and "e0.wav 18000; expected one" in err
    video = tmp_path / "e0.mp4"
    write_video(video, 20, 10, refs[0].astype(np.float32), 8000)
    words[words.index(tmp_path / "e0.wav")] = video
    words[words.index(tmp_path / "e1.wav")] = tmp_path / "r1.wav"
    status, out, err = run(capsys, *words, "--json")
    assert status == 0, err
    assert json.loads(out)["sources"][0]["si_sdr"] > 5  # AAC of noise
    opposite = np.stack([refs[0], -refs[0]], axis=1)
    soundfile.write(tmp_path / "e1.wav", opposite, 8000, subtype="DOUBLE")
    words[-1] = tmp_path / "e1.wav"
    status, _, err = run(capsys, *words)
    assert status == 2 and "of opposite phase" in err and "Give one channel" in err


@pytest.fixture
def numbers(monkeypatch):
    """Encoders that were asked for; each gives rows that tell pictures apart."""
    asked = []

    def build_encoder(**options):
        asked.append(options)
        return number_encoder(options["batch_size"])

    monkeypatch.setattr(build, "build_encoder", build_encoder)
    return asked


def test_features_of_pictures_and_videos_are_queries(place, tmp_path, capsys, numbers):
    out = tmp_path / "f"
    inputs = [place / "duet.mp4", place / "red.png"]
    words = ["features", *inputs, "--out", out, "--device", "cpu"]
    status, text, err = run(capsys, *words, "--model", place / "model", "--json")
    assert status == 0, err
    found = json.loads(text)
    assert found["shapes"] == {"duet": "3,10", "red": "1,10"}
    assert numbers[0]["pretrained"] == "random"
    assert numbers[0]["encoder"] == "open_clip"
    rows = {name: np.load(path) for name, path in found["queries"].items()}
    # The video is red on its left half, the picture red all over.
    assert rows["red"].dtype == np.float32 and rows["red"].min() == 1
    np.testing.assert_allclose(rows["duet"][:, :4], 1, atol=0.05)
    np.testing.assert_allclose(rows["duet"][:, -4:], 0, atol=0.05)
    queries = query.parse_queries(list(found["queries"].values()), None)
    assert [q.kind for q in queries] == ["embedding"] * 2
    np.testing.assert_array_equal(queries[1].prompt, rows["red"])
    (out / "red.npy").write_bytes(b"of the user")
    status, _, err = run(capsys, *words, "--model", place / "model")
    assert status == 2 and "red.npy: exists" in err
    more = ("--model", place / "model", "--visual_encoder", "resnet18")
    status, _, err = run(capsys, *words, *more)
    assert status == 2 and "one of the two" in err
    status, _, err = run(capsys, "features", place / "mix.wav", "--out", out)
    assert status == 2 and "has no picture" in err


def test_features_take_the_model_that_separate_takes(
    place, tmp_path, capsys, monkeypatch, numbers
):
    """Without --model: AVSEP_MODEL, ./exp, and only then an encoder by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AVSEP_MODEL", raising=False)
    words = ["features", place / "red.png", "--out", "f", "--device", "cpu"]

    def encoder(*more):
        status, _, err = run(capsys, *words, *more)
        assert status == 0, err
        return numbers[-1]["pretrained"], err

    assert encoder() == (None, "")  # the default, CLIP with OpenAI's weights
    folder = tmp_path / "exp" / "avsep_mine"
    shutil.copytree(place / "model", folder)
    info = folder / "visual_info.yaml"
    info.write_text(info.read_text().replace("pretrained: random", "pretrained: mine"))
    found, err = encoder()
    assert found == "mine" and "exp/avsep_mine (the last trained of ./exp" in err
    monkeypatch.setenv("AVSEP_MODEL", str(place / "model"))
    found, err = encoder()
    assert found == "random" and "from the environment variable AVSEP_MODEL" in err
    assert encoder("--visual_pretrained", "laion2b_e16") == ("laion2b_e16", "")
    assert encoder("--model", folder) == ("mine", "")
    monkeypatch.setenv("AVSEP_MODEL", str(tmp_path / "no"))
    assert run(capsys, *words)[0] == 2


def test_features_for_a_model_of_crops_are_those_of_its_prompts(
    place, tmp_path, capsys, monkeypatch
):
    """All of a picture, squeezed: a quarter of it is white, of its middle a tenth."""

    def covering(batch_size, **_):
        made = number_encoder(batch_size)
        resize = made.preprocessing.resize._replace(mode="shortest")
        made.preprocessing = made.preprocessing._replace(resize=resize)
        return made

    monkeypatch.setattr(build, "build_encoder", covering)
    folder = tmp_path / "model"
    shutil.copytree(place / "model", folder)
    info = yaml.safe_load((folder / "visual_info.yaml").read_text())
    (folder / "visual_info.yaml").write_text(yaml.safe_dump({**info, "boxes": "d"}))
    wide = np.zeros((20, 80, 3), np.uint8)
    wide[:, :20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    for model, white in ((place / "model", 0.1), (folder, 0.25)):
        out = tmp_path / f"of_{white}"
        words = ["features", tmp_path / "wide.png", "--out", out, "--device", "cpu"]
        assert run(capsys, *words, "--model", model)[0] == 0
        assert np.load(out / "wide.npy").mean() == pytest.approx(white, abs=0.03)


def test_features_into_a_folder_of_the_user(place, tmp_path, capsys, numbers):
    words = ["features", place / "duet.mp4", "--out", tmp_path, "--device", "cpu"]
    (tmp_path / "visual_shape").write_text("of the user")
    status, _, err = run(capsys, *words)
    assert status == 2 and "visual_shape: exists" in err
    assert (tmp_path / "visual_shape").read_text() == "of the user"
    assert run(capsys, *words, "--overwrite")[0] == 0
    assert run(capsys, *words)[0] == 0  # its own


BOXES = ("[0,0,.5,1]", "(0, 0, .5, 1)", "box 0,0,.5,1", "Box[0;0;.5;1]")


def test_what_a_query_means(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuba").write_bytes((place / "red.png").read_bytes())
    (tmp_path / "drums").mkdir()
    texts = ["violin", "text:tuba", "tuba", str(place / "red.png"), "box:0,0,0.5,1"]
    texts += ["an oboe, softly", str(place / "e.npy")]
    found = query.parse_queries(texts, place / "duet.mp4")
    assert [q.kind for q in found] == [
        *("text", "text", "picture", "picture", "region", "text", "embedding")
    ]
    assert found[0].prompt == Text("violin") and found[1].prompt == Text("tuba")
    assert found[4].prompt == Region(place / "duet.mp4", LEFT)
    assert [q.name for q in found[:3]] == ["1_violin", "2_tuba", "3_tuba"]
    assert found[5].name == "6_an_oboe_softly"
    for wrong, message in (
        *(("drums", "is a folder"), ("no/such.png", "looks like a file")),
        *(("photo.jpg", "text:photo.jpg"), ("box:1,2", "box"), ("box:a,b,c,d", "four")),
        *(("", "is empty"), ("text: ", "some words"), ("box:0.5,0,0.5,1", "left <")),
    ):
        with pytest.raises(InputError, match=message):
            query.parse_queries([wrong], place / "duet.mp4")
    for wrong in ("BOX:0,0,.5,1", " text: violin", "Text:violin"):
        with pytest.raises(InputError, match="in small letters and without white"):
            query.parse_queries([wrong], place / "duet.mp4")
    for wrong in ("0,0,.5,1", "bbox:0,0,0.5,1", "region = 0, 0, 1, 1", *BOXES):
        with pytest.raises(InputError, match="looks like a region"):
            query.parse_queries([wrong], place / "duet.mp4")
    with pytest.raises(InputError, match="needs a video"):
        query.parse_queries(["box:0,0,1,1"], None)
    with pytest.raises(InputError, match="--sources left-right: the input has no"):
        query.parse_queries([], None, sources="left-right")
    with pytest.raises(InputError, match="no source was asked for"):
        query.parse_queries([], None)


def test_queries_with_time_spans_and_several_files(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    red, embedding, video = place / "red.png", place / "e.npy", place / "duet.mp4"
    texts = [f"{red}@3-5", "violin@1:05.5-1:10,2:00-", "text:tuba@-4"]
    texts += ["box:0,0,0.5,1,seen=1-2@0-1", "box:0,0,0.5,1,seen=2"]
    texts += [f"{red}+{embedding}", f"{red} + {red}@1-2"]
    found = query.parse_queries(texts, video, audio_stream=1)
    left = functools.partial(Region, video, LEFT, audio_stream=1)
    mean = found[5].prompt
    assert [q.prompt for q in found[:5]] == [
        During(red, [(3, 5)]),
        During(Text("violin"), [(65.5, 70), (120, math.inf)]),
        During(Text("tuba"), [(0, 4)]),
        During(left(every=1.0, seen=(1, 2)), [(0, 1)]),
        left(every=None, at=2),
    ]
    assert mean.prompts[0] == red and mean.prompts[1].tolist() == [1] + [0] * (DIM - 1)
    assert found[6].prompt == During(Mean((red, red)), [(1, 2)])
    assert [q.files for q in found[4:6]] == [(), (red, embedding)]
    assert [q.kind for q in found] == [
        *("picture", "text", "text", "region", "region", "picture", "picture")
    ]
    names = ["1_red", "2_violin", "3_tuba", "4_box_0_0_0.5_1_seen_1_2"]
    names += ["5_box_0_0_0.5_1_seen_2", "6_red_e", "7_red_red"]
    assert [q.name for q in found] == names
    Path("a@3-5").write_bytes(red.read_bytes())
    Path("a+b").write_bytes(red.read_bytes())
    files = query.parse_queries(["a@3-5", "a+b", "violin+cello"], None)
    assert [q.prompt for q in files] == [
        *(Path("a@3-5"), Path("a+b"), Text("violin+cello"))
    ]
    for wrong, message in (
        *((f"{red}@5-3", "does not end after"), (f"{red}@3", "expected time spans")),
        *((f"{red}@", "expected time spans"), (f"{red}@1-2,", "expected time spans")),
        *((f"{red}@a-b", "time spans"), (f"{red}@1:75-2:00", "time spans")),
        *((f"{red}+no.png", "no file 'no.png'"), ("no.png@1-2", "looks like a file")),
        *(("box:0,0,1,1,seen=2-1", "ends before"), ("box:0,0,1,1,2-3", "four numbers")),
    ):
        with pytest.raises(InputError, match=message):
            query.parse_queries([wrong], video)
    (half,) = query.parse_queries([f"{red}@.5-1:02:03"], None)
    assert half.prompt.spans == ((0.5, 3723.0),)


def test_separate_with_time_spans(place, tmp_path, capsys, encoder):
    words = ("separate", place / "duet.mp4", "--model", place / "model")
    words += ("--mp4", "false", "--out", tmp_path)
    asked = (f"{place / 'red.png'}+{place / 'red.png'}@1-2", "box:0,0,1,1,seen=0-1")
    status, _, err = run(capsys, *words, "--query", asked[0], "--query", asked[1])
    assert status == 0, err
    track, fs = soundfile.read(tmp_path / "1_red_red.wav")
    assert not track[:fs].any() and not track[2 * fs :].any() and track.any()
    others = [tmp_path / "2_box_0_0_1_1_seen_0_1.wav", tmp_path / "residual.wav"]
    total = track + sum(soundfile.read(path)[0] for path in others)
    assert np.abs(total[:fs]).max() > 0.1
    status, _, err = run(capsys, *words, "--query", f"{place / 'red.png'}@9-")
    assert status == 2 and "begins at 9 s" in err and "lasts 3.0" in err


def test_wrong_options_are_named_as_they_are_given(place, tmp_path, capsys):
    """Before the model is built."""
    words = ("separate", place / "mix.wav", "--query", place / "e.npy")
    words += ("--out", tmp_path / "out", "--model", place / "model")
    for more, message in (
        (("--chunk", "0"), "--chunk 0.0: expected more than 0 and at most"),
        (("--device", "gpu"), "--device 'gpu': expected auto, cpu, cuda or cuda:N"),
        (("--model", tmp_path), f"{tmp_path}/config.yaml: no such file"),
    ):
        status, _, err = run(capsys, *words, *more)
        assert status == 2 and message in err


def test_a_missing_file_is_not_taken_for_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["violin.heic", "violin.avif", "clip.mp4", "e.npz", "violin.jpg ", ".npy"]
    names += ["a violin.unknown", "./violin", "C:\\violin", "viola/", "~/violin"]
    names += ["violin.jpg?w=9", "violin.jpg#1", "'violin.jpg'", "violin.jpg,"]
    for name in names:
        with pytest.raises(InputError, match="looks like a file"):
            query.parse_queries([name], None)
        assert query.parse_queries([f"text:{name}"], None)[0].kind == "text"
    for words in ("violin", "a violin...", "Op. 5", "vol.2", "Mr. Tuba", "12:30"):
        assert query.parse_queries([words], None)[0].prompt == Text(words)


def test_output_folders_that_cannot_be_made(place, tmp_path, capsys):
    """Before a model is loaded."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "file/x", "link", "link/x"):
        status, _, err = run(
            *(capsys, "separate", place / "mix.wav", "--query", place / "e.npy"),
            *("--model", "none", "--out", tmp_path / name),
        )
        assert status == 2 and f"--out {tmp_path / name}: " in err, name
        assert "is no folder" in err


def test_output_folder_that_cannot_be_written(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    words = (place / "mix.wav", "--query", place / "e.npy", "--out", tmp_path / "a/b")
    status, _, err = run(capsys, "separate", *words, "--model", "none")
    assert status == 2 and f"{tmp_path} cannot be written" in err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((3, 4, 5), np.float32), r"found float32 \(3, 4, 5\)"),
        (np.ones((0, 4), np.float32), r"found float32 \(0, 4\)"),
        (np.ones(4, np.int32), r"found int32 \(4,\)"),
        (np.array([1, np.nan], np.float32), "holds NaN"),
    ],
)
def test_an_embedding_that_cannot_be_used_is_named(tmp_path, rows, message):
    """It was "prompt 1", after the model was loaded."""
    np.save(tmp_path / "e.npy", rows)
    with pytest.raises(InputError, match=f"e.npy: .*{message}"):
        query.parse_queries([str(tmp_path / "e.npy")], None)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "a\nb", "CON", "....", "ü/é", "-rf", "x" * 500]
)
def test_names_of_tracks_are_harmless(name):
    for kind in ("text", "picture"):
        slug = query._slug(name, kind)
        assert re.fullmatch(r"[a-z0-9][a-z0-9._]{0,39}", slug), slug


def test_a_track_is_called_like_its_picture(place, monkeypatch):
    """Without the ending, in whatever folder the picture lies.

    The names of embeddings' tracks, which scripts read, stay as they were.
    """
    monkeypatch.chdir(place)
    texts = ["red.png", str(place / "red.png"), "e.npy", str(place / "e.npy")]
    found = query.parse_queries(texts, None)
    assert [q.name for q in found] == ["1_red", "2_red", "3_e.npy", "4_e"]


def test_something_unexpected_is_one_line_and_1(place, capsys, monkeypatch):
    from espnet2_avsep.inference import model_info

    def fail(*args, **options):
        raise RuntimeError("the\nsky falls")

    monkeypatch.setattr(model_info, "read_facts", fail)
    status, out, err = run(capsys, "info", place / "model")
    assert status == 1 and "unexpected RuntimeError: the sky falls" in err
    assert "Traceback" not in err
    monkeypatch.setenv("AVSEP_DEBUG", "1")
    with pytest.raises(RuntimeError):
        run(capsys, "info", place / "model")


def test_new_recipe(tmp_path, capsys):
    status, out, _ = run(capsys, "new-recipe", tmp_path / "mine")
    assert status == 0 and "run ./run.sh --help there" in out
    assert (tmp_path / "mine" / "run.sh").exists()
    assert run(capsys, "new-recipe", tmp_path / "mine")[0] == 2


def test_interrupted(place, capsys, monkeypatch):
    from espnet2_avsep.inference import model_info

    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(model_info, "read_facts", stop)
    status, out, err = run(capsys, "info", place / "model")
    assert (status, out) == (130, "") and "Run the same command again" in err


def test_a_wrong_option_gets_a_suggestion(capsys):
    with pytest.raises(SystemExit, match="2"):
        avsep.main(["separate", "duet.mp4", "--qurey", "x.jpg"])
    err = capsys.readouterr().err
    assert "--qurey x.jpg (did you mean --query?)" in err and "[--sources" in err
    assert avsep.main([]) == 2
    assert "separate" in capsys.readouterr().err


def test_version(capsys):
    assert avsep.main(["--version"]) == 0
    assert capsys.readouterr().out == f"espnet2_avsep {__version__}\n"
