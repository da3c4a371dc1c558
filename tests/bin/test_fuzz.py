"""Bad input to `avsep`, hundreds of cases: one line that says what is wrong, status 2.

Every case runs in this process, with the output folder inside a folder of its own; what
lies around it must not change.
"""

import itertools
import random

import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from espnet2_avsep.bin import avsep
from espnet2_avsep.inference import recording
from espnet2_avsep.inference.separate import SeparateAV, load_config
from tests.support.media_fixtures import tone, truncate, write_video, write_wav
from tests.support.tiny_corpus import DIM
from tests.support.trained_model import make_trained_folder

RATE = 8000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, sounds, pictures: good ones, to be given beside a bad one."""
    folder = tmp_path_factory.mktemp("fuzz")
    make_trained_folder(folder / "model")
    write_wav(folder / "mix.wav", tone(1, RATE), RATE, "PCM_16")
    write_wav(folder / "other.wav", tone(1, RATE, 300), RATE, "PCM_16")
    write_video(folder / "video.mp4", 10, 10, tone(1, RATE), RATE)
    Image.new("RGB", (32, 24), "red").save(folder / "photo.png")
    np.save(folder / "e.npy", np.eye(DIM, dtype=np.float32)[0])
    return folder


@pytest.fixture(scope="module")
def loaded(place):
    return SeparateAV.from_pretrained(place / "model")


def snapshot(folder):
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


class Case:
    """Runs commands and checks how they end.

    Attributes:
        number: How many were run.
    """

    def __init__(self, tmp_path, capsys):
        self.root = tmp_path
        self.capsys = capsys
        self.number = 0

    def __call__(self, *argv, statuses=(2,)):
        self.number += 1
        out = self.root / f"case{self.number}"
        argv = [str(out) if word == "OUT" else str(word) for word in argv]
        before = snapshot(self.root)
        try:
            status = avsep.main(argv)
        except SystemExit as stop:  # argparse
            status = stop.code
        text = self.capsys.readouterr().err
        assert status in statuses, f"{argv}: status {status}, {text}"
        assert "Traceback" not in text
        assert "error:" in text and "error: unexpected" not in text, f"{argv}: {text}"
        assert len(text) < 4000
        after = snapshot(self.root)
        outside = {p for p in after if p != out and out not in p.parents}
        assert {p: after[p] for p in outside} == before, f"{argv} wrote elsewhere"


@pytest.fixture
def case(tmp_path, capsys):
    (tmp_path / "work").mkdir()
    return Case(tmp_path / "work", capsys)


@pytest.fixture
def quick(monkeypatch, loaded):
    """The model is loaded once: what is fuzzed comes after."""
    monkeypatch.setattr(SeparateAV, "from_pretrained", lambda *a, **k: loaded)
    monkeypatch.setattr(recording, "_draw", lambda *a: None)


def separate_words(place, source=None, out="OUT"):
    source = place / "mix.wav" if source is None else source
    return ["separate", source, "--out", out, "--model", place / "model"]


def hostile_names():
    yield from (
        "",
        " ",
        "\0",
        "a\0b",
        "x" * 5000,
        "/" * 300,
        "..",
        "~",
        "/proc/self/mem",
    )
    yield from ("/dev/null", "/dev/full", "-", "file:///etc/passwd", "$(id)", "%n%n%s")
    yield from (
        "\u202egnp.wav",
        "a\nb.wav",
        "\ud800",
        "CON.wav",
        "*.wav",
        "|ls",
        "ls |",
    )
    yield from ("http://127.0.0.1:1/x.wav", "concat:a|b", "pipe:0", "subfile:,,x")


def damaged_sounds(folder, place):
    """Yield files that are no usable sound."""
    rng = random.Random(0)
    for number, size in enumerate((0, 1, 11, 44, 500, 4096)):
        for suffix in ("wav", "flac", "mp4", "mp3", "txt"):
            path = folder / f"random{number}.{suffix}"
            path.write_bytes(rng.randbytes(size))
            yield path
    write_wav(folder / "good.wav", tone(2, RATE), RATE, "PCM_16")
    write_wav(folder / "good.flac", tone(2, RATE), RATE, "PCM_16")
    write_video(folder / "good.mp4", 20, 10, tone(2, RATE), RATE)
    write_video(folder / "good.mkv", 20, 10, tone(2, RATE), RATE)
    for suffix, shares in (
        ("wav", (0.005, 0.1, 0.5, 0.8)),
        *(("flac", (0.005, 0.1, 0.5, 0.8)), ("mp4", (0.01, 0.3, 0.6, 0.9))),
        ("mkv", (0.01, 0.3, 0.6)),
    ):
        for share in shares:
            yield truncate(
                folder / f"good.{suffix}", share, folder / f"cut{share}.{suffix}"
            )
    for name, samples in {
        "nan": np.full(RATE, np.nan),
        "inf": np.full(RATE, np.inf),
        "one_nan": np.r_[tone(1, RATE), np.nan],
        "empty": np.zeros(0),
        "one": np.zeros(1),
        "short": np.zeros(100),
        "huge": np.full(RATE, 1e38),
    }.items():
        if name != "huge":
            yield write_wav(folder / f"{name}.wav", samples, RATE)
    for rate in (1, 7, 999, 2_000_000, 2**31 - 1):
        yield write_wav(folder / f"rate{rate}.wav", np.zeros(5000), rate, "PCM_16")
    yield write_video(folder / "mute.mp4", 10, 10)
    yield from (place / "photo.png", place / "e.npy", folder)
    header = (folder / "good.wav").read_bytes()
    for at in range(0, 44, 2):  # a header of which two bytes are wrong
        path = folder / f"header{at}.wav"
        path.write_bytes(header[:at] + b"\xff\xff" + header[at + 2 :])
        yield path


def test_sounds(place, tmp_path, case, quick):
    for source in [*damaged_sounds(tmp_path, place), *hostile_names()]:
        words = [*separate_words(place, source), "--query", place / "e.npy"]
        if not str(source).startswith(str(tmp_path / "header")):
            case(*words, "--mp4", "false", "--page", "false")
    assert case.number >= 75


def test_wrong_headers(place, tmp_path, case, quick, capsys):
    """A wrong header may be a sound yet, of another rate for instance."""
    for source in damaged_sounds(tmp_path, place):
        if not source.name.startswith("header"):
            continue
        out = tmp_path / "out"
        words = [*separate_words(place, source, out), "--query", place / "e.npy"]
        status = avsep.main([str(w) for w in [*words, "--page", "false"]])
        text = capsys.readouterr().err
        assert status in (0, 2) and "error: unexpected" not in text, source
        case.number += 1
    assert case.number == 22


def bad_queries(place, folder):
    yield from ("", " ", "box:", "box:1", "box:,,,", "text:", "text:  ", "a/b", "x.png")
    values = ("nan", "inf", "-0.1", "1.5", "0.5", "1e999", "x", "")
    for left, bottom in itertools.product(values, values):
        yield f"box:{left},0,0.5,{bottom}"
    yield from (f"box:0,0,{right},1" for right in values[:4])
    yield from ("violin", "text:violin", "a" * 5000, "text:\0", "\ud800", "b\0x", "/")
    rng = random.Random(1)
    for number, size in enumerate((0, 1, 20, 3000)):
        for suffix in ("png", "jpg", "npy", "gif"):
            path = folder / f"q{number}.{suffix}"
            path.write_bytes(rng.randbytes(size))
            yield path
    yield truncate(place / "photo.png", 0.5, folder / "half.png")
    arrays = {
        "int": np.arange(DIM),
        "short": np.zeros(DIM - 1, np.float32),
        "none": np.zeros((0, DIM), np.float32),
        "nan": np.full(DIM, np.nan),
        "inf": np.full(DIM, np.inf),
        "three": np.zeros((2, 2, DIM)),
        "scalar": np.float64(3),
        "words": np.array(["a", "b"]),
        "complex": np.zeros(DIM, complex),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        yield folder / f"{name}.npy"
    np.save(folder / "object.npy", np.array([{"a": 1}], dtype=object))
    yield from (folder / "object.npy", folder, place / "mix.wav", place / "video.mp4")


def test_queries(place, tmp_path, case, quick):
    for query in bad_queries(place, tmp_path):
        words = [*separate_words(place, place / "video.mp4"), f"--query={query}"]
        case(*words, "--mp4", "false", "--page", "false")
    for words in ([], ["--query", "box:0,0,1,1"], ["--sources", "left-right"]):
        case(*separate_words(place), *words)
    assert case.number >= 110


def test_options(place, tmp_path, case, quick):
    good = [*separate_words(place), "--query", place / "e.npy", "--page", "false"]
    numbers = ("nan", "inf", "-1", "x", "", "1e9")
    for name in ("every", "embed_seconds"):
        for value in numbers:
            case(*good, f"--{name}={value}")
    for value in (*numbers, "0", "0.001"):
        case(*good, f"--chunk={value}")
    for words in (
        ["--channels", "left"],
        *(["--format", "ogg"], ["--mp4", "yes"], ["--sources", "top-bottom"]),
        *(["--no_such"], ["--log_level", "LOUD"], ["--binary_mask", "2"]),
    ):
        case(*good, *words)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "x", "\0", "a" * 5000):
        words = [*separate_words(place, out=out), "--query", place / "e.npy"]
        case(*words, "--page", "false")
    for words in ([], ["separate"], ["info"], ["score"], ["features"], ["sing"]):
        case(*words)
    case("separate", place / "mix.wav", "--model", place / "model")


def test_devices(place, case):
    for device in ("gpu", "cuda:x", "", "cuda:99", "1" * 400, "meta"):
        words = [*separate_words(place), "--query", place / "e.npy"]
        case(*words, "--device", device, "--page", "false")


def broken_models(folder):
    """Yield folders of models that cannot be loaded."""
    make_trained_folder(folder / "good")
    config = yaml.safe_load((folder / "good" / "config.yaml").read_text())
    weights = (folder / "good" / "valid.si_sdr_i.best.pth").read_bytes()
    state = torch.load(folder / "good" / "valid.si_sdr_i.best.pth", weights_only=True)

    def model(name, text=None, content=weights, **changes):
        path = folder / name
        path.mkdir()
        if text is None:
            text = yaml.safe_dump({**config, **changes}).encode()
        (path / "config.yaml").write_bytes(text)
        if content is not None:
            (path / "valid.si_sdr_i.best.pth").write_bytes(content)
        return path

    texts = (
        b"",
        b"\xff\xfe\x00",
        b"a: [",
        b"- 1\n",
        b"5",
        b"!!python/object:os.system 1",
    )
    for number, text in enumerate((*texts, b"\0\0\0", b"x: &a [*a]")):
        yield model(f"text{number}", text)
    odd = (None, 5, -1, "x", [], {}, [1], {"no_such": 1}, True, 1e30)
    for key in (
        *("separator", "separator_conf", "encoder", "encoder_conf", "decoder"),
        *("visual_adapter", "model_conf", "criterions", "sample_rate"),
    ):
        for number, value in enumerate(odd):
            optional = "conf" in key or key == "criterions"
            if config.get(key) == value or (value in (None, {}, []) and optional):
                continue
            yield model(f"{key}{number}", **{key: value})
    for number, change in enumerate(
        ({"channels": -1}, {"channels": "8"}, {"layers": 0}, {"layers": 40})
    ):
        conf = {**config["separator_conf"], **change}
        yield model(f"conf{number}", separator_conf=conf)
    for key in ("separator", "encoder", "criterions", "sample_rate"):
        less = {k: v for k, v in config.items() if k != key}
        yield model(f"without_{key}", yaml.safe_dump(less).encode())
    for number, content in enumerate(
        (None, b"", b"PK", weights[:999], b"\x80\x02}q\0.")
    ):
        yield model(f"weights{number}", content=content)
    for name, wrong in {
        "nothing": {},
        "list": [1, 2],
        "less": dict(list(state.items())[1:]),
        "shapes": {k: v[..., None] for k, v in state.items()},
        "words": dict.fromkeys(state, "x"),
        "nan": {
            k: v * float("nan") if v.is_floating_point() else v
            for k, v in state.items()
        },
    }.items():
        path = model(f"state_{name}")
        torch.save(wrong, path / "valid.si_sdr_i.best.pth")
        yield path


def test_models(place, tmp_path, case):
    for path in broken_models(tmp_path):
        words = [*separate_words(place)[:-1], path, "--query", place / "e.npy"]
        case(*words, "--page", "false")
    for path in hostile_names():
        if path not in ("..", "-"):
            case("info", "--", path)
    assert case.number >= 100


def test_visual_info(place, tmp_path, case):
    folder = make_trained_folder(tmp_path / "model")
    texts = [
        "",
        "5",
        "[1]",
        "a: [",
        "encoder: open_clip",
        "encoder: 7",
        "encoder: frames",
        "encoder: frames\nsize: 1000000000\njpeg_quality: 90",
        "encoder: frames\nsize: [[1]]\njpeg_quality: 90",
        "encoder: open_clip\nmodel: [[1]]\npretrained: x\nweights: y\nseed: [1]",
    ]
    texts += ["encoder: open_clip\nmodel: no\npretrained: x\nweights: y", "\x00"]
    for text in texts:
        (folder / "visual_info.yaml").write_text(text)
        for query in (place / "photo.png", "violin"):
            case(
                *("separate", place / "mix.wav", "--out", "OUT", "--model", folder),
                *("--query", query, "--page", "false"),
            )


def test_scores_and_features(place, tmp_path, case):
    good = [place / "mix.wav", place / "other.wav"]
    for wrong in damaged_sounds(tmp_path, place):
        if not wrong.name.startswith("header"):
            case("score", "--reference", *good, "--estimate", wrong, good[1])
    for words in (
        ["--reference", *good, "--estimate", good[0]],
        ["--reference", good[0], "--estimate", good[0]],
        ["--reference", good[0], good[0], "--estimate", *good, "--mixture", "no.wav"],
    ):
        case("score", *words)
    Image.new("RGB", (8, 8)).save(tmp_path / "cut.png")
    truncate(tmp_path / "cut.png", 0.5)
    for name in ("no.mp4", "\0", "", place / "mix.wav", tmp_path / "cut.png"):
        case("features", name, "--out", "OUT", "--visual_encoder", "open_clip")
    case("features", place / "video.mp4", "--out", "OUT", "--model", place / "model")
    case("features", place / "video.mp4", "--out", "OUT", "--model", tmp_path / "no")


def test_the_good_ones_are_good(place, tmp_path, quick, capsys):
    """What the cases above give beside the bad is not what they fail for."""
    words = [*separate_words(place, out=tmp_path / "o"), "--query", place / "e.npy"]
    assert avsep.main([str(word) for word in [*words, "--page", "false"]]) == 0
    assert load_config(place / "model" / "config.yaml").separator == "hfra"
    assert soundfile.info(tmp_path / "o" / "1_e.wav").samplerate == RATE
