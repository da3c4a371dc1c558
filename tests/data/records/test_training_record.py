"""A checkpoint is only continued by the training that wrote it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet2_avsep.bin.train.made_from import main
from espnet2_avsep.data.records.training_record import (
    is_finished,
    keep_config,
    note_begun_anew,
    note_finished,
    start_training,
)
from espnet2_avsep.data.shape_files import collect_shapes
from espnet2_avsep.errors import InputError
from tests.support.tiny_corpus import make_tiny_corpus

CONFIG = {
    "optim": "adam",
    "optim_conf": {"lr": 1e-3},
    "separator_conf": {"channels": 8},
    "max_epoch": 2,
}


class Training:
    """A corpus, an experiment's folder and the command line of its training."""

    def __init__(self, root: Path):
        self.data = make_tiny_corpus(root / "dump")
        self.exp = root / "exp"
        self.config = root / "train.yaml"
        self.config.write_text(yaml.safe_dump(CONFIG))
        self.stats = root / "stats"
        self.triples = {
            "train": [
                f"{self.data}/train/spk1.scp,speech_ref1,sound",
                f"{self.data}/train/visual_spk1.scp,visual_ref1,kaldi_ark",
            ],
            "valid": [f"{self.data}/valid/wav.scp,speech_mix,sound"],
        }
        self.collect()

    def collect(self):
        for part, triples in self.triples.items():
            collect_shapes(triples, str(self.stats / part))

    def argv(self, *more):
        words = ["--config", str(self.config), "--output_dir", str(self.exp)]
        words += ["--resume", "true", "--dataset_conf", "num_sources=2"]
        for part, triples in self.triples.items():
            for triple in triples:
                name = triple.split(",")[1]
                words += [f"--{part}_data_path_and_name_and_type", triple]
                words += [f"--{part}_shape_file"]
                words += [str(self.stats / part / f"{name}_shape")]
        return [*words, *more]

    def train(self):
        """Do as if the training had been done."""
        start_training(self.argv())
        config = {**CONFIG, "dataset_conf": {"num_sources": 2}, "seed": 0}
        (self.exp / "config.yaml").write_text(yaml.safe_dump(config))
        (self.exp / "checkpoint.pth").write_bytes(b"weights")

    def refuses(self, *more):
        before = {p: p.read_bytes() for p in self.exp.iterdir() if p.name != ".lock"}
        with pytest.raises(InputError) as error:
            start_training(self.argv(*more))
        found = {p: p.read_bytes() for p in self.exp.iterdir() if p.name != ".lock"}
        assert found == before, "a refused training has written files"
        return str(error.value)


@pytest.fixture
def training(tmp_path):
    done = Training(tmp_path)
    done.train()
    return done


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--optim_conf", "lr=1e-2"], "optim_conf.lr was 0.001, now 0.01"),
        (
            ["--separator_conf", "channels=16"],
            "separator_conf.channels was 8.0, now 16",
        ),
        (["--dataset_conf", "num_sources=3"], "num_sources was 2.0, now 3.0"),
        (["--seed", "7"], "seed was None, now 7"),
        (["--init_param", "__file__"], "content of init_param was None"),
    ],
)
def test_another_option_is_another_training(training, words, named):
    words = [__file__ if word == "__file__" else word for word in words]
    message = training.refuses(*words)
    assert "was trained with other options" in message and named in message
    assert "--avsep_tag" in message


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--max_epoch", "9", "--num_workers", "3", "--ngpu", "0"],
        ["--optim_conf", "lr=1e-3"],  # the same number in other words
        ["--seed", "0"],  # the default that it was trained with
    ],
)
def test_the_same_training_continues(training, words):
    start_training(training.argv(*words))


def test_a_finished_training_is_known_by_its_command_and_its_files(training, capsys):
    argv = training.argv()
    assert not is_finished(argv)
    assert main(["training", *argv]) == 0 and capsys.readouterr().out == ""
    note_finished(argv)
    assert is_finished(argv)
    # So that avsep.sh need not start it.
    assert main(["training", *argv]) == 0 and capsys.readouterr().out == "finished\n"
    assert not is_finished([*argv, "--max_epoch", "9"])
    assert not is_finished([*argv, "--resume", "false"])
    (training.exp / "3epoch.pth").write_bytes(b"")
    assert not is_finished(argv)
    (training.exp / "3epoch.pth").unlink()
    assert is_finished(argv)
    training.config.write_text(yaml.safe_dump({**CONFIG, "max_epoch": 3}))
    assert not is_finished(argv)


def test_a_changed_config_file_is_another_training(training):
    training.config.write_text(yaml.safe_dump({**CONFIG, "optim_conf": {"lr": 0.1}}))
    assert "optim_conf.lr was 0.001, now 0.1" in training.refuses()
    # Keys that are gone have their defaults again.
    training.config.write_text("optim: adam\n")
    assert "optim_conf.lr was 0.001, now None" in training.refuses()


@pytest.mark.parametrize("way", ["option", "options", "list in YAML"])
def test_other_pretrained_weights_are_another_training(training, tmp_path, way):
    first, second = tmp_path / "first.pth", tmp_path / "second.pth"
    for path in (first, second):
        path.write_bytes(b"weights")
    words = {"option": [first], "options": [first, f"{second}:encoder"]}.get(way, [])
    more = ["--init_param", *map(str, words)] if words else []
    if way == "list in YAML":
        conf = {**CONFIG, "init_param": [str(first), str(second)]}
        training.config.write_text(yaml.safe_dump(conf))
    training.exp.joinpath("checkpoint.pth").unlink()
    start_training(training.argv(*more))
    (training.exp / "checkpoint.pth").write_bytes(b"weights")
    assert start_training(training.argv(*more)) is False
    if way == "options":
        more[-1] = f"{second}:decoder"
        assert "init_param" in training.refuses(*more)
        more[-1] = f"{second}:encoder"
    first.write_bytes(b"WEIGHTS")
    assert "content of init_param was 7 bytes" in training.refuses(*more)


def test_of_an_option_that_is_given_twice_the_last_value_counts(training):
    training.exp.joinpath("checkpoint.pth").unlink()
    start_training(training.argv("--sample_rate", "8000"))
    (training.exp / "checkpoint.pth").write_bytes(b"weights")
    assert not start_training(
        training.argv("--sample_rate", "16000", "--sample_rate", "8000")
    )
    assert "sample_rate was 8000.0, now 16000.0" in training.refuses(
        *("--sample_rate", "8000", "--sample_rate", "16000")
    )


@pytest.mark.parametrize(
    ("option", "words", "others"),
    [
        ("freeze_param", ["encoder", "decoder"], ["bottleneck", "decoder"]),
        ("freeze_param", ["encoder", "decoder"], ["decoder"]),
        ("early_stopping_criterion", ["valid", "l", "min"], ["train", "l", "min"]),
        ("val_scheduler_criterion", ["valid", "loss"], ["train", "loss"]),
    ],
)
def test_all_values_of_an_option_count(training, option, words, others):
    """Only the last one was compared."""
    training.exp.joinpath("checkpoint.pth").unlink()
    start_training(training.argv(f"--{option}", *words))
    (training.exp / "checkpoint.pth").write_bytes(b"weights")
    assert not start_training(training.argv(f"--{option}", *words))
    assert f"{option} was" in training.refuses(f"--{option}", *others)
    # Of an option that is given twice, the last one counts.
    again = (f"--{option}", *others, f"--{option}", *words)
    assert not start_training(training.argv(*again))


@pytest.mark.parametrize("values", [["valid", "loss", "min"], ["encoder"]])
def test_a_list_of_the_config_may_be_given_on_the_command_line(training, values):
    name = "freeze_param" if len(values) == 1 else "early_stopping_criterion"
    path = training.exp / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), name: values}))
    assert not start_training(training.argv(f"--{name}", *values))


@pytest.mark.parametrize("option", ["--config", "--output_dir", "--resume"])
def test_an_option_without_its_value(option):
    """It was an IndexError."""
    with pytest.raises(InputError, match=f"{option}: expected a value"):
        start_training([option, "--seed", "1"])


def test_a_comma_in_a_path(training):
    triple = f"{training.data}/train,1/spk1.scp,speech_ref1,sound"
    words = ("--train_data_path_and_name_and_type", triple)
    assert "no ',' in the path" in training.refuses(*words)


def test_without_resume_all_begins_anew(training):
    start_training(training.argv("--seed", "7", "--resume", "false"))
    note_begun_anew(training.exp)
    record = json.loads((training.exp / "made_from.json").read_text())
    assert record["options"]["seed"] == 7


def test_a_training_without_resume_that_fails_before_it_begins(training):
    """Its record stood beside the checkpoint before, which it then continued."""
    other = ("--seed", "7")
    start_training(training.argv(*other, "--resume", "false"))  # and fails
    assert "with other options: seed was None, now 7" in training.refuses(*other)
    assert not start_training(training.argv())
    note_begun_anew(training.exp)  # nothing is left of the one that failed
    assert not start_training(training.argv())
    # Where there is no checkpoint, there is nothing to wait for.
    (training.exp / "checkpoint.pth").unlink()
    start_training(training.argv(*other, "--resume", "false"))
    (training.exp / "checkpoint.pth").write_bytes(b"weights")
    assert not start_training(training.argv(*other))


def test_other_features_of_the_same_shape_are_other_data(training):
    ark = training.data / "train/visual.ark"
    content = ark.read_bytes()
    ark.write_bytes(content[:-4] + b"\x00\x00\x80\x3f")
    training.collect()
    message = training.refuses()
    assert "was trained on other data" in message
    assert "train visual_ref1" in message


def test_other_sound_of_the_same_size_is_other_data(training):
    wav = next((training.data / "wavs").glob("mix*_spk1.wav")).with_name("mix00000.wav")
    content = wav.read_bytes()
    wav.write_bytes(content[:-4] + b"\x00\x00\x00\x3f")
    training.collect()
    assert "valid speech_mix" in training.refuses()


def test_shapes_of_other_data_are_refused(training):
    """Training would see the first part of longer clips only."""
    scp = training.data / "train/spk1.scp"
    lines = scp.read_text().splitlines()
    key, path = lines[0].split()
    import soundfile

    samples, rate = soundfile.read(path)
    soundfile.write(path, [*samples, *samples], rate, subtype="FLOAT")
    message = training.refuses()
    assert "speech_ref1_shape: holds the sizes of other data" in message
    assert "Run stage 5 again" in message
    # Without a record, as an earlier version left it, the headers tell.
    (training.stats / "train/made_from.json").unlink()
    assert "Run stage 5 again" in training.refuses()
    training.collect()
    assert "was trained on other data" in training.refuses()


def test_an_experiment_of_an_earlier_version(training):
    """Without a record, config.yaml tells what it was trained with."""
    (training.exp / "made_from.json").unlink()
    message = training.refuses("--optim_conf", "lr=1e-2")
    assert "optim_conf.lr was 0.001, now 0.01" in message
    start_training(training.argv())


def test_the_command_prints_the_reason(training, capsys):
    assert main(["training", *training.argv()]) == 0
    assert main(["training", *training.argv("--seed", "3")]) == 2
    assert "with other options: seed was None, now 3" in capsys.readouterr().err


def test_a_refused_continuation_restores_the_config(training):
    """ESPnet writes config.yaml before it reads the checkpoint."""
    path = training.exp / "config.yaml"
    before = path.read_bytes()
    with pytest.raises(InputError), keep_config(training.exp):
        path.write_text("separator: other\n")
        raise InputError("the checkpoint does not fit")
    assert path.read_bytes() == before


@pytest.mark.parametrize("error", [InputError("it diverges"), KeyboardInterrupt()])
@pytest.mark.parametrize("begun", [True, False])
def test_the_config_is_that_of_the_weights(training, begun, error):
    """One that began anew and diverged got the config of the training before."""
    path = training.exp / "config.yaml"
    before = path.read_text()
    start_training(training.argv("--seed", "7", "--resume", "false"))
    with pytest.raises(type(error)), keep_config(training.exp):
        path.write_text("seed: 7\n")
        if begun:
            note_begun_anew(training.exp)
        raise error
    assert path.read_text() == ("seed: 7\n" if begun else before)


def test_a_model_of_other_data_is_used_only_on_request(training, capsys):
    model = ["model", "--avsep_exp", str(training.exp)]
    assert main(model) == 0
    ark = training.data / "train/visual.ark"
    ark.write_bytes(ark.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    assert main(model) == 2
    error = capsys.readouterr().err
    assert "Run stage 6 again" in error and "--skip_train true" in error
    assert main([*model, "--as_it_is", "true"]) == 0
    # Features of another encoder are refused in any case.
    info = {"encoder": "open_clip", "model": "a", "weights": "w", "dim": 4}
    (training.exp / "visual_info.yaml").write_text(yaml.safe_dump(info))
    other = training.data / "visual_info.yaml"
    other.write_text(yaml.safe_dump({**info, "model": "b"}))
    argv = [*model, "--as_it_is", "true", "--made_by", str(other)]
    assert main(argv) == 2
    assert "made by another encoder" in capsys.readouterr().err


HOLD = """
import sys, time
from espnet2_avsep.data.records.training_record import hold_training
with hold_training(sys.argv[1:]):
    print("held", flush=True)
    time.sleep(1000)  # it is killed
"""


def test_of_two_trainings_that_start_at_once_one_leaves_no_trace(training):
    """The record is written under the lock that lasts until the training's end."""
    (training.exp / "checkpoint.pth").unlink()  # or that would be the reason
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, *training.argv()],
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        try:
            assert first.stdout.readline() == "held\n"
            said = training.refuses("--optim_conf", "lr=5")
            assert f"is in use by a training, pid {first.pid} on " in said
        finally:
            first.kill()
