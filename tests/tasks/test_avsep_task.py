"""Training through ESPnet's own machinery, on a corpus of a second."""

import argparse
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from espnet2_avsep.bin.train.train import main
from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.inference.separate import load_config, load_weights
from espnet2_avsep.tasks.choices import build_model
from tests.support.tiny_corpus import MODEL_OPTIONS, make_tiny_corpus, train_command

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((REPOSITORY / "conf" / "tuning").glob("train_avsep_*.yaml"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def config(tmp_path):
    def write(**changes):
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump({**MODEL_OPTIONS, **changes}))
        return path

    return write


def epochs_logged(caplog) -> list:
    return [
        int(m.group(1))
        for record in caplog.records
        if (m := re.match(r"(\d+)epoch results", record.getMessage()))
    ]


def test_train_and_resume_after_a_kill(corpus, config, tmp_path, caplog):
    caplog.set_level("INFO")
    exp = tmp_path / "exp"
    drawn = config(
        max_epoch=2, num_att_plot=1, use_matplotlib=True, use_tensorboard=True
    )
    assert main(train_command(corpus, drawn, exp)) == 0
    assert epochs_logged(caplog) == [1, 2]
    for name in ("config.yaml", "valid.si_sdr_i.best.pth", "checkpoint.previous.pth"):
        assert (exp / name).exists(), name
    assert (exp / "images" / "loss.png").exists()
    assert list((exp / "tensorboard" / "train").iterdir())
    pictures = sorted(p.name for p in (exp / "pictures" / "mix00000").iterdir())
    assert pictures == ["001ep.png", "002ep.png"]

    # The saved weights are those of the model that the config describes.
    model = build_model(load_config(exp / "config.yaml"), with_teacher=False)
    load_weights(model, exp / "valid.si_sdr_i.best.pth")

    # Killed while writing the checkpoint: half a file. The one before it serves.
    checkpoint = exp / "checkpoint.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    caplog.clear()
    argv = train_command(corpus, config(max_epoch=3), exp, "--resume", "true")
    assert main(argv) == 0
    assert epochs_logged(caplog) == [2, 3]
    assert any("is incomplete" in r.getMessage() for r in caplog.records)

    # Another model: an error, not a silent start from scratch.
    other = config(separator_conf={**MODEL_OPTIONS["separator_conf"], "channels": 4})
    states = {"model": {}, "reporter": {}, "optimizers": [], "schedulers": []}
    torch.save(states, checkpoint)
    assert main(train_command(corpus, other, exp, "--resume", "true")) == 2


def test_several_numbers_of_sources(corpus, config, tmp_path, caplog):
    """Batches of 1, 2 and 3 sources train one network; the number of batches holds."""
    caplog.set_level("INFO")
    options = ["--max_epoch", "2", "--num_att_plot", "0", "--log_interval", "1"]
    options += ["--dataset_conf", "num_sources=[1,2,3]"]
    assert main(train_command(corpus, config(), tmp_path / "exp", *options)) == 0
    messages = [record.getMessage() for record in caplog.records]
    assert any("num_sources=1, 2, 3" in message for message in messages)
    for epoch in (1, 2):
        steps = [m for m in messages if f"{epoch}epoch:train:" in m]
        assert len(steps) == MODEL_OPTIONS["num_iters_per_epoch"]


def test_training_is_reproducible(corpus, config, tmp_path):
    weights = []
    for name in ("a", "b"):
        exp = tmp_path / name
        options = ["--max_epoch", "1", "--num_att_plot", "0"]
        if name == "b":
            options += ["--num_workers", "2"]
        assert main(train_command(corpus, config(), exp, *options)) == 0
        weights.append(torch.load(exp / "1epoch.pth", weights_only=True))
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_config_dry_run(path, corpus, tmp_path, without_initial_values):
    """Every shipped config builds its model, optimizer and scheduler."""
    argv = train_command(corpus, path, tmp_path / "exp", "--dry_run", "true")
    options = read_config(path)
    if options.get("teacher") == "clap":
        argv += ["--teacher_conf", "checkpoint=random"]
    if "pretrained" in options.get("visual_adapter_conf", {}):
        argv += ["--visual_adapter_conf", "pretrained=random"]
    if "new_queries" in options["separator_conf"]:
        trained = tmp_path / "trained.yaml"
        trained.write_text("classes: [low, mid, high]\n")
        argv += ["--classes_from", str(trained)]
    assert main(argv) == 0
    written = yaml.safe_load((tmp_path / "exp" / "config.yaml").read_text())
    for key, value in options.items():
        if key.endswith("_conf") and isinstance(value, dict):
            for k, v in value.items():
                if k not in ("checkpoint", "pretrained"):
                    assert written[key][k] == v, (key, k)


def test_default_config_is_the_papers():
    link = REPOSITORY / "conf" / "train.yaml"
    assert link.resolve().name == "train_avsep_hfra.yaml"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"separator_conf": {"chanels": 4}}, "unknown key(s) chanels"),
        ({"separator_conf": {"fusion": "early"}}, "hierarchical"),
        ({"model_conf": {"mask_maximum": 4}}, "unknown key(s) mask_maximum"),
        ({"dataset_conf": {"segments": 4}}, "unknown key(s) segments"),
        ({"criterions": [{"name": "mse"}]}, "spectrogram_l1"),
        ({"criterions": [{"name": "alignment"}]}, "needs a teacher"),
        ({"criterions": [{"name": "spectrogram_l1", "wheight": 1}]}, "wheight"),
        (
            {
                "criterions": [{"name": "binary_mask_bce"}],
                "model_conf": {"mask_max": 5},
            },
            "mask_max",
        ),
        ({"dataset_conf": {"segment_samples": 10**6}}, "shorter"),
    ],
)
def test_bad_config(changes, message, corpus, config, tmp_path, capsys):
    assert main(train_command(corpus, config(**changes), tmp_path / "exp")) == 2
    assert message in capsys.readouterr().err


def test_unknown_yaml_key(corpus, config, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(train_command(corpus, config(separatr="hfra"), tmp_path / "exp"))
    assert error.value.code == 2
    assert "separatr" in capsys.readouterr().err


def test_stale_shape_files(corpus, config, tmp_path, capsys):
    argv = train_command(corpus, config(), tmp_path / "exp")
    shape = tmp_path / "speech_ref1_shape"
    shape.write_text("other 5\n")
    argv[argv.index("--train_shape_file") + 1] = str(shape)
    assert main(argv) == 2
    assert "stage 5" in capsys.readouterr().err


def test_disk_full(corpus, config, tmp_path, monkeypatch, capsys):
    """A checkpoint that cannot be written stops training, with what to do."""
    with open("/dev/full", "wb") as full, pytest.raises(RuntimeError) as error:
        torch.save({"a": torch.zeros(1 << 20)}, full.name)

    def save(*args, **kwargs):
        raise error.value

    monkeypatch.setattr(torch, "save", save)
    options = ["--num_att_plot", "0"]
    assert main(train_command(corpus, config(), tmp_path / "exp", *options)) == 2
    assert "disk space" in capsys.readouterr().err


def test_help_is_quick(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["avsep_train", "--help"])
    assert main() == 0
    assert "--dataset_conf" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("frozen", "keeps"),
    [
        ([], False),
        (["visual_adapter.projection"], False),
        (["visual_adapter.features"], True),
        (["visual_adapter"], True),
    ],
)
def test_what_freeze_param_names_keeps_its_statistics(frozen, keeps, monkeypatch):
    """Also where the adapter's frozen_statistics would collect others."""
    from espnet2_avsep.tasks.avsep import AVSeparationTask

    conf = {"embedding_dim": 4, "size": 32, "pretrained": "random"}
    conf.update(train_features=False, frozen_statistics="batch")
    options = {
        **MODEL_OPTIONS,
        "encoder": "stft",
        "decoder": "stft",
        "separator": "hfra",
        "visual_adapter": "resnet18_dilated",
        "visual_adapter_conf": conf,
        "teacher": None,
        "phases": [],
        "freeze_param": frozen,
    }
    monkeypatch.setattr(AVSeparationTask, "_complete_classes", lambda args: None)
    model = AVSeparationTask.build_model(argparse.Namespace(**options)).train()
    norm = model.visual_adapter.features.bn1
    before = norm.running_mean.clone()
    model.visual_adapter(torch.rand(1, 2, 1, 3, 32, 32) * 255)
    assert torch.equal(norm.running_mean, before) == keeps


def test_a_scheduler_of_an_optimizer_that_there_is_not_has_no_effect(
    corpus, config, tmp_path, caplog
):
    path = config(scheduler2="multisteplr", scheduler2_conf={"milestones": [1]})
    argv = train_command(corpus, path, tmp_path / "exp", "--dry_run", "true")
    assert main(argv) == 0
    assert "scheduler2 is multisteplr, but there is no optim2" in caplog.text


def test_options_of_drawn_mixtures_have_no_effect_on_listed_ones(
    corpus, config, tmp_path, caplog
):
    data = {**MODEL_OPTIONS["dataset_conf"], "gain_range": [0.5, 1.5]}
    path = config(dataset_conf=data, max_epoch=1, num_iters_per_epoch=1)
    argv = train_command(corpus, path, tmp_path / "exp")
    first = argv.index("--train_data_path_and_name_and_type")
    valid = argv.index("--valid_data_path_and_name_and_type")
    listed = argv[valid : argv.index("--train_shape_file")]
    trained = [word.replace("--valid_data", "--train_data") for word in listed]
    assert main([*argv[:first], *trained, *listed]) == 0
    warnings = [r.getMessage() for r in caplog.records if "no effect" in r.getMessage()]
    assert len(warnings) == 1 and "gain_range" in warnings[0]
