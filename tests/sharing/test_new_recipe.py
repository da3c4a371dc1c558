"""Recipes out of a wheel, and out of the checkout; the archive of sources."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from espnet2_avsep.bin import avsep_new_recipe
from espnet2_avsep.sharing import recipe

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("espnet2_avsep", "egs2", "conf", "local", "utils")
FILES = ("setup.py", "README.md", "LICENSE", "CHANGELOG.md", "Makefile")
LEFTOVERS = ("data_*", "dump_*", "exp_*", "*_tracks", "*_grounding")
LEFT = shutil.ignore_patterns(
    *("__pycache__", "dump", "exp", "downloads", "*.pyc", "*.egg-info", ".*_cache")
)


def tracked(path):
    """Whether a file belongs to a recipe, not to what a run has left."""
    left = {"data", "dump", "exp", "downloads", "__pycache__", ".ruff_cache"}
    own = path.parts[0] == "egs2" and any(map(Path(path.parts[2]).match, LEFTOVERS))
    return not own and not left & set(path.parts)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist of a copy of the checkout, without network or isolation."""
    root = tmp_path_factory.mktemp("sources")
    for name in PARTS:
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=LEFT)
    for name in (*FILES, "constraints.txt", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    (root / "tests" / "data").mkdir(parents=True)
    (root / "tests" / "data" / "test_x.py").touch()
    # What a run leaves behind stays out of both.
    for name in ("exp", "exp_b", "data_motion", "dump_frames", "duet_tracks"):
        left = root / "egs2" / "music" / name / "model"
        left.mkdir(parents=True)
        (left / "weights.pth").touch()
    script = (
        "from setuptools import build_meta as b\n"
        "print(b.build_sdist('dist'), b.build_wheel('dist'))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return root / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The wheel's files, as an installer that forgets executable bits leaves them."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as z:
        z.extractall(target)
    return target


def run(command, cwd, site):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(site)}
    environment["VIRTUAL_ENV"] = sys.prefix
    environment.pop("MINI_MUSIC", None)
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def test_the_wheel_holds_every_recipe_once(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as z:
        names = [n for n in z.namelist() if n.startswith("espnet2_avsep/recipes/")]
        content = {n.removeprefix("espnet2_avsep/recipes/"): z.read(n) for n in names}
        assert z.getinfo(f"{names[0]}").external_attr >> 16
    expected = {
        str(path.relative_to(ROOT)): path
        for part in ("egs2", "conf", "local", "utils")
        for path in (ROOT / part).rglob("*")
        if path.is_file() and tracked(path.relative_to(ROOT))
        and not (part == "egs2" and path.is_symlink())
    }  # fmt: skip
    assert set(content) == set(expected)
    assert all(content[n] == path.read_bytes() for n, path in expected.items())
    assert b"HFRA" in content["conf/train.yaml"]  # a link in the checkout


def test_the_archive_of_sources_is_the_checkout(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as t:
        members = {m.name.partition("/")[2]: m for m in t.getmembers()}
        link = members["egs2/music/conf"]
        assert link.issym() and link.linkname == "../../conf"
        assert members["egs2/TEMPLATE/avsep1/avsep.sh"].mode & 0o100
        for name in ("setup.py", "Makefile", "tests/data/test_x.py", "conf/train.yaml"):
            assert name in members, name
        assert "espnet2_avsep/report/templates/page.css" in members
        assert not [name for name in members if "weights.pth" in name]
        # Python 3.10 and 3.11 had no filters at first.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        t.extractall(built / "unpacked", **safely)


def test_links_of_recipes_are_what_new_recipe_replaces():
    shared = {*recipe.shared_files(ROOT), *recipe.SHARED_FOLDERS}
    assert {"avsep.sh", "cmd.sh", "path.sh", "db.sh"} < shared
    for name in recipe.list_recipes(ROOT):
        folder = ROOT / "egs2" / name
        links = {path.name for path in folder.iterdir() if path.is_symlink()}
        assert links <= shared, name
        assert {"avsep.sh", *recipe.SHARED_FOLDERS} <= links, name


def test_a_recipe_out_of_the_wheel_runs(installed, tmp_path):
    """Outside of any checkout: the recipe is copied, explains itself, runs stage 1."""
    folder = tmp_path / "somewhere" / "mini"
    command = [sys.executable, "-m", "espnet2_avsep.bin.avsep_new_recipe", folder]
    shown = run([*command, "--corpus", "mini_music"], tmp_path, installed)
    assert f"{folder}: run ./run.sh" in shown
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    for script in ("run.sh", "avsep.sh", "utils/run.pl", "local/data.sh"):
        assert os.access(folder / script, os.X_OK), script
    assert not os.access(folder / "conf" / "train.yaml", os.X_OK)
    assert "--train_set" in run(["./run.sh", "--help"], folder, installed)
    takes = "--train_takes 1 --valid_takes 1 --test_takes 1 --duration 2"
    words = ["--stage", 1, "--stop_stage", 1, "--local_data_opts", takes]
    run(["./run.sh", *words], folder, installed)
    for name in ("train", "valid", "test"):
        table = (folder / "data" / name / "wav.scp").read_text().splitlines()
        assert len(table) == 8
        for line in table:
            assert (folder / line.split()[1]).is_file()


def test_the_checkout_and_the_wheel_give_the_same(installed, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert avsep_new_recipe.main([str(ours), "--corpus", "music"]) == 0
    command = [sys.executable, "-m", "espnet2_avsep.bin.avsep_new_recipe", theirs]
    run([*command, "--corpus", "music"], tmp_path, installed)

    def files(folder):
        return {
            str(path.relative_to(folder)): (path.read_bytes(), os.stat(path).st_mode)
            for path in folder.rglob("*")
            if path.is_file()
        }

    assert files(ours) == files(theirs)
    assert {"run.sh", "README.md", "conf/train.yaml", "local/data.sh"} <= set(
        files(ours)
    )


def test_what_is_there_stays(tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "link"):
        assert avsep_new_recipe.main([str(tmp_path / name)]) == 2
        assert f"{name}: exists already" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert avsep_new_recipe.main([str(tmp_path / "empty")]) == 0
    assert avsep_new_recipe.main([str(tmp_path / "x"), "--corpus", "../music"]) == 2
    assert "choose from ave, mini_music, music," in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("empty", "file", "full", "link")
    ]


def test_what_the_commands_of_the_readmes_leave_is_not_copied(tmp_path, monkeypatch):
    """Tracks, and gigabytes of pictures (--dumpdir dump_frames), came with a recipe."""
    for name in ("egs2/toys/run.sh", f"{recipe.TEMPLATE}/avsep.sh", "utils/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("conf", "local"):
        (tmp_path / name).mkdir()
    for name in ("exp_b", "data_motion_speed", "dump_frames", "duet_tracks", "data"):
        (tmp_path / "egs2/toys" / name).mkdir()
    (tmp_path / "egs2/toys/nohup.out").touch()
    monkeypatch.setattr(recipe, "recipes_root", lambda: tmp_path)
    made = recipe.new_recipe(tmp_path / "made", "toys")
    assert {path.name for path in made.iterdir()} == {
        *("run.sh", "avsep.sh", "conf", "local", "utils")
    }


def test_the_current_folder_may_be_the_new_recipe(tmp_path, monkeypatch):
    """It was renamed over, which is an error there and where a volume is mounted."""
    other = tmp_path / "other"
    folder = tmp_path / "folder"
    folder.mkdir()
    inode = folder.stat().st_ino
    monkeypatch.chdir(folder)
    assert avsep_new_recipe.main(["."]) == 0
    assert avsep_new_recipe.main([str(other)]) == 0
    assert folder.stat().st_ino == inode
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in other.iterdir()} and "run.sh" in names
    assert avsep_new_recipe.main(["."]) == 2


def test_a_package_without_recipes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        recipe.espnet2_avsep, "__file__", str(tmp_path / "p" / "__init__.py")
    )
    assert avsep_new_recipe.main([str(tmp_path / "x")]) == 2
    assert "installed without its recipes" in capsys.readouterr().err
