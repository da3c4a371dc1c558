"""Queries through ESPnet's trainer: motion, classes, two optimizers, an added class."""

from argparse import Namespace
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet2_avsep import SeparateAV
from espnet2_avsep.bin.train.inference import main as separate_main
from espnet2_avsep.bin.train.train import main
from espnet2_avsep.data.mixing.mixture_table import read_classes
from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.data.tables.scp import read_scp, write_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.listed_mixtures import mixtures_of
from tests.support.tiny_corpus import (
    DIM,
    MODEL_OPTIONS,
    SEGMENT,
    TONES,
    embedding,
    make_tiny_corpus,
    tone,
    train_command,
)

PAIRS = [("low", "high"), ("mid", "top"), ("top", "low"), ("high", "mid")]
MOTION_DIM = 3
SEPARATOR = {
    "visual_dim": DIM,
    "num_queries": 5,
    "motion_dim": MOTION_DIM,
    "channels": 8,
    "layers": 4,
    "middle_level": 2,
    "width": 8,
    "attention_groups": 4,
    "dim": 16,
    "heads": 2,
    "feedforward_dim": 32,
}
OPTIONS = {
    **MODEL_OPTIONS,
    "separator": "query",
    "separator_conf": SEPARATOR,
    "criterions": [{"name": "ratio_mask_l1"}],
    "model_conf": {"num_log_bins": 48, "compression": "log1p", "mask_max": 5.0},
    "dataset_conf": {**MODEL_OPTIONS["dataset_conf"], "labels": True},
    "optim_conf": {"lr": 1e-3},
    "optim2": "adamw",
    "optim2_conf": {"lr": 5e-4, "weight_decay": 0.01},
    "scheduler2": "multisteplr",
    "scheduler2_conf": {"milestones": [1], "gamma": 0.1},
    "optim_groups": [
        {"prefix": f"separator.{name}.", "optimizer": 2}
        for name in ("transformer", "queries", "mask_head")
    ],
    "max_epoch": 2,
    "num_iters_per_epoch": 3,
    "num_att_plot": 0,
}
NAMES = sorted(TONES)


def motion_of(name: str, steps: int) -> np.ndarray:
    value = np.full((steps, MOTION_DIM), NAMES.index(name), np.float32)
    value[:, 0] = np.arange(steps)
    return value


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = make_tiny_corpus(tmp_path_factory.mktemp("corpus"))
    lines = ["mix_id\tclip1\tspk1\tclip2\tspk2"]
    lines += [f"mix{i:05d}\t{a}\t{a}\t{b}\t{b}" for i, (a, b) in enumerate(PAIRS)]
    (root / "valid" / "mixtures.tsv").write_text("\n".join(lines) + "\n")
    train = {
        key: motion_of(name, 2 + n % 4)
        for n, (key, name) in enumerate(read_scp(root / "train" / "utt2spk").items())
    }
    tables = {root / "train" / "motion_spk1": train}
    for n in (0, 1):
        tables[root / "valid" / f"motion_spk{n + 1}"] = {
            f"mix{i:05d}": motion_of(pair[n], 2 + (i + n) % 3)
            for i, pair in enumerate(PAIRS)
        }
    for base, matrices in tables.items():
        kaldiio.save_ark(f"{base}.ark", matrices, scp=f"{base}.scp")
    return root


def motion_options(root: Path, train: bool = True, valid=(1, 2)) -> list:
    argv = []
    if train:
        argv += ["--train_data_path_and_name_and_type"]
        argv += [f"{root}/train/motion_spk1.scp,motion_ref1,kaldi_ark"]
    for n in valid:
        argv += ["--valid_data_path_and_name_and_type"]
        argv += [f"{root}/valid/motion_spk{n}.scp,motion_ref{n},kaldi_ark"]
    return argv


def train(root: Path, folder: Path, *more: str, motion=None, **changes) -> int:
    folder.mkdir(exist_ok=True)
    (folder / "train.yaml").write_text(yaml.safe_dump({**OPTIONS, **changes}))
    motion = motion_options(root) if motion is None else motion
    return main(
        train_command(root, folder / "train.yaml", folder / "exp", *motion, *more)
    )


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    assert train(corpus, folder) == 0
    return folder / "exp"


def inference(corpus, exp, output, *more, motion=(1, 2)) -> int:
    valid = corpus / "valid"
    argv = ["--train_config", f"{exp}/config.yaml", "--output_dir", str(output)]
    argv += ["--model_file", f"{exp}/valid.si_sdr_i.best.pth", "--batch_size", "3"]
    triples = [f"{valid}/wav.scp,speech_mix,sound"]
    triples += [f"{valid}/visual_spk{n}.scp,visual_ref{n},kaldi_ark" for n in (1, 2)]
    triples += [f"{valid}/motion_spk{n}.scp,motion_ref{n},kaldi_ark" for n in motion]
    for triple in triples:
        argv += ["--data_path_and_name_and_type", triple]
    return separate_main([*argv, *more])


def test_two_optimizers_with_schedules_of_their_own(trained):
    states = torch.load(trained / "checkpoint.pth", weights_only=False)
    first, second = (state["param_groups"] for state in states["optimizers"])
    assert [group["lr"] for group in first] == [1e-3]
    assert [group["lr"] for group in second] == pytest.approx([5e-5] * 3)
    assert [group["weight_decay"] for group in first] == [0]
    assert {group["weight_decay"] for group in second} == {0.01}
    weights = torch.load(trained / "valid.si_sdr_i.best.pth", weights_only=True)
    number = sum(len(group["params"]) for group in (*first, *second))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert number == sum(not key.endswith(buffers) for key in weights)


def test_the_model_knows_its_classes(corpus, trained, tmp_path):
    """Only from the training's config; command and object give the same tracks."""
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["classes"] == NAMES
    assert inference(corpus, trained, tmp_path / "out") == 0
    separate = SeparateAV.from_pretrained(trained)
    assert separate.classes == {name: n for n, name in enumerate(NAMES)}
    for i, pair in enumerate(PAIRS):
        key = f"mix{i:05d}"
        mixture, fs = soundfile.read(corpus / "wavs" / f"{key}.wav", dtype="float32")
        prompts = [embedding(name) for name in pair]
        motion = [motion_of(name, 2 + (i + n) % 3) for n, name in enumerate(pair)]
        tracks = separate(mixture, prompts, fs, classes=pair, motion=motion)
        for n in (1, 2):
            path = tmp_path / "out" / "wavs" / f"spk{n}" / f"{key}.wav"
            written, _ = soundfile.read(path, dtype="float32")
            np.testing.assert_allclose(written, tracks[n - 1], atol=1e-5)
        other = separate(mixture, prompts, fs, classes=pair[::-1], motion=motion)
        assert np.abs(other - tracks).max() > 1e-5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, "classes are missing.*high, low, mid, top"),
        ({"classes": ["low", "harp"]}, "does not know the class 'harp'"),
        ({"classes": ["low"]}, "1 classes were given for 2 prompts"),
        ({"motion": None}, "motion features are missing"),
        ({"motion": [motion_of("low", 2)]}, "1 motion were given"),
        ({"motion": [np.zeros((0, 3)), np.zeros((2, 3))]}, "motion 1 has the shape"),
        ({"motion": [np.zeros((2, 3)), np.zeros((2, 4))]}, "motion 2 has the shape"),
    ],
)
def test_what_a_caller_may_get_wrong(trained, changes, message):
    given = {"classes": ["low", "mid"], "motion": [motion_of("low", 2)] * 2, **changes}
    separate = SeparateAV.from_pretrained(trained)
    with pytest.raises(InputError, match=message):
        separate(tone("low", SEGMENT), [embedding("low"), embedding("mid")], **given)


def test_inference_without_motion_or_of_unknown_classes(
    corpus, trained, tmp_path, capsys
):
    assert inference(corpus, trained, tmp_path / "a", motion=(1,)) == 2
    assert "motion_ref2 is missing" in capsys.readouterr().err
    listed = (corpus / "valid" / "mixtures.tsv").read_text()
    (tmp_path / "mixtures.tsv").write_text(listed.replace("\ttop", "\tharp"))
    more = ["--mixtures", str(tmp_path / "mixtures.tsv")]
    assert inference(corpus, trained, tmp_path / "b", *more) == 2
    assert "does not know the class 'harp'" in capsys.readouterr().err


def test_classes_of_real_mixtures(tmp_path):
    """Their list names no clips; a folder has one list or the other."""
    path = tmp_path / "real_mixtures.tsv"
    path.write_text("mix_id\tspk1\tspk2\tprompt1\nduet\tlow\ttop\tx\n")
    args = Namespace(
        mixtures=None,
        data_path_and_name_and_type=[f"{tmp_path}/wav.scp,speech_mix,sound"],
    )
    assert mixtures_of(args) == path
    assert read_classes(path) == {"duet": ["low", "top"]}
    path.unlink()
    assert mixtures_of(args) == tmp_path / "mixtures.tsv"
    with pytest.raises(InputError, match="no such file"):
        read_classes(mixtures_of(args))


def test_a_new_class_by_one_query(corpus, trained, tmp_path):
    """Nothing but the new query changes, and the trained classes' tracks do not."""
    new = tmp_path / "new"
    for name in ("train", "valid"):
        (new / name).mkdir(parents=True)
        for path in (corpus / name).iterdir():
            (new / name / path.name).symlink_to(path)
    (new / "stats").symlink_to(corpus / "stats")
    # What was called "top" is a new class.
    spk = read_scp(corpus / "train" / "utt2spk")
    (new / "train" / "utt2spk").unlink()
    write_scp(
        new / "train" / "utt2spk",
        {key: "zither" if name == "top" else name for key, name in spk.items()},
    )
    listed = (corpus / "valid" / "mixtures.tsv").read_text()
    (new / "valid" / "mixtures.tsv").unlink()
    (new / "valid" / "mixtures.tsv").write_text(listed.replace("\ttop", "\tzither"))
    tuning = Path(__file__).parents[2] / "conf" / "tuning"
    shipped = tuning / "train_avsep_dgfnet_new_class.yaml"
    frozen = read_config(shipped)["freeze_param"]
    more = ["--init_param", f"{trained}/valid.si_sdr_i.best.pth"]
    more += ["--classes_from", f"{trained}/config.yaml"]
    changes = {
        "separator_conf": {**SEPARATOR, "new_queries": 1},
        "freeze_param": frozen,
        "optim_groups": [],
        "optim2": None,
    }
    assert train(new, tmp_path / "run", *more, **changes) == 0
    exp = tmp_path / "run" / "exp"
    config = yaml.safe_load((exp / "config.yaml").read_text())
    assert config["classes"] == [*NAMES, None, "zither"]
    before = torch.load(trained / "valid.si_sdr_i.best.pth", weights_only=True)
    steps = [
        torch.load(exp / f"{n}epoch.pth", weights_only=True)
        for n in (1, 2)
        if (exp / f"{n}epoch.pth").exists()
    ]
    for after in steps:
        assert set(after) - set(before) == {"separator.queries.added"}
        for key, value in before.items():
            assert torch.equal(after[key], value), key
    checkpoint = torch.load(exp / "checkpoint.pth", weights_only=False)
    moments = checkpoint["optimizers"][0]["state"]
    assert len(moments) == 1 and next(iter(moments.values()))["exp_avg"].abs().max() > 0

    old, more = SeparateAV.from_pretrained(trained), SeparateAV.from_pretrained(exp)
    mixture = (tone("low", SEGMENT) + tone("high", SEGMENT)) / 2
    prompts = [embedding("low"), embedding("high")]
    given = {"motion": [motion_of("low", 3), motion_of("high", 2)]}
    expected = old(mixture, prompts, classes=["low", "high"], **given)
    found = more(mixture, prompts, classes=["low", "high"], **given)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    other = more(mixture, prompts, classes=["zither", "high"], **given)
    assert np.abs(other[0] - expected[0]).max() > 1e-5
    np.testing.assert_allclose(other[1], expected[1], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"separator_conf": {**SEPARATOR, "num_queries": 3}}, "num_queries to 4"),
        ({"separator_conf": {**SEPARATOR, "new_queries": 1}}, "give --classes_from"),
        ({"dataset_conf": MODEL_OPTIONS["dataset_conf"]}, "go together"),
        (
            {"separator_conf": {**SEPARATOR, "queries": "label_free"}},
            "go together",
        ),
        ({"optim2": None}, "optim2 is None"),
    ],
)
def test_what_does_not_go_together(corpus, tmp_path, capsys, changes, message):
    assert train(corpus, tmp_path, "--dry_run", "true", **changes) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"train": False}, "motion_ref1"), ({"valid": (1,)}, "motion_ref2")],
)
def test_data_without_motion(corpus, tmp_path, capsys, given, missing):
    motion = motion_options(corpus, **given)
    assert train(corpus, tmp_path, motion=motion) == 2
    error = capsys.readouterr().err
    assert f"needs motion features, but {missing}" in error
    assert "separator_conf.motion" in error


def test_classes_that_do_not_cover_the_data(corpus, tmp_path, capsys):
    assert train(corpus, tmp_path, classes=["low", "mid", "top"]) == 2
    assert "the class high is not among" in capsys.readouterr().err


def test_motion_that_is_not_wanted_is_left_alone(corpus, tmp_path):
    """The recipe gives motion features to every system where there are any."""
    changes = {
        "separator_conf": {**SEPARATOR, "queries": "label_free", "motion": False},
        "dataset_conf": MODEL_OPTIONS["dataset_conf"],
        "max_epoch": 1,
        "num_iters_per_epoch": 1,
    }
    assert train(corpus, tmp_path, **changes) == 0
    config = yaml.safe_load((tmp_path / "exp" / "config.yaml").read_text())
    assert config["classes"] == []
    separate = SeparateAV.from_pretrained(tmp_path / "exp")
    prompts = [embedding("low"), embedding("mid")]
    assert separate(tone("low", SEGMENT), prompts).shape == (2, SEGMENT)
    with pytest.raises(InputError, match="this model takes no classes"):
        separate(tone("low", SEGMENT), prompts, classes=["low", "mid"])
