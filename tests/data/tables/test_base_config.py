"""Configurations with a base."""

from pathlib import Path

import pytest

from espnet2_avsep.data.tables.base_config import (
    config_words,
    merge,
    read_config,
    write_config,
)
from espnet2_avsep.errors import InputError

TUNING = Path(__file__).resolve().parents[3] / "conf" / "tuning"


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / "own.yaml"


def test_own_values_replace_those_of_the_base(tmp_path):
    path = write(
        tmp_path,
        first="sample_rate: 11625\nmax_epoch: 9\ncriterions: [{name: a}, {name: b}]\n",
        second="base: first.yaml\nmax_epoch: 50\nteacher: clap\n",
        own="base: second.yaml\nteacher: null\ncriterions: [{name: c}]\n",
    )
    assert read_config(path) == {
        "sample_rate": 11625,
        "max_epoch": 50,
        "teacher": None,
        "criterions": [{"name": "c"}],
    }


def test_options_of_a_part_are_merged_unless_another_part_is_chosen():
    base = {"optim": "adam", "optim_conf": {"lr": 1e-4, "fused": True}}
    own = {"optim_conf": {"lr": 1e-3}}
    assert merge(base, own)["optim_conf"] == {"lr": 1e-3, "fused": True}
    assert base["optim_conf"] == {"lr": 1e-4, "fused": True}
    other = merge(base, {"optim": "sgd", "optim_conf": {"lr": 1e-3}})
    assert other == {"optim": "sgd", "optim_conf": {"lr": 1e-3}}
    assert merge(base, {"optim": "sgd"}) == {"optim": "sgd"}
    # The same choice, written again, changes nothing.
    assert merge(base, {"optim": "adam", **own})["optim_conf"]["fused"] is True
    assert merge(base, {"optim_conf": None})["optim_conf"] is None


def test_scores_of_the_base_are_not_taken_over():
    base = {"system": "HFRA", "published": [{"sdr": 6.72}], "seed": 0}
    assert merge(base, {"seed": 1}) == {"seed": 1}


def test_a_file_without_a_base_is_returned_as_it_is(tmp_path):
    path = write(tmp_path, own="seed: 3\nsystem: X\n")
    assert read_config(path) == {"seed": 3, "system": "X"}


@pytest.mark.parametrize("name", ["3", "../first.yaml", "[a.yaml]", "a/b.yaml", "''"])
def test_a_base_must_be_a_file_name(name, tmp_path):
    with pytest.raises(InputError, match="own.yaml: base is .* in the same folder"):
        read_config(write(tmp_path, own=f"base: {name}\n"))


def test_a_missing_base_is_named(tmp_path):
    with pytest.raises(InputError, match=r"own.yaml: base is x.yaml, but there is no"):
        read_config(write(tmp_path, own="base: x.yaml\n"))


def test_a_file_that_is_its_own_base(tmp_path):
    path = write(tmp_path, own="base: other.yaml\n", other="base: own.yaml\n")
    with pytest.raises(InputError, match="more than 5 bases in a row"):
        read_config(path)


@pytest.mark.parametrize("path", sorted(TUNING.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configs_are_complete(path):
    """Each has a name and scores of its own, and nothing repeats its base."""
    text = path.read_text(encoding="utf-8")
    config = read_config(path)
    assert "base" not in config and config["system"]
    bases = [line for line in text.splitlines() if line.startswith("base: ")]
    if bases:
        base = read_config(path.with_name(bases[0].split()[1]))
        own = read_config(path)
        repeated = [
            key
            for key in base
            if f"\n{key}:" in text and own.get(key) == base[key] and key != "published"
        ]
        assert repeated == []


def test_a_link_finds_the_base_beside_its_target(tmp_path):
    """conf/train.yaml is a link to a file of conf/tuning, where the base is."""
    tuning = tmp_path / "tuning"
    tuning.mkdir()
    write(tuning, first="max_epoch: 9\nseed: 3\n", own="base: first.yaml\nseed: 4\n")
    link = tmp_path / "train.yaml"
    link.symlink_to("tuning/own.yaml")
    assert read_config(link) == {"max_epoch": 9, "seed": 4}


def test_a_written_config_is_complete(tmp_path):
    path = write(
        tmp_path,
        first="trained: false\nmodel_conf: {num_log_bins: 256}\n",
        own="base: first.yaml\nsystem: X\n",
    )
    write_config(path, tmp_path / "exp.yaml")
    written = read_config(tmp_path / "exp.yaml")
    assert written == {"config": str(path), **read_config(path)}
    assert "base" not in written


def test_options_as_words(tmp_path):
    path = write(
        tmp_path,
        first="visual_fps: 8\nbox_score: 0.3\n",
        own="base: first.yaml\nbox_score: 0.5\nvisual_on: true\nbox_size:\n",
    )
    assert config_words(path, ["visual_", "box_"]) == [
        *("--visual_fps", "8", "--box_score", "0.5"),
        *("--visual_on", "true", "--box_size", ""),
    ]
    with pytest.raises(InputError, match="has 'box_score'; expected only visual_"):
        config_words(path, ["visual_"])
    write(tmp_path, own="visual_fps: {a: 1}\n")
    with pytest.raises(InputError, match="visual_fps is .*; expected a word or a"):
        config_words(path, ["visual_"])
