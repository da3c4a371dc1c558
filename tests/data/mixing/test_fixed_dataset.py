import numpy as np
import pytest
import soundfile
import torch

from espnet2_avsep.data.collate import collate
from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
from espnet2_avsep.data.tables.scp import read_scp, write_scp
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import write_ark


@pytest.fixture
def tables(tmp_path):
    """Two mixtures of two sources, 100 samples; the wavs hold their own name."""
    rng = np.random.default_rng(0)
    tables = {}
    for name in ("speech_mix", "speech_ref1", "speech_ref2"):
        table = {}
        for key in ("mix1", "mix0"):
            table[key] = str(tmp_path / f"{name}_{key}.wav")
            samples = rng.normal(size=100).astype(np.float32)
            soundfile.write(table[key], samples, 8000, subtype="FLOAT")
        tables[name] = table
    for name in ("visual_ref1", "visual_ref2"):
        base = tmp_path / name
        matrices = {key: rng.normal(size=(1, 4)) for key in ("mix0", "mix1")}
        write_ark(base, {k: v.astype(np.float32) for k, v in matrices.items()})
        tables[name] = str(base) + ".scp"
    return tables


def test_items_are_read_whole_in_the_order_of_the_list(tables):
    dataset = FixedMixtureDataset(tables)
    assert len(dataset) == 2 and dataset.num_samples == 100
    key, item = dataset[0]
    assert key == "mix1" and set(item) == set(tables)
    for name in ("speech_mix", "speech_ref1", "speech_ref2"):
        expected, _ = soundfile.read(tables[name]["mix1"], dtype="float32")
        np.testing.assert_array_equal(item[name], expected)
    assert item["visual_ref2"].shape == (1, 4)


def test_tables_may_be_files(tables, tmp_path):
    path = tmp_path / "mix.scp"
    write_scp(path, tables["speech_mix"])
    dataset = FixedMixtureDataset({"speech_mix": path})
    assert dataset.keys == ["mix0", "mix1"] == list(read_scp(path))


def test_collated_batch(tables):
    dataset = FixedMixtureDataset(tables)
    keys, batch = collate([dataset[0], dataset[1]])
    assert keys == ["mix1", "mix0"]
    assert batch["speech_mix"].shape == (2, 100)
    assert batch["speech_mix"].dtype == torch.float32
    assert batch["visual_ref1"].shape == (2, 1, 4)
    np.testing.assert_array_equal(batch["speech_ref2"][1], dataset[1][1]["speech_ref2"])


def test_lengths_that_differ(tables):
    path = tables["speech_ref2"]["mix0"]
    soundfile.write(path, np.zeros(99), 8000)
    with pytest.raises(InputError, match="ref2_mix0.wav.*99 samples.*mix1.wav has 100"):
        FixedMixtureDataset(tables)


def test_keys_that_differ(tables):
    del tables["speech_ref1"]["mix0"]
    with pytest.raises(InputError, match="speech_ref1 lacks 1 .*speech_mix: mix0"):
        FixedMixtureDataset(tables)


def test_many_missing_keys_are_shortened(tables):
    tables["speech_mix"] = {f"mix{i}": "x.wav" for i in range(50)}
    with pytest.raises(InputError, match="lacks 48 .*mix10, mix11, mix12 and 45 more"):
        FixedMixtureDataset(tables)


@pytest.mark.parametrize("name", ["speech_ref", "speech_ref0", "text", "visual_ref1x"])
def test_unknown_names(tables, name):
    with pytest.raises(InputError, match="is not known"):
        FixedMixtureDataset({name: tables["speech_mix"]})


def test_a_source_that_is_left_out(tables):
    """Training went on with the sources before it."""
    named = {name: table for name, table in tables.items() if name != "speech_ref1"}
    with pytest.raises(
        InputError, match="speech_ref1 is missing, but there is speech_"
    ):
        FixedMixtureDataset(named)


def test_numbers_are_not_read_from_a_file(tables, tmp_path):
    tables["label_ref1"] = tmp_path / "labels"
    with pytest.raises(InputError, match="labels is a file; expected a mapping"):
        FixedMixtureDataset(tables)


def test_empty_tables():
    for tables in ({}, {"speech_mix": {}}):
        with pytest.raises(InputError, match="no mixtures"):
            FixedMixtureDataset(tables)


def test_missing_wav_is_named(tables):
    tables["speech_ref1"]["mix0"] = "/nonexistent/a.wav"
    with pytest.raises(InputError, match="/nonexistent/a.wav.*no such file"):
        FixedMixtureDataset(tables)


def test_collate_refuses_different_shapes():
    items = [("a", {"x": np.zeros(3)}), ("b", {"x": np.zeros(4)})]
    with pytest.raises(InputError, match=r"x of b has the shape \(4,\), that of a"):
        collate(items)


def test_collate_refuses_different_names():
    items = [("a", {"x": np.zeros(3)}), ("b", {"y": np.zeros(3)})]
    with pytest.raises(InputError, match="a has x, b has y"):
        collate(items)
