"""Names in configs, the classes they lead to, and what these declare."""

import argparse
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from espnet2_avsep import registry
from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.errors import InputError
from espnet2_avsep.registry import (
    Registry,
    check_no_code,
    criterion_choices,
    separator_choices,
)
from espnet2_avsep.separator.abs_separator import AbsAVSeparator
from espnet2_avsep.sharing.source import find_model
from espnet2_avsep.tasks.choices import build_model
from espnet2_avsep.tasks.system_needs import system_needs
from tests.support.trained_model import make_trained_folder

TUNING = Path(__file__).resolve().parents[1] / "conf" / "tuning"
# What configs of version 0.1 can name: these files must load for ever.
NAMES = {
    "encoder": "stft=STFTEncoder",
    "decoder": "stft=STFTDecoder",
    "separator": "hfra=HFRASeparator sound_of_pixels=SoundOfPixelsSeparator "
    "wave_unet=WaveUNetSeparator decoupled_resunet=DecoupledResUNetSeparator "
    "co_separation=CoSeparationSeparator query=QuerySeparator "
    "predictive_coding=PredictiveCodingSeparator tfc_tdf=TFCTDFSeparator "
    "semantic_grouping=SemanticGroupingSeparator mp_net=MPNetSeparator "
    "ccol=CCoLSeparator sound_of_motions=SoundOfMotionsSeparator",
    "visual_adapter": "mean=MeanAdapter standardise=StandardiseAdapter "
    "resnet18_dilated=DilatedResNet18 resnet18_ccol=CCoLResNet18 "
    "resnet18_co_separation=CoSeparationResNet18 "
    "resnet18_predictive_coding=PredictiveCodingResNet18 "
    "resnet18_sound_of_motions=SoundOfMotionsResNet18",
    "teacher": "clap=ClapTeacher precomputed=PrecomputedTeacher",
    "criterion": "spectrogram_l1=SpectrogramL1 binary_mask_bce=BinaryMaskBCE "
    "ratio_mask_l1=RatioMaskL1 recursive_mask=RecursiveMaskLoss wave_l1=WaveL1 "
    "alignment=AlignmentLoss object_classification=ObjectClassification "
    "soft_snr=SoftSNR co_learning=CoLearning presence_bce=PresenceBCE",
    "baseline": "ideal_binary_mask=IdealBinaryMask ideal_ratio_mask=IdealRatioMask "
    "nmf_mfcc=NMFMFCC rpca=RPCA",
}
OWN = """\
from torch import nn

from espnet2_avsep.loss.abs_criterion import AbsCriterion
from espnet2_avsep.separator.abs_separator import AbsAVSeparator


class Nothing(AbsAVSeparator):
    '''Half of the mixture for everybody.'''

    needs_motion = True
    motion_dim = 3
    bottleneck_dim = 4

    def __init__(self, visual_dim: int = 512):
        super().__init__()
        self.visual_dim = visual_dim
        self.level = nn.Linear(visual_dim, 1)

    def forward(self, feature, visual, motion=None, motion_lengths=None):
        logits = self.level(visual)[..., None] + feature
        return logits, feature.new_zeros(len(feature), 4)


class Loss(AbsCriterion):
    '''Of masks.'''

    def forward(self, output):
        return output.mask.mean(dim=(1, 2, 3))


class Unfinished(AbsAVSeparator):
    '''Without a forward().'''


NOT_A_CLASS = 1
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's package of their own."""
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "my_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_package.my_module"
    for name in [n for n in sys.modules if n.startswith("my_package")]:
        del sys.modules[name]


@pytest.mark.parametrize("option", NAMES)
def test_names_of_old_configs_lead_to_the_same_classes(option):
    choices = getattr(registry, f"{option}_choices")
    pairs = [pair.split("=") for pair in NAMES[option].split()]
    assert {name: choices[name].__name__ for name, _ in pairs} == dict(pairs)
    assert set(choices) >= {name for name, _ in pairs}


def test_every_name_is_of_a_class_that_can_be_built():
    for choices in (*registry.REGISTRIES, criterion_choices):
        for name, cls in choices.items():
            assert issubclass(cls, choices.base), name


def test_importing_the_registry_imports_no_class():
    code = "import sys; from espnet2_avsep.registry import separator_choices as s; "
    code += "print(*s); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "hfra" in out and out.endswith("False\n")


def test_an_unknown_name_lists_what_there_is_and_how_to_add_it():
    with pytest.raises(InputError) as error:
        separator_choices["unet"]
    message = str(error.value)
    assert message.startswith(
        "separator: 'unet' is not known (did you mean wave_unet?); "
    )
    assert all(name in message for name in separator_choices)
    assert "espnet2_avsep/separator/unet_separator.py" in message
    assert "my_package.my_module:MyClass" in message
    assert "espnet2_avsep/README.md" in message


@pytest.mark.parametrize("name", [3, ["hfra"], "", "../hfra", "hfra_separator"])
def test_what_is_no_name(name):
    with pytest.raises(InputError, match="is not known"):
        separator_choices.get_class(name)


def test_a_class_of_another_package(own, monkeypatch):
    config = {
        "sample_rate": 2000,
        "encoder": "stft",
        "encoder_conf": {"n_fft": 64, "hop_length": 16},
        "decoder": "stft",
        "decoder_conf": {"n_fft": 64, "hop_length": 16},
        "visual_adapter": "mean",
        "visual_adapter_conf": {},
        "separator": f"{own}:Nothing",
        "separator_conf": {"visual_dim": 5},
        "criterions": [{"name": f"{own}:Loss", "weight": 0.5}],
        "model_conf": {"num_log_bins": 16},
    }
    model = build_model(argparse.Namespace(**config), with_teacher=False)
    assert type(model.separator).__name__ == "Nothing"
    batch = {f"speech_ref{n}": torch.randn(2, 320) for n in (1, 2)}
    batch |= {f"visual_ref{n}": torch.randn(2, 1, 5) for n in (1, 2)}
    with pytest.raises(ValueError, match="expected|give|motion_ref"):
        model(**batch)  # what it declares is asked for
    batch |= {f"motion_ref{n}": torch.randn(2, 7, 3) for n in (1, 2)}
    loss, stats, _ = model(**batch)
    torch.testing.assert_close(loss.detach(), 0.5 * stats["Loss"])
    assert system_needs(config).visual_input == "motion"
    cls = separator_choices[f"{own}:Nothing"]
    for name in ("bottleneck_dim", "motion_dim"):
        with monkeypatch.context() as patch:
            patch.delattr(cls, name)
            with pytest.raises(InputError, match=f"has the {name} None; expected"):
                build_model(argparse.Namespace(**config), with_teacher=False)
    config["separator_conf"] = {"visual_dim": "five"}
    with pytest.raises(InputError, match="separator_conf.visual_dim"):
        build_model(argparse.Namespace(**config))


@pytest.mark.parametrize(
    "path, message",
    [
        ("{own}:Loss", "does not derive|not a class that derives from"),
        ("{own}:NOT_A_CLASS", "not a class that derives from"),
        ("{own}:Missing", "has no 'Missing'"),
        ("{own}:Unfinished", "does not implement forward"),
        ("my_package.other:Nothing", "cannot be imported"),
        (":Nothing", "my_package.my_module:MyClass"),
        ("os:system", "not a class that derives from"),
    ],
)
def test_paths_that_lead_to_no_separator(own, path, message):
    with pytest.raises(InputError, match=message):
        separator_choices[path.format(own=own)]


def test_a_file_with_two_classes_names_them(tmp_path, monkeypatch):
    folder = tmp_path / "parts_of_tests" / "loss"
    folder.mkdir(parents=True)
    code = "from espnet2_avsep.loss.abs_criterion import AbsCriterion\n"
    for name in ("One", "Two", "_Helper"):
        code += f"class {name}(AbsCriterion):\n    def forward(self, output): pass\n"
    (folder / "double.py").write_text(code)
    (folder / "none.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_PACKAGE", "parts_of_tests")
    monkeypatch.setattr(registry, "_ROOT", tmp_path / "parts_of_tests")
    choices = Registry("criterion", criterion_choices._base, "loss")
    assert list(choices) == ["double", "none"]
    for name, message in (("double", r"has 2 .*\(One, Two\)"), ("none", "has 0 ")):
        with pytest.raises(InputError, match=message):
            choices[name]
    for name in [n for n in sys.modules if n.startswith("parts_of_tests")]:
        del sys.modules[name]


def test_a_downloaded_config_imports_no_module(own, tmp_path):
    """The config of a packed model comes from somebody else."""
    folder = make_trained_folder(tmp_path / "model")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["separator"] = f"{own}:Nothing"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    meta = {
        "files": {"model_file": "valid.si_sdr_i.best.pth"},
        "yaml_files": {"train_config": "config.yaml"},
    }
    (folder / "meta.yaml").write_text(yaml.safe_dump(meta))
    with pytest.raises(InputError, match="importing it runs code"):
        find_model(folder)
    assert own not in sys.modules
    losses = {"separator": "hfra", "criterions": [{"name": f"{own}:Loss"}]}
    with pytest.raises(InputError, match="its criterion"):
        check_no_code(losses, "config.yaml")
    separator_choices[f"{own}:Nothing"]  # the user has imported it
    assert find_model(folder).config == folder / "config.yaml"


def test_needs_of_systems():
    """What avsep_table.sh prepares for each."""
    expected = """
        hfra clip None, hfra_resnet18_late resnet18 None, sound_of_pixels frames None,
        iquery motion None, dgfnet_no_motion frames None, sound_of_motions flow None,
        ccol clip 4, ccol_pictures frames 4, wave_unet clip None
    """
    for line in textwrap.dedent(expected).replace("\n", " ").split(","):
        name, kind, number = line.split()
        config = read_config(TUNING / f"train_avsep_{name}.yaml")
        assert " ".join(map(str, system_needs(config))) == f"{kind} {number}", name
    config = read_config(TUNING / "untrained_rpca.yaml")
    assert system_needs(config) == ("clip", 2)


def test_declarations_are_of_the_class():
    """They are read without building a network."""
    for name, cls in separator_choices.items():
        assert issubclass(cls, nn.Module) and cls.tiny, name
        known = {n for n in vars(AbsAVSeparator.__mro__[1]) if not n.startswith("_")}
        assert {"needs_motion", "phases", "small_conf"} <= known
        small = cls.small_conf({"channels": 64, "layers": 7, **cls.tiny})
        assert set(small) >= set(cls.tiny), name


def test_what_a_class_does_not_declare_has_the_value_of_its_base():
    """So that a recipe asks which systems ground without importing torch."""
    for name, cls in separator_choices.items():
        declared = separator_choices.declares(name, "grounds")
        assert declared == (name in ("ccol", "tfc_tdf")), name
        assert declared or cls.grounds is separator_choices.base.grounds, name
    assert separator_choices["ccol"].grounds
    assert separator_choices.declares("my_package.my_module:MySeparator", "grounds")
