"""What is read off files is what the built model says."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from espnet2_avsep import SeparateAV
from espnet2_avsep.data.records.weight_shapes import count_parameters, read_shapes
from espnet2_avsep.inference.model_info import about, read_facts
from espnet2_avsep.registry import separator_choices
from espnet2_avsep.sharing.source import find_model
from espnet2_avsep.visual.adapter import StandardiseAdapter
from espnet2_avsep.weights import write_safetensors
from tests.support.tiny_corpus import DIM
from tests.support.trained_model import make_trained_folder


@pytest.mark.parametrize("name", ["hfra", "mp_net", "tfc_tdf"])
def test_facts_of_files_are_those_of_the_model(tmp_path, name):
    adapter = {"visual_adapter": "standardise", "visual_adapter_conf": {"dim": DIM}}
    changes = {} if name == "hfra" else adapter
    if name != "hfra":
        conf = {**separator_choices[name].tiny, "visual_dim": DIM}
        changes = {**adapter, "separator": name, "separator_conf": conf}
        changes["model_conf"] = {"num_log_bins": 16 if name == "mp_net" else None}
    folder = make_trained_folder(tmp_path / "exp", classes=["cello", None], **changes)
    expected = SeparateAV.from_pretrained(folder).facts
    assert read_facts(find_model(folder)) == expected
    assert expected.classes == ["cello"] and expected.prompt_dim == DIM


def test_no_buffer_of_any_separator_counts_as_a_parameter(tmp_path):
    for name, cls in separator_choices.items():
        model = nn.ModuleList([cls(visual_dim=6, **cls.tiny), StandardiseAdapter(6)])
        expected = sum(value.numel() for value in model.parameters())
        torch.save(model.state_dict(), tmp_path / "a.pth")
        write_safetensors(tmp_path / "a.safetensors", model.state_dict())
        for path in (tmp_path / "a.pth", tmp_path / "a.safetensors"):
            assert count_parameters(read_shapes(path)) == expected, f"{name}, {path}"


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_rate": "x"},
        {"separator": "my_package.my_module:MyClass"},
        {"visual_adapter": "resnet18_dilated"},
        {"separator_conf": {"channels": 4}},
        {"dataset_conf": 5},
        {"classes": [1]},
    ],
)
def test_what_files_do_not_say_is_left_to_the_model(tmp_path, changes):
    import yaml

    folder = make_trained_folder(tmp_path / "exp")
    assert read_facts(find_model(folder)) is not None
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **changes}))
    assert read_facts(find_model(folder)) is None


def test_what_a_model_needs_beside_prompts_is_told(tmp_path):
    folder = make_trained_folder(tmp_path / "exp")
    facts = read_facts(find_model(folder))
    assert "needs" not in about(facts)
    needs = about(facts._replace(needs=["motion features", "classes"]))["needs"]
    assert needs.startswith("motion features and classes of each source")
    (folder / "motion_info.yaml").write_text("encoder: s3d\n")
    assert read_facts(find_model(folder)) is None  # the separator's class tells


def test_info_imports_neither_torch_nor_numpy(tmp_path):
    folder = make_trained_folder(tmp_path / "exp")
    program = (
        "import sys\n"
        "from espnet2_avsep.bin import avsep\n"
        f"status = avsep.main(['info', {str(folder)!r}])\n"
        "print(status, [name for name in ('torch', 'numpy') if name in sys.modules])\n"
    )
    words = [sys.executable, "-c", program]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "0 []", result.stdout + result.stderr
