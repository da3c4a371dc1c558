"""Training with a loss that classifies: labels come with both kinds of data."""

import math
from types import SimpleNamespace

import pytest
import torch
import yaml

from espnet2_avsep import SeparateAV
from espnet2_avsep.bin.train.train import main
from espnet2_avsep.errors import InputError
from espnet2_avsep.tasks.avsep import AVSeparationTask
from tests.support.tiny_corpus import MODEL_OPTIONS, make_tiny_corpus, train_command

PAIRS = [("low", "high"), ("mid", "top"), ("top", "low"), ("high", "new")]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = make_tiny_corpus(tmp_path_factory.mktemp("corpus"))
    lines = ["mix_id\tclip1\tspk1\tclip2\tspk2"]
    lines += [f"mix{i:05d}\t{a}\t{a}\t{b}\t{b}" for i, (a, b) in enumerate(PAIRS)]
    (root / "valid" / "mixtures.tsv").write_text("\n".join(lines) + "\n")
    return root


def run(corpus, folder, num_classes=5, labels=True, classify=True):
    criterions = [{"name": "ratio_mask_l1"}]
    if classify:
        conf = {"num_classes": num_classes}
        criterions.append(
            {"name": "object_classification", "weight": 0.05, "conf": conf}
        )
    options = {
        **MODEL_OPTIONS,
        "criterions": criterions,
        "dataset_conf": {**MODEL_OPTIONS["dataset_conf"], "labels": labels},
        "max_epoch": 1,
        "num_iters_per_epoch": 2,
        "num_att_plot": 1,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(options))
    return main(train_command(corpus, folder / "train.yaml", folder / "exp"))


def test_trains_and_separates(corpus, tmp_path):
    assert run(corpus, tmp_path) == 0
    exp = tmp_path / "exp"
    weights = torch.load(exp / "valid.si_sdr_i.best.pth", weights_only=True)
    name = "criterions.object_classification.network.fc.weight"
    assert weights[name].shape == (5, 512)
    log = torch.load(exp / "checkpoint.pth", weights_only=False)["reporter"]
    for part in ("train", "valid"):
        value = log["stats"][1][part]["object_classification"]
        assert 0 < value < math.inf
    SeparateAV.from_pretrained(exp)


def test_a_mixture_without_classes_is_named(tmp_path):
    table = tmp_path / "wav.scp"
    table.write_text("a a.wav\nb b.wav\n")
    lines = "mix_id\tclip1\tspk1\na\tx\ttuba\n"
    (tmp_path / "mixtures.tsv").write_text(lines)
    args = SimpleNamespace(
        classes=["tuba"],
        criterions=[{"name": "object_classification", "conf": {"num_classes": 2}}],
    )
    with pytest.raises(InputError, match="mixtures.tsv: does not list b of .*wav.scp"):
        AVSeparationTask._label_tables(args, str(table))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 4}, "num_classes to 5"),
        ({"labels": False}, "go together"),
        ({"classify": False}, "go together"),
    ],
)
def test_what_does_not_go_together(corpus, tmp_path, capsys, options, message):
    assert run(corpus, tmp_path, **options) == 2
    assert message in capsys.readouterr().err
