"""Experiments as options name them."""

from pathlib import Path

from espnet2_avsep.analysis.clip_analysis import split_name


def test_a_folder_whose_name_holds_an_equals_sign(tmp_path, monkeypatch):
    """--avsep_tag lr=0.1 was taken for the folder 0.1, named exp/avsep_lr."""
    monkeypatch.chdir(tmp_path)
    Path("exp/avsep_lr=0.1").mkdir(parents=True)
    folder = Path("exp/avsep_lr=0.1")
    assert split_name("exp/avsep_lr=0.1") == ("", folder)
    assert split_name("ours=exp/avsep_lr=0.1") == ("ours", folder)
    assert split_name("ours=exp/avsep_b") == ("ours", Path("exp/avsep_b"))
    assert split_name("exp/avsep_b") == ("", Path("exp/avsep_b"))
