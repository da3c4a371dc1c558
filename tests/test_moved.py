"""Modules under the names that they had in version 0.1."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from espnet2_avsep import Region
from espnet2_avsep.moved import MOVED, MovedModules, present_name
from tests.support.media_fixtures import read_number, write_video


@pytest.mark.parametrize("former", MOVED)
def test_the_former_name_is_the_same_module(former):
    present = importlib.import_module(f"espnet2_avsep.{MOVED[former]}")
    spec = present.__spec__
    assert importlib.import_module(f"espnet2_avsep.{former}") is present
    assert present.__name__ == f"espnet2_avsep.{MOVED[former]}"
    assert present.__spec__ is spec and spec.name == present.__name__


def test_names_of_0_1_in_a_script():
    code = "from espnet2_avsep.separate import SeparateAV; print(SeparateAV.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "espnet2_avsep.inference.separate\n", done.stderr


def test_modules_of_a_moved_package():
    former = importlib.import_module("espnet2_avsep.corpus.tree")
    assert former is importlib.import_module("espnet2_avsep.corpus.tree")
    assert present_name("data.corpus.tree") == "corpus.tree"
    assert present_name("data.corpus_tree") == ""
    with pytest.raises(ModuleNotFoundError, match="espnet2_avsep.corpus.nothing"):
        importlib.import_module("espnet2_avsep.corpus.nothing")


def test_other_names_are_not_found():
    finder = MovedModules()
    assert finder.find_spec("separate") is None
    assert finder.find_spec("espnet2_avsep.nothing") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("espnet2_avsep.bin.nothing")


def test_functions_of_0_1_that_scripts_import(tmp_path):
    former = importlib.import_module("espnet2_avsep.prompt_reader")
    path = write_video(tmp_path / "clip.mp4", frames=50, fps=25)
    looks = [(time, read_number(cut)) for time, cut in former._looks(Region(path))]
    assert looks == [(0.5, 12), (1.5, 37)]
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(picture).save(tmp_path / "p.png")
    assert np.array_equal(former._open_picture(tmp_path / "p.png", 0), picture)
    assert np.array_equal(former._as_picture(picture, 0), picture)
