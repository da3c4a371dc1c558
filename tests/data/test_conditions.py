"""A condition of a separator is declared once: everything else reads it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet2_avsep.data import conditions
from espnet2_avsep.data.collate import collate
from espnet2_avsep.data.conditions import LABELS, MOTION, Condition, needed
from espnet2_avsep.data.features import write_ark
from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.listed_mixtures import mixture_dataset
from espnet2_avsep.inference.separate import SeparateAV
from espnet2_avsep.model.espnet_model import ESPnetAVSeparationModel
from espnet2_avsep.tasks.avsep import AVSeparationTask
from tests.data.clip_corpus import write_corpus

DEPTH = Condition("depth", "depth", "depth", "depth maps", "make them", "depth_dim")
SEPARATOR = SimpleNamespace(needs_depth=True, depth_dim=2)


@pytest.fixture
def depth(monkeypatch):
    """Declare another condition, as an entry of data/conditions.py would."""
    everything = {
        "CONDITIONS": (MOTION, LABELS, DEPTH),
        "WITH_ROWS": (MOTION, DEPTH),
    }
    for name, module in list(sys.modules.items()):
        for constant, value in everything.items():
            if name.startswith("espnet2_avsep.") and hasattr(module, constant):
                monkeypatch.setattr(module, constant, value)
    assert needed(SEPARATOR) == [DEPTH]


def write_rows(folder, lengths):
    rows = ((key, np.full((n, 2), n, np.float32)) for key, n in lengths.items())
    write_ark(folder / "depth.scp", folder / "depth.ark", rows)
    return read_scp(folder / "depth.scp")


def test_training_batches_and_the_model(depth, tmp_path):
    corpus = write_corpus(tmp_path)
    lengths = {key: 3 + n for n, key in enumerate(corpus.audio)}
    refs = write_rows(tmp_path, lengths)
    data = MixAndSeparateDataset(
        **corpus.tables(), segment_samples=4096, conditions={"depth": refs}
    )
    keys, batch = collate([data[0], data[1]])
    model = SimpleNamespace(separator=SEPARATOR)
    _, given = ESPnetAVSeparationModel.source_inputs(model, batch)
    assert set(given) == {"depth", "depth_lengths"}
    for b, key in enumerate(keys):
        expected = [lengths[clip] for clip in key.split("+")]
        assert given["depth_lengths"][b].tolist() == expected
        assert given["depth"][b, :, 0, 0].tolist() == expected


def test_task_and_listed_mixtures(depth, tmp_path):
    refs = write_rows(tmp_path, {"a": 4})
    tables = dict.fromkeys(("speech_mix", "visual_ref1", "depth_ref1"), "x.scp")
    assert "depth_ref1" in AVSeparationTask.optional_data_names()
    AVSeparationTask._choose_conditions(tables, SEPARATOR)
    assert "depth_ref1" in tables
    AVSeparationTask._choose_conditions(tables, SimpleNamespace())
    assert "depth_ref1" not in tables
    with pytest.raises(InputError, match="needs depth maps, but depth_ref1 .*make"):
        AVSeparationTask._choose_conditions(tables, SEPARATOR)
    separate = SimpleNamespace(
        model=SimpleNamespace(separator=SEPARATOR), motion_steps=160
    )
    listed = {name: {"a": "-"} for name in ("speech_mix", "visual_ref1")}
    with pytest.raises(InputError, match="depth_ref1 is missing"):
        mixture_dataset(separate, listed, ["a"], 1, tmp_path)
    assert conditions.condition_of("depth_ref1").read(refs["a"], 3).shape == (3, 2)


def test_separation(depth):
    separate = SimpleNamespace(
        model=SimpleNamespace(separator=SEPARATOR),
        classes={},
        motion_steps=160,
        _dataset_conf={"motion_align": "segment"},
    )
    rows = [np.arange(20.0).reshape(10, 2), np.ones((4, 2))]
    assert SeparateAV._conditions(separate, 2, {"depth": rows}) == {}
    told = SeparateAV._rows(separate, "depth", rows, 50, 50, 100)
    assert told["depth_lengths"].tolist() == [[5, 2]]
    assert torch.equal(told["depth"][0, 0, :, 0], torch.arange(10.0, 20.0, 2))
    for given, message in (
        ({}, "depth maps are missing"),
        ({"depth": rows[:1]}, "1 depth were given for 2"),
        ({"depth": [np.ones((2, 3))] * 2}, r"shape \(2, 3\); expected \(steps, 2\)"),
        ({"depth": rows, "classes": ["a", "b"]}, "takes no classes"),
        ({"depth": rows, "sound": 1}, "sound: is not an argument"),
    ):
        with pytest.raises(InputError, match=message):
            SeparateAV._conditions(separate, 2, given)
