"""Every configuration of conf/tuning trains a few steps at a reduced size."""

import argparse
import math
from pathlib import Path

import pytest
import torch

from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.model.phases import parse_phases
from espnet2_avsep.registry import visual_adapter_choices
from espnet2_avsep.tasks.choices import build_model
from espnet2_avsep.tasks.optim_groups import parameter_groups, split_by_optimizer
from espnet2_avsep.tasks.parts import separator_without_weights

TUNING = Path(__file__).resolve().parents[2] / "conf" / "tuning"
CONFIGS = sorted(TUNING.glob("train_avsep_*.yaml"))
EMBEDDING = 512
every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)


class Teacher(torch.nn.Module):
    """Replaces CLAP, which test_shipped_config_dry_run builds."""

    def forward(self, wav, fs, keys=None):
        return torch.ones(len(wav), EMBEDDING)


def reduced(path: Path) -> argparse.Namespace:
    """Read a config; make the network narrow and take pretrained weights for random."""
    config = read_config(path)
    defaults = {"teacher": None, "visual_adapter_conf": {}, "optim_groups": []}
    defaults["optim2"] = None
    config = {**defaults, **config}
    # The least for seven levels.
    config["model_conf"] = {**config["model_conf"], "num_log_bins": 128}
    separator = config["separator_conf"]
    if isinstance(separator.get("channels"), list):
        separator["channels"] = [4] * len(separator["channels"])
    elif config["separator"] == "query":
        # Two channels in each of the eight groups of the audio attention. Weights of
        # N(0, 0.001) learn nothing in four steps.
        separator.update(channels=16, dim=32, heads=4, feedforward_dim=32)
        separator.pop("initialisation", None)
    elif "channels" in separator:
        separator["channels"] = 4
    if "grounding_channels" in separator:
        separator["grounding_channels"] = 4
    adapter = config["visual_adapter_conf"]
    if "pretrained" in adapter:
        size = visual_adapter_choices[config["visual_adapter"]].small_size
        adapter.update(pretrained="random", size=size)
    return argparse.Namespace(**config)


def batch_of(config: argparse.Namespace) -> dict:
    """Generated mixtures of 16 hops, as the dataset would give them."""
    generator = torch.Generator().manual_seed(0)
    data = config.dataset_conf
    frames = data.get("visual_frames", 1)
    shape = (2, frames, EMBEDDING)
    takes_frames = visual_adapter_choices[config.visual_adapter].takes_frames
    separator = separator_without_weights(config)
    if takes_frames:
        shape = (2, frames, 3, 40, 40)
    batch = {"utt_id": ["a", "b"]}
    samples = 15 * config.encoder_conf["hop_length"]
    silent = data.get("silent_sources")
    silent = silent if isinstance(silent, list) else []
    for n in range(1, data["num_sources"] + 1):
        wav = torch.randn(2, samples, generator=generator) / 10
        wav *= n not in silent
        batch[f"speech_ref{n}"] = wav * torch.tensor([[1.0], [0.1 * n]])
        visual = torch.randn(shape, generator=generator)
        if takes_frames:
            visual = (visual * 50 + 128).clamp(0, 255).byte()
        if data.get("labels"):
            batch[f"label_ref{n}"] = torch.tensor([n, 2 * n])
        batch[f"visual_ref{n}"] = visual
        if separator.needs_motion:
            steps = (2, 5, separator.motion_dim)
            batch[f"motion_ref{n}"] = torch.randn(steps, generator=generator)
            batch[f"motion_ref{n}_lengths"] = torch.tensor([n, 5])
    return batch


@every_config
def test_trains(path):
    config = reduced(path)
    torch.manual_seed(0)
    model = build_model(config, with_teacher=False)
    if config.teacher is not None:
        model._teacher = (Teacher(),)
    groups = parameter_groups(model, config.optim_groups)
    first, second = split_by_optimizer(groups)
    assert bool(second) == bool(config.optim2)
    optimizer = torch.optim.Adam([*first, *second], lr=1e-3, fused=True)
    batch = batch_of(config)
    losses = []
    for _ in range(4):
        loss, stats, weight = model(**batch)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.norm().isfinite(), name
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[1:]) < losses[0], losses
    assert weight == 2
    assert set(stats) >= {entry["name"] for entry in config.criterions}
    model.eval()
    visual, conditions = model.source_inputs(batch)
    tracks, mask = model.separate(batch["speech_ref1"], visual, **conditions)
    shape = (2, config.dataset_conf["num_sources"])
    assert tracks.shape[:2] == mask.shape[:2] == shape and tracks.isfinite().all()
    assert mask.min() >= 0
    if "mask_max" in config.model_conf:
        assert mask.max() <= config.model_conf["mask_max"]


@every_config
def test_phases_are_those_of_the_separator(path, without_initial_values):
    config = reduced(path)
    model = build_model(config, with_teacher=False)
    learning = [n for n, p in model.named_parameters() if p.requires_grad]
    entries = getattr(config, "phases", [])
    phases = parse_phases(entries, config.max_epoch, model.separator.phases, learning)
    assert [phase.name for phase in phases] == [entry["name"] for entry in entries]
    assert bool(phases) == bool(model.separator.phases)


@every_config
def test_head_names_the_system_and_its_published_scores(path):
    text = path.read_text(encoding="utf-8")
    config = read_config(path)
    assert text.startswith("# ") and config["system"]
    head = text[: text.index("system:")]
    for row in config["published"]:
        assert set(row) == {"corpus", "sdr", "sir", "sar", "source", "protocol"}
        assert f"{row['sdr']:.2f}" in head or row["corpus"] != "MUSIC", path


RELEASED = {  # program -> what it has; see docs of the options
    "hfra": (11625, 1024, 65280, True, "zeros", 3, 1, 1.0),
    "clipsep_late": (16000, 1024, 65535, True, "zeros", 3, 1, 1.0),
    "clipsep_middle": (16000, 1024, 65535, True, "zeros", 3, 1, 1.0),
    "sound_of_pixels": (11025, 1022, 65535, True, "reflect", 3, 24, math.inf),
    "co_separation": (11025, 1022, 65535, True, "reflect", 1, None, math.inf),
    "predictive_coding": (11025, 1022, 65535, False, "zeros", 3, 24, math.inf),
    "iquery": (11025, 1022, 65535, False, "zeros", 3, 1, math.inf),
    "dgfnet": (11025, 1022, 65535, True, "zeros", 3, 1, math.inf),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_configs_have_what_the_programs_have(name):
    path = TUNING / f"train_avsep_{name}_released.yaml"
    config = read_config(path)
    model, data = config["model_conf"], config["dataset_conf"]
    assert RELEASED[name] == (
        config["sample_rate"],
        config["encoder_conf"]["n_fft"],
        data["segment_samples"],
        model.get("warp_align_corners", True),
        model.get("stft_padding", "reflect"),
        data["visual_frames"],
        data.get("visual_stride"),
        config["grad_clip"],
    )
    assert config["decoder_conf"] == config["encoder_conf"]
    assert data["gain_range"] == [0.5, 1.5] and data["clip"] is True
    assert model["mask_max"] == 1.0 and "mask_rounding" not in model
    separator = config["separator_conf"]
    if name in ("iquery", "dgfnet"):
        assert data["different_class"] is True and data["repeat"] == 40
        assert separator["transformer_initialisation"] == "xavier"
        assert separator["end_bias"] is separator["output_bias"] is False
        adapter = config["visual_adapter_conf"]
        assert adapter["train_features"] is False and adapter["dilate"] is True
        assert adapter["frozen_statistics"] == "batch"
    elif name == "co_separation":
        assert separator["initialisation"] == "co_separation"
    elif name != "predictive_coding":
        assert separator["initialisation"] == "sound_of_pixels"
        assert separator["end_bias"] is False
    head = path.read_text(encoding="utf-8").split("system:")[0]
    assert "# Where we differ from the released code:" in head


def test_the_published_scores_of_table_6():
    """HFRA, table 6: backbone, fusion, alignment -> SDR / SIR / SAR on MUSIC."""
    expected = {
        "hfra_resnet18_late": ("late", False, 3.84, 9.66, 9.32),
        "hfra_middle": ("middle", False, 5.57, 12.99, 8.60),
        "hfra_late": ("late", False, 5.86, 11.64, 9.72),
        "hfra_late_align": ("late", True, 6.07, 12.10, 9.73),
        "hfra_hierarchical": ("hierarchical", False, 6.65, 12.39, 10.11),
        "hfra": ("hierarchical", True, 6.72, 12.60, 10.21),
    }
    for name, (fusion, align, *scores) in expected.items():
        config = read_config(TUNING / f"train_avsep_{name}.yaml")
        assert config["separator_conf"]["fusion"] == fusion
        criterions = {entry["name"] for entry in config["criterions"]}
        assert ("alignment" in criterions) == align == bool(config.get("teacher"))
        row = config["published"][0]
        assert [row["sdr"], row["sir"], row["sar"]] == scores, name
        assert row["corpus"] == "MUSIC"


def test_the_published_scores_of_dgfnets_table_3():
    """Fusion, audio attention -> SDR / SIR / SAR on MUSIC; iQuery is the baseline."""
    expected = {
        "iquery": ("none", None, 10.63, 15.96, 13.71),
        "dgfnet_attention": ("none", "every", 10.95, 15.56, 14.39),
        "dgfnet_mul": ("multiply", None, 10.88, 15.66, 14.06),
        "dgfnet_gate": ("dynamic", None, 11.17, 15.97, 14.41),
        "dgfnet": ("dynamic", "every", 11.25, 16.22, 14.39),
    }
    ablated = []
    for name, (gate, attention, *scores) in expected.items():
        config = read_config(TUNING / f"train_avsep_{name}.yaml")
        assert config["separator_conf"].pop("gate") == gate
        assert config["separator_conf"].pop("audio_attention") == attention
        row = config.pop("published")[0]
        assert [row["sdr"], row["sir"], row["sar"]] == scores, name
        config.pop("system")
        ablated.append(config)
    assert all(config == ablated[0] for config in ablated)


@pytest.mark.parametrize(
    "name", ["resnet18_late", "middle", "late", "late_align", "hierarchical"]
)
def test_ablations_differ_from_the_paper_in_what_they_ablate_alone(name):
    paper, ablation = (
        read_config(TUNING / f"train_avsep_{stem}.yaml")
        for stem in ("hfra", f"hfra_{name}")
    )
    for config in (paper, ablation):
        for key in ("system", "published", "teacher", "teacher_conf", "criterions"):
            config.pop(key, None)
        config.pop("visual_encoder", None)
        config["separator_conf"].pop("fusion")
    assert ablation == paper


@pytest.mark.parametrize("name", ["iquery", "dgfnet", "dgfnet_released"])
def test_masks_of_queries_begin_in_the_middle_of_the_ratios(name):
    """Masks of 5 sigmoid(logit) began at 2.5: iQuery learned nothing in 300 steps."""
    config = reduced(TUNING / f"train_avsep_{name}.yaml")
    torch.manual_seed(0)
    model = build_model(config, with_teacher=False).eval()
    batch = batch_of(config)
    visual, conditions = model.source_inputs(batch)
    _, mask = model.separate(batch["speech_ref1"], visual, **conditions)
    assert 0.3 < mask.mean() < 0.7
