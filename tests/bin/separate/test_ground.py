"""The sub-command `avsep ground`, called in this process."""

import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from espnet2_avsep.bin import avsep
from espnet2_avsep.inference.grounding_map import ground_file
from espnet2_avsep.inference.separate import SeparateAV
from espnet2_avsep.visual import build
from tests.inference.test_grounding_map import CCOL, RATE, Encoder, half_red
from tests.support.media_fixtures import tone, write_video
from tests.support.tiny_corpus import DIM
from tests.support.trained_model import make_trained_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ground")
    make_trained_folder(folder / "model", **CCOL)
    make_trained_folder(folder / "hfra")
    sound = tone(2, RATE, 300)
    write_video(folder / "red.mp4", 20, 10, sound[None], RATE, paint=half_red)
    soundfile.write(folder / "mix.wav", sound, RATE)
    np.save(folder / "e.npy", np.eye(DIM, dtype=np.float32)[0])
    return folder


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    monkeypatch.setattr(build, "encoder_from_info", lambda *_: Encoder())


def run(capsys, *argv):
    status = avsep.main(["ground", *map(str, argv)])
    out, err = capsys.readouterr()
    return status, out, err


def test_queries_and_map_of_a_video(place, tmp_path, capsys):
    out = tmp_path / "out"
    words = [place / "red.mp4", "--model", place / "model", "--out", out]
    words += ["--sources", "left-right", "--query", place / "e.npy", "--grid", 3]
    status, text, err = run(capsys, *words, "--json")
    assert (status, err) == (0, "")
    result = json.loads(text)
    assert result == json.loads((out / "result.json").read_text())
    entries = result["queries"]
    assert [entry["kind"] for entry in entries] == ["region", "region", "embedding"]
    separate = SeparateAV.from_pretrained(place / "model")
    prompt = np.eye(DIM, dtype=np.float32)[:1]
    for entry in entries:
        assert entry["sounds"] == (entry["probability"] >= 0.5)
        parts = np.array(entry["stretches"])
        assert parts[0, 0] == 0 and (parts[1:, 0] == parts[:-1, 1]).all()
        mean = np.average(parts[:, 2], weights=parts[:, 1] - parts[:, 0])
        assert entry["probability"] == pytest.approx(mean, abs=1e-3)
    expected = ground_file(separate, place / "red.mp4", prompt).probability[:, 0]
    found = [row[2] for row in entries[2]["stretches"]]
    assert found == pytest.approx(expected.tolist(), abs=1e-4)
    assert Image.open(out / "heat_map.png").size == (64, 48)

    status, text, _ = run(capsys, *words, "--threshold", 0)
    assert status == 0 and text.count("\tsounds\t") == 3
    assert text.endswith(f"{out / 'heat_map.png'}\n")


def test_map_alone_and_sound_alone(place, tmp_path, capsys):
    model = ["--model", place / "model"]
    status, text, _ = run(
        *(capsys, place / "red.mp4", *model, "--out", tmp_path / "a", "--grid", 2)
    )
    assert status == 0 and (tmp_path / "a" / "heat_map.png").is_file()
    status, text, _ = run(
        *(capsys, place / "mix.wav", *model, "--out", tmp_path / "b"),
        *("--query", place / "e.npy"),
    )
    assert status == 0 and not (tmp_path / "b" / "heat_map.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mix.wav"], "no source was asked for"),
        (["mix.wav", "--query", "box:0,0,1,1"], "has no picture"),
        (["red.mp4", "--grid", "1"], "--grid 1: expected 0, or 2 to 32"),
        (["red.mp4", "--threshold", "2"], "--threshold 2.0"),
        (["red.mp4", "--model", "hfra"], "separator hfra cannot tell what sounds"),
        (["none.mp4"], "none.mp4"),
    ],
)
def test_what_cannot_be_answered(place, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(place)
    status, _, err = run(
        *(capsys, words[0], "--model", "model", "--out", tmp_path / "out", *words[1:])
    )
    assert status == 2 and message in err
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


@pytest.fixture(scope="module")
def telling(tmp_path_factory):
    """A TFC-TDF model with presence, for which e0 sounds and e1 does not."""
    conf = {"visual_dim": DIM, "num_bins": 64, "channels": [4, 8], "blocks": 1}
    conf.update(convs=1, patch=4, width=4, competition=True, presence=1)
    folder = make_trained_folder(
        tmp_path_factory.mktemp("presence") / "model",
        separator="tfc_tdf",
        separator_conf={**conf, "presence_frames": 2},
        model_conf={"num_log_bins": None, "compression": "power"},
    )
    path = folder / "valid.si_sdr_i.best.pth"
    state = torch.load(path)
    state["separator.presence_sound.weight"].fill_(10)  # times a mean that is above 0
    query = torch.zeros(1, DIM)
    query[0, :2] = torch.tensor([1.0, -1.0])
    state["separator.presence_query.weight"] = query
    torch.save(state, path)
    return folder


def test_presence_tells_what_sounds_and_quiets_the_rest(
    telling, tmp_path, capsys, monkeypatch
):
    """Its logits, and the gated tracks of `avsep separate`, of the same sound."""
    monkeypatch.chdir(tmp_path)
    sound = np.concatenate([tone(2, RATE, 300), np.zeros(2 * RATE)])
    soundfile.write("mix.wav", sound, RATE)
    words = []
    for number in (0, 1, 2):
        np.save(f"e{number}.npy", np.eye(DIM, dtype=np.float32)[number])
        words += ["--query", f"e{number}.npy"]
    status, text, err = run(
        *(capsys, "mix.wav", "--model", telling, "--out", "out", *words, "--json")
    )
    assert (status, err) == (0, "")
    present, absent, unknown = json.loads(text)["queries"]
    separate = SeparateAV.from_pretrained(telling)
    segment = separate.segment / separate.sample_rate
    heard = [row for row in present["stretches"] if row[1] < 2]
    assert len(heard) == int(2 / segment) and heard[-1][2] > 0.9
    for yes, no, neither in zip(
        heard, absent["stretches"], unknown["stretches"], strict=False
    ):
        assert yes[2] > 0.6 and yes[2] + no[2] == pytest.approx(1, abs=2e-3)
        assert neither[2] == 0.5
    for entry in (present, absent, unknown):
        assert entry["stretches"][-1][2] == 0  # where nothing sounds
    mix, _ = soundfile.read("mix.wav", dtype="float32")
    one, other = (separate(mix, np.eye(DIM)[n : n + 1], fs=RATE)[0] for n in (0, 1))
    separate.model.separator.tells_presence = False
    same = separate(mix, np.eye(DIM)[:1], fs=RATE)[0]
    middle = slice(RATE // 2, 3 * RATE // 2)
    assert np.square(other[middle]).mean() < 0.1 * np.square(one[middle]).mean()
    assert np.square(one[middle]).mean() > 0.5 * np.square(same[middle]).mean()
