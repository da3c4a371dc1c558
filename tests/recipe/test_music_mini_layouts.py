"""A corpus of real recordings, where one is at hand, in every layout.

Readers of layouts look at names and lists, so the files laid out here are stand-ins;
which clips there are, and their splits, are the corpus' own. See test_music_mini.py for
where it is looked for.
"""

import importlib.util
import json

import pytest

from espnet2_avsep.data.tables.scp import read_scp
from tests.recipe.real_recipe import REPOSITORY
from tests.recipe.test_music_mini import CORPUS, pytestmark  # noqa: F401
from tests.support import corpus_layouts as layouts

SETS = {"train": "train", "val": "valid", "test": "test"}
PUT = layouts.Stub()


@pytest.fixture(scope="module")
def lists():
    """The corpus' splits; all its clips are in one."""
    found = {
        name: (CORPUS / "splits" / f"{dset}.txt").read_text().split()
        for name, dset in SETS.items()
    }
    listed = json.loads((CORPUS / "MUSIC_solo_videos.json").read_text())["videos"]
    assert sorted(layouts.everything(found)) == sorted(
        f"{category}/{stem}" for category, ids in listed.items() for stem in ids
    )
    return found


def prepare(corpus, folder, data, *options):
    path = REPOSITORY / "local" / f"prepare_{corpus}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    words = [f"--{corpus}_dir", folder, "--data_dir", data, *options]
    assert module.main([str(word) for word in words]) == 0
    return data


def tables(data, start=""):
    """The tables, without what VGGSound's names have more."""
    found = {}
    for dset in SETS.values():
        for name in ("utt2spk", "spk2utt", "utt2clip", "skipped.tsv", "list.txt"):
            text = (data / dset / name).read_text()
            found[dset, name] = text.replace(start, "") if start else text
        for name in ("wav.scp", "video.scp"):
            found[dset, name] = {
                key.removesuffix(start): path.split("/")[-1].split(".")[0][:11]
                for key, path in read_scp(data / dset / name).items()
            }
    return found


@pytest.fixture(scope="module")
def expected(lists, tmp_path_factory):
    """What the corpus as it is gives."""
    data = prepare("music", CORPUS, tmp_path_factory.mktemp("mini") / "data")
    found = tables(data)
    assert [len(found[dset, "wav.scp"]) for dset in SETS.values()] == [50, 15, 20]
    return found


@pytest.mark.parametrize("name", ["json", "bare", *layouts.LAYOUTS])
def test_as_music(tmp_path, lists, expected, name):
    folder = tmp_path / "corpus"
    if name == "json":
        layouts.json_videos(folder, lists, PUT)
    elif name == "bare":
        layouts.bare_tree(folder, lists, PUT)
    else:
        layouts.csv_tree(folder, lists, PUT, layouts.LAYOUTS[name])
    options = ("--splits", CORPUS / "splits")
    if name in layouts.LAYOUTS:  # their own lists are the same
        options = ()
    assert tables(prepare("music", folder, tmp_path / "data", *options)) == expected


@pytest.mark.parametrize("build", [layouts.vggsound, layouts.vggsound_archives])
def test_as_vggsound(tmp_path, lists, expected, build):
    named = {n: [f"{clip}_000000" for clip in clips] for n, clips in lists.items()}
    folder = build(tmp_path / "corpus", named, PUT)
    splits = layouts.write_splits(tmp_path / "splits", named, SETS)
    options = ("--splits", splits, "--extract_dir", tmp_path / "cache")
    data = prepare("vggsound", folder, tmp_path / "data", *options)
    assert tables(data, "_000000") == expected


def test_as_ave(tmp_path, lists, expected):
    folder = layouts.ave(tmp_path / "corpus", lists, PUT)
    assert tables(prepare("ave", folder, tmp_path / "data")) == expected
