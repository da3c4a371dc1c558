"""Change each input in turn: the result is that of a fresh run, or stages are named.

The real commands of stages 2 to 8 run in this process on a corpus of six clips. Two are
replaced: the encoder of pictures, by averages of a picture, and the training, by random
weights that are drawn from everything it is given. A training in a folder that has been
trained in does nothing, as ESPnet's after its last epoch.
"""

import json
import os
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from espnet2_avsep.bin import (
    avsep_collect_stats,
    avsep_extract_visual,
    avsep_filter_clips,
    avsep_format_audio,
    avsep_inference,
    avsep_made_from,
    avsep_make_mixtures,
    avsep_results,
    avsep_scoring,
)
from espnet2_avsep.data.tables.scp import write_scp
from espnet2_avsep.visual import build
from espnet2_avsep.visual.encoders.frame_encoder import FrameEncoder, Preprocessing
from espnet2_avsep.visual.frames import Resize
from tests.support.tiny_corpus import FS, MODEL_OPTIONS, SEGMENT, tone
from tests.support.trained_model import make_trained_folder

WIDTH = 4
MODEL = "valid.si_sdr_i.best.pth"
SETS = {"train": ("low-0", "mid-0", "high-0"), "test": ("low-1", "mid-1", "top-1")}
OPTIONS = {
    2: {"--visual_encoder": "resnet18", "--fps": "2", "--every": "1", "--seed": "0"},
    3: {"--audio_format": "wav"},
    4: {"--seed": "0", "--num_mixtures": "3"},
    6: {"--seed": "0"},
    7: {"--threshold": "0.5"},
    8: {"--seed": "0"},
}


def averages(**options):
    """An encoder: averages of four parts of a picture, and its seed."""

    class Tower(torch.nn.Module):
        def forward(self, images):
            rows = torch.nn.functional.adaptive_avg_pool2d(images, (1, WIDTH))[:, 0, 0]
            return rows + options["seed"]

    preprocessing = Preprocessing(
        Resize((8, 8), "squash"), (8, 8), (0.0,) * 3, (1.0,) * 3
    )
    info = {"encoder": "averages", "model": "m", "weights": f"seed {options['seed']}"}
    return FrameEncoder(Tower(), preprocessing, info, batch_size=4)


@pytest.fixture(scope="module", autouse=True)
def encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_encoder", averages)
        yield


def picture(path, value):
    pixels = np.random.default_rng(value).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_corpus(root):
    """Three pictures and 1.5 s of sound of each clip, and stage 1's tables."""
    for dset, keys in SETS.items():
        wavs, videos = {}, {}
        for n, key in enumerate(keys):
            wavs[key] = root / f"{key}.wav"
            name, take = key.split("-")
            samples = tone(name, 3 * SEGMENT, float(take))
            soundfile.write(wavs[key], samples, FS, subtype="PCM_16")
            videos[key] = root / key
            videos[key].mkdir()
            for image in range(3):
                picture(videos[key] / f"{image}.bmp", 10 * n + image)
        data = root / "data" / dset
        write_scp(data / "wav.scp", wavs)
        write_scp(data / "video.scp", videos)
        write_scp(data / "utt2spk", {key: key.split("-")[0] for key in keys})
        write_scp(data / "utt2clip", {key: key.replace("-", "/") for key in keys})
        boxes = root / "boxes"
        for key in keys:
            path = boxes / f"{key.replace('-', '/')}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(box(1))


def box(left):
    """A box file; all boxes are of one length in bytes."""
    found = {"label": "person", "score": 0.9, "box": [left, 1, 7, 7]}
    return json.dumps({"boxes": [{**found, "frame": n} for n in (1, 2, 3)]})


class Recipe:
    """Stages 2 to 8 in the present folder.

    Args:
        options: stage -> options of its command.
        tag: Of the experiment.
    """

    def __init__(self, options=None, tag="0"):
        self.options = {n: dict(o) for n, o in OPTIONS.items()}
        for stage, changed in (options or {}).items():
            self.options[stage].update(changed)
        self.tag = tag
        self.weights = None  # of another model, which replaces the trained one
        self.errors = []

    @property
    def exp(self):
        return Path("exp") / f"avsep_{self.tag}"

    def words(self, stage):
        return [word for option in self.options[stage].items() for word in option]

    def stage_2(self):
        for dset in SETS:
            data, dump = f"corpus/data/{dset}", f"dump/{dset}"
            words = ["--video_scp", f"{data}/video.scp", "--wav_scp", f"{data}/wav.scp"]
            words += ["--utt2clip", f"{data}/utt2clip"]
            words += ["--output_dir", dump, "--device", "cpu", *self.words(2)]
            yield avsep_extract_visual.main, words

    def stage_3(self):
        for dset in SETS:
            words = ["--wav_scp", f"corpus/data/{dset}/wav.scp", "--fs", str(FS)]
            words += ["--output_dir", f"dump/org/{dset}", *self.words(3)]
            yield avsep_format_audio.main, words

    def stage_4(self):
        limits = ["--fs", str(FS), "--segment_samples", str(SEGMENT)]
        for dset in SETS:
            clips = f"dump/{dset}" if dset == "train" else f"dump/org/{dset}_clips"
            words = ["--data_dir", f"corpus/data/{dset}"]
            words += ["--wav_dir", f"dump/org/{dset}", "--visual_dir", f"dump/{dset}"]
            yield avsep_filter_clips.main, [*words, "--output_dir", clips, *limits]
        words = ["--clips_dir", clips, "--output_dir", "dump/test", *limits]
        yield avsep_make_mixtures.main, [*words, *self.words(4)]

    def triples(self, part):
        if part == "train":
            tables = {"spk1": "speech_ref1", "visual_spk1": "visual_ref1"}
        else:
            tables = {"wav": "speech_mix"}
            tables.update({f"visual_spk{n}": f"visual_ref{n}" for n in (1, 2)})
        return [
            f"dump/{part}/{table}.scp,{name},"
            + ("kaldi_ark" if "visual" in name else "sound")
            for table, name in tables.items()
        ]

    def stage_5(self):
        for part in SETS:
            words = ["--output_dir", f"exp/stats/{part}"]
            for triple in self.triples(part):
                words += ["--data_path_and_name_and_type", triple]
            yield avsep_collect_stats.main, words

    def stage_6(self):
        words = ["--config", "corpus/train.yaml", "--output_dir", str(self.exp)]
        words += ["--resume", "true", *self.words(6)]
        for option, part in (("train", "train"), ("valid", "test")):
            for triple in self.triples(part):
                name = triple.split(",")[1]
                words += [f"--{option}_data_path_and_name_and_type", triple]
                words += [f"--{option}_shape_file", f"exp/stats/{part}/{name}_shape"]
        yield avsep_made_from.main, ["training", *words]
        yield self.train, words

    def train(self, words):
        if not (self.exp / "checkpoint.pth").exists():
            record = json.loads((self.exp / "made_from.json").read_text())
            used = [v["digest"] for _, v in sorted(record["inputs"].items())]
            seed = zlib.crc32(json.dumps([used, record["options"]]).encode())
            conf = {**MODEL_OPTIONS["separator_conf"], "visual_dim": WIDTH}
            make_trained_folder(self.exp, separator_conf=conf, seed=seed % 1000)
            path = self.exp / MODEL
            state = torch.load(path, weights_only=True)
            state["separator.late_bias"] += seed % 1000 / 500
            torch.save(state, path)
            (self.exp / "checkpoint.pth").touch()
        if self.weights is not None:
            shutil.copyfile(self.weights, self.exp / MODEL)

    def stage_7(self):
        yield avsep_made_from.main, ["model", "--avsep_exp", str(self.exp)]
        words = ["--train_config", str(self.exp / "config.yaml")]
        words += ["--model_file", str(self.exp / MODEL)]
        words += ["--output_dir", str(self.exp / "separated_test"), *self.words(7)]
        for triple in self.triples("test"):
            words += ["--data_path_and_name_and_type", triple]
        yield avsep_inference.main, words

    def stage_8(self):
        separated, scored = self.exp / "separated_test", self.exp / "scored_test"
        words = ["--mix_scp", "dump/test/wav.scp", "--separated_dir", str(separated)]
        words += ["--mixtures", "dump/test/mixtures.tsv", "--output_dir", str(scored)]
        words += ["--mix_scores", "dump/test/mixture_scores.tsv", *self.words(8)]
        for n in (1, 2):
            words += ["--ref_scp", f"dump/test/spk{n}.scp"]
            words += ["--inf_scp", str(separated / f"spk{n}.scp")]
        yield avsep_scoring.main, words
        words = ["--avsep_exp", str(self.exp), "--set", f"test:{scored}:dump/test"]
        yield avsep_results.main, words

    def run(self, capsys, first=2, last=8):
        """Run stages; return the message of the first one that fails, or None."""
        for stage in range(first, last + 1):
            for main, words in getattr(self, f"stage_{stage}")():
                capsys.readouterr()
                if main(words):
                    return capsys.readouterr().err
        return None

    def run_as_told(self, capsys, first):
        """Run stages from the first; do what the messages of errors say."""
        for _ in range(6):
            error = self.run(capsys, first)
            if error is None:
                return
            self.errors.append(error)
            if "its own --avsep_tag" in error:
                self.tag, first = f"{self.tag}1", 6
            else:
                named = re.search(r"[Rr]un stages? ([2-8])", error)
                assert named, error
                first = int(named[1])
        raise AssertionError(self.errors)


def results(recipe):
    """Bytes of all that stages 2 to 8 leave, but for times and for what is noted."""
    found = {}
    for folder, name in ((Path("dump"), "dump"), (recipe.exp, "exp")):
        for path in folder.rglob("*"):
            # Journals hold the times of files; arks keep what is no longer listed.
            skipped = path.suffix in (".journal", ".content", ".md", ".json", ".lock")
            if path.is_dir() or skipped or path.name in ("visual.ark", ".lock"):
                continue
            if path.name == "visual.scp" or path.name == "visual_spk1.scp":
                continue
            text = path.read_bytes().replace(str(recipe.exp).encode(), b"EXP")
            found[f"{name}/{path.relative_to(folder)}"] = text
    assert "exp/scored_test/scores.tsv" in found
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder in which all stages have been run."""
    root = tmp_path_factory.mktemp("base")
    (root / "corpus").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_corpus(Path("corpus"))
        Path("corpus/train.yaml").write_text(yaml.safe_dump({"optim_conf": {"lr": 1}}))
        for stage in range(2, 9):
            for main, words in getattr(Recipe(), f"stage_{stage}")():
                assert not main(words)
    return root


@pytest.fixture
def copy(base, tmp_path, monkeypatch):
    """A copy of it with the same times, as the present folder."""
    shutil.copytree(base, tmp_path / "copy", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def other_sound():
    """The same number of bytes, written at the same time."""
    path = Path("corpus/mid-1.wav")
    before = path.stat()
    soundfile.write(path, tone("top", 3 * SEGMENT, 0.2), FS, subtype="PCM_16")
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_training_sound():
    soundfile.write(
        "corpus/mid-0.wav", tone("top", 3 * SEGMENT, 0.2), FS, subtype="PCM_16"
    )


def other_picture():
    path = Path("corpus/mid-1/1.bmp")
    size = path.stat().st_size
    picture(path, 99)
    assert path.stat().st_size == size


def other_config():
    Path("corpus/train.yaml").write_text(yaml.safe_dump({"optim_conf": {"lr": 2}}))


def other_classes():
    path = Path("corpus/data/test/utt2spk")
    path.write_text(path.read_text().replace("low-1 low", "low-1 lad"))


def mixture_list():
    Path("corpus/list.tsv").write_text("low-1 top-1\nmid-1 low-1\n")


LIST = {4: {"--list": "corpus/list.tsv"}}

# name -> what is changed, options that are changed, the first stage that a user runs
CHANGES = {
    "sound": (other_sound, {}, 2),
    "sound, stage 2 forgotten": (other_sound, {}, 3),
    "training sound": (other_training_sound, {}, 2),
    "picture": (other_picture, {}, 2),
    "picture, stage 2 forgotten": (other_picture, {}, 4),
    "seed of the encoder": (None, {2: {"--seed": "1"}}, 2),
    "region": (None, {2: {"--region": "left"}}, 2),
    "boxes": (None, {2: {"--visual_boxes": "corpus/boxes"}}, 2),
    "every": (None, {2: {"--every": "2"}}, 2),
    "audio format": (None, {3: {"--audio_format": "flac"}}, 3),
    "classes": (other_classes, {}, 4),
    "seed of the mixtures": (None, {4: {"--seed": "1"}}, 4),
    "list of mixtures": (mixture_list, LIST, 4),
    "only stages 4 and 8": (None, {4: {"--seed": "1"}}, (4, 8)),
    "sound, stage 4 forgotten": (other_sound, {}, (2, 3, 7)),
    "config": (other_config, {}, 6),
    "option of the training": (None, {6: {"--seed": "1"}}, 6),
    "option of the separation": (None, {7: {"--binary_mask": "true"}}, 7),
    "option of the scoring": (None, {8: {"--seed": "1"}}, 8),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_input_gives_the_result_of_a_fresh_run(copy, capsys, name):
    change, options, first = CHANGES[name]
    before = results(Recipe())
    if change is not None:
        change()
    recipe = Recipe(options)
    if isinstance(first, tuple):
        *alone, first = first
        for stage in alone:
            assert recipe.run(capsys, stage, stage) is None
    recipe.run_as_told(capsys, first)
    after = results(recipe)
    for folder in ("dump", "exp"):
        shutil.rmtree(folder)
    fresh = Recipe(options)
    assert fresh.run(capsys) is None
    expected = results(fresh)
    assert {k for k in {*after, *expected} if after.get(k) != expected.get(k)} == set()
    assert expected != before  # or the change has shown nothing


def test_boxes_of_the_same_size_in_bytes(copy, capsys):
    options = {2: {"--visual_boxes": "corpus/boxes"}}
    first = Recipe(options, "boxes")
    assert first.run(capsys) is None
    before = results(first)
    Path("corpus/boxes/mid/1.json").write_text(box(3))
    recipe = Recipe(options, "boxes")
    recipe.run_as_told(capsys, 4)
    assert "Run stage 2 again" in "".join(recipe.errors).replace(
        "run stage", "Run stage"
    )
    after = results(recipe)
    for folder in ("dump", "exp"):
        shutil.rmtree(folder)
    fresh = Recipe(options, "boxes")
    assert fresh.run(capsys) is None
    assert after == results(fresh) != before


@pytest.mark.parametrize("change", [None, other_classes, other_training_sound])
def test_each_later_stage_says_that_stage_4_was_forgotten(copy, capsys, change):
    """Stages 2 and 3 were run again; the mixtures are of what they made before."""
    recipe = Recipe({} if change else {2: {"--seed": "1"}})
    if change:
        change()
    assert recipe.run(capsys, 2, 3) is None
    # The set of tests knows nothing of the sound of the training set.
    for stage in (5, 6, 7, 8)[: 2 if change == other_training_sound else 4]:
        commands = list(getattr(recipe, f"stage_{stage}")())
        # The first one of stage 7 wants a model of the present data.
        assert any(main(words) for main, words in commands[stage == 7 :])
        assert "Run stage 4 again" in capsys.readouterr().err


def test_other_weights(copy, capsys, tmp_path):
    """A model that was replaced: its tracks and scores, not those of the one before."""
    recipe = Recipe()
    before = results(recipe)
    state = torch.load(recipe.exp / MODEL, weights_only=True)
    state["separator.late_bias"] += 1
    torch.save(state, tmp_path / "other.pth")
    shutil.copyfile(tmp_path / "other.pth", recipe.exp / MODEL)
    error = recipe.run(capsys, 8)
    assert "model" in error and "Run stage 7 again" in error
    assert recipe.run(capsys, 7) is None
    after = results(recipe)
    shutil.rmtree("exp")
    fresh = Recipe()
    fresh.weights = tmp_path / "other.pth"
    assert fresh.run(capsys, 5) is None
    assert after == results(fresh) != before


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("dump/test/visual.ark", 2),
        ("dump/org/test/data/mid-1.wav", 3),
        ("dump/test/visual.ark", 4),
        ("dump/train/visual.ark", 4),
        ("dump/org/test/data/mid-1.wav", 4),
        ("dump/test/data/wav/mix00001.wav", 4),
        ("dump/test/data/spk2/mix00000.wav", 4),
        ("dump/test/data/visual_spk1.ark", 4),
    ],
)
def test_a_file_that_was_overwritten_is_made_again(copy, capsys, path, stage):
    """With the same number of bytes; the stage that makes it sees it."""
    recipe = Recipe()
    before = results(recipe)
    content = bytearray(Path(path).read_bytes())
    content[-2] ^= 64
    Path(path).write_bytes(content)
    recipe.run_as_told(capsys, stage)
    assert results(recipe) == before


@pytest.mark.parametrize("name", ["wav/mix00001.wav", "visual_spk1.ark"])
def test_a_mixture_that_was_overwritten_is_separated_again(copy, capsys, name):
    recipe = Recipe()
    before = results(recipe)
    path = Path("dump/test/data") / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 64
    path.write_bytes(content)
    error = recipe.run(capsys, 8)
    assert "Run stage 7 again" in error
    # It is what the model is validated on, too.
    assert "Run stage 6 again" in recipe.run(capsys, 7)
    recipe.run_as_told(capsys, 7)
    assert results(recipe) != before


def flip(content):
    return content[:-2] + bytes([content[-2] ^ 64]) + content[-1:]


@pytest.mark.parametrize(
    "damage", [flip, lambda content: content[:-99], None], ids=["bit", "end", "file"]
)
def test_a_track_that_was_damaged_is_neither_scored_nor_kept(copy, capsys, damage):
    recipe = Recipe()
    before = results(recipe)
    path = recipe.exp / "separated_test/wavs/spk2/mix00001.wav"
    content, times = path.read_bytes(), path.stat()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(content))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    recipe.run_as_told(capsys, 8)
    assert len(recipe.errors) == 1 and "mix00001" in recipe.errors[0]
    assert "Run stage 7 again" in recipe.errors[0]
    assert results(recipe) == before


def test_without_a_change_all_is_kept(copy, capsys):
    recipe = Recipe()
    before = {p: p.stat().st_mtime_ns for p in Path(".").rglob("*.wav")}
    arks = {p: p.stat().st_mtime_ns for p in Path("dump").glob("*/visual.ark")}
    assert recipe.run(capsys) is None and recipe.errors == []
    assert {p: p.stat().st_mtime_ns for p in Path(".").rglob("*.wav")} == before
    assert {p: p.stat().st_mtime_ns for p in arks} == arks


def test_other_folders_of_the_jobs_are_no_change(copy, capsys):
    """Other numbers of jobs, or a moved corpus: the same content, the same training."""
    shutil.copytree("dump/org", "dump/moved")
    shutil.rmtree("dump/org")
    Path("dump/moved").rename("dump/org")
    Path("corpus/low-1.wav").touch()
    recipe = Recipe()
    tracks = {p: p.stat().st_mtime_ns for p in recipe.exp.rglob("*.wav")}
    assert recipe.run(capsys) is None
    assert {p: p.stat().st_mtime_ns for p in recipe.exp.rglob("*.wav")} == tracks
