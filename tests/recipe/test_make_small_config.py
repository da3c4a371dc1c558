"""local/make_small_config.py: what it reduces, and what it leaves as it is."""

import argparse
import importlib.util
from pathlib import Path

import pytest
import yaml

from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.model.phases import parse_phases
from espnet2_avsep.registry import separator_choices, visual_adapter_choices
from espnet2_avsep.separator.query_separator import QuerySeparator
from espnet2_avsep.tasks.choices import build_model

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "conf" / "tuning").glob("train_avsep_*.yaml"))


@pytest.fixture(scope="module")
def script():
    path = ROOT / "local" / "make_small_config.py"
    spec = importlib.util.spec_from_file_location("make_small_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_small_networks_of_every_system(script, path, tmp_path):
    """Read back from the file, built as training builds it; nothing is downloaded."""
    out = tmp_path / "small.yaml"
    argv = ["--config", str(path), "--output", str(out)]
    assert script.main([*argv, "--max_epoch", "3", "--num_iters_per_epoch", "40"]) == 0
    config = yaml.safe_load(out.read_text())
    if path.stem.startswith("train_avsep_tfc_tdf"):  # has a small configuration
        path = path.with_name("train_avsep_tfc_tdf_small.yaml")
    full = read_config(path)
    wave = {}
    if full["criterions"][0]["name"] == "wave_l1":
        wave = {"precision": "bfloat16"}
        full["criterions"] = [{"name": "soft_snr", "weight": 1.0}]
    for item in full["criterions"]:
        if item["name"] == "object_classification":
            item["conf"]["width"] = 8
    if path.stem.endswith("_small") or path.stem.startswith(script.MINI):
        for key in ("system", "separator_conf", "model_conf", "visual_adapter"):
            assert config[key] == full[key], key
    else:
        assert config["system"].startswith(f"{full['system']}, small")
        assert config["model_conf"] == {
            **full["model_conf"],
            "num_log_bins": 128,
            **wave,
        }
    assert ("(random teacher)" in config["system"]) == bool(full.get("teacher"))
    assert config["scheduler_conf"]["warmup_steps_list"] == [0, 12, 120]
    for key in ("separator", "criterions", "encoder_conf", "published"):
        assert config[key] == full[key], key
    kept = {"visual_dim", "fusion", "projection_activation", "cycles", "heads"}
    for key in kept & full["separator_conf"].keys():
        assert config["separator_conf"][key] == full["separator_conf"][key]
    if visual_adapter_choices[config["visual_adapter"]].takes_frames:
        dilated = config["visual_adapter"] == "resnet18_dilated"
        assert config["visual_adapter_conf"]["size"] == (32 if dilated else 64)
        data = config["dataset_conf"]
        assert data["visual_frames"] == 1
        # Flow is of whole pictures.
        whole = separator_choices[config["separator"]].needs_flow
        assert data.get("frame_crop") == (None if whole else 64)
    defaults = {"visual_adapter_conf": {}, "teacher": None}
    model = build_model(argparse.Namespace(**{**defaults, **config}))
    if visual_adapter_choices[config["visual_adapter"]].takes_frames:
        learns = {
            n for n, p in model.visual_adapter.named_parameters() if p.requires_grad
        }
        assert learns and all(name.startswith("projection.") for name in learns)
    size = sum(p.numel() for p in model.separator.parameters())
    assert size < 2e6


def test_levels_of_attention_keep_their_place_at_the_bottleneck():
    """Of 7 levels all but the one next to the bottleneck; so of 5."""
    conf = {"channels": 64, "layers": 7, "audio_attention": [6, 5, 4, 3, 2, 1]}
    assert QuerySeparator.small_conf(conf)["audio_attention"] == [4, 3, 2, 1]


def test_training_for_a_cpu_time(script, tmp_path):
    path, out = ROOT / "conf/tuning/train_avsep_dgfnet.yaml", tmp_path / "small.yaml"
    argv = ["--config", str(path), "--output", str(out), "--train_seconds", "60"]
    assert script.main(argv) == 0
    config = yaml.safe_load(out.read_text())
    assert config["max_train_seconds"] == 60 and config["max_epoch"] == 4
    assert config["scheduler"] is None and "scheduler2" not in config
    assert config["num_iters_per_epoch"] == 1500
    assert config["optim_conf"]["lr"] == 2e-3
    assert config["optim_groups"] == [{"prefix": "separator.transformer.", "lr": 2e-4}]
    assert script.main([*argv, "--num_iters_per_epoch", "9"]) == 2


def test_what_has_no_training_is_refused(script, tmp_path, capsys):
    untrained = ROOT / "conf" / "tuning" / "untrained_rpca.yaml"
    out = tmp_path / "x.yaml"
    assert script.main(["--config", str(untrained), "--output", str(out)]) == 2
    assert "without training" in capsys.readouterr().err
    config = str(CONFIGS[0])
    assert script.main(["--config", config, "--output", str(out), "--max_epoch", "0"])
    assert "--max_epoch 0" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    "max_epoch, epochs", [(10, [6, 2]), (4, [2, 1]), (3, [1, 1]), (2, [1]), (1, [])]
)
def test_phases_keep_their_shares(script, max_epoch, epochs):
    full = read_config(ROOT / "conf/tuning/train_avsep_mp_net.yaml")
    config = script.small(full, max_epoch, 40)
    assert [phase["epochs"] for phase in config["phases"][:-1]] == epochs
    parse_phases(
        config["phases"],
        max_epoch,
        ("minus", "plus", "both"),
        ["separator.minus.x", "separator.plus.x"],
    )
    assert full["phases"][0]["epochs"] == 60
    # Rates are the small configuration's own.
    assert "lr_factor" in full["phases"][-1]
    assert not any("lr_factor" in phase for phase in config["phases"])
