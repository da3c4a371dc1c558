"""Copy a recipe out of the package or the checkout, as a self-contained folder."""

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import List, Optional

import espnet2_avsep
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError

TEMPLATE = "egs2/TEMPLATE/avsep1"
# Of the template, every recipe has all but these; and these folders.
NOT_SHARED = ("README.md", "setup.sh", "prepare_my_corpus.py")
SHARED_FOLDERS = ("conf", "local", "utils")
# What running a recipe leaves in its folder.
_LEFTOVERS = ("data", "data_*", "dump", "dump_*", "exp", "exp_*", "downloads")
_LEFTOVERS += ("*_tracks", "*_grounding", ".dist_init_*", "nohup.out", "__pycache__")


def recipes_root() -> Path:
    """Return the folder of egs2, conf, local and utils.

    That is within the installed package (setup.py puts it there), or the checkout.

    Raises:
        InputError: they are in neither place.
    """
    package = Path(espnet2_avsep.__file__).resolve().parent
    for root in (package / "recipes", package.parent):
        if (root / TEMPLATE / "avsep.sh").is_file():
            return root
    raise InputError(
        f"{package}: was installed without its recipes. Install the wheel or the "
        "checkout of espnet2_avsep again."
    )


def list_recipes(root: Optional[Path] = None) -> List[str]:
    """Return the names of the corpora that have a recipe."""
    root = root or recipes_root()
    folders = sorted((root / "egs2").iterdir())
    return [f.name for f in folders if (f / "run.sh").is_file()]


def shared_files(root: Path) -> List[str]:
    """Return the names of the template's files that belong to every recipe."""
    names = sorted(path.name for path in (root / TEMPLATE).iterdir())
    return [name for name in names if name not in NOT_SHARED]


def new_recipe(folder: PathLike, corpus: str) -> Path:
    """Copy a recipe, with the shared parts in place of links to them.

    Args:
        folder: Where to; it must not exist, or be empty.
        corpus: Which recipe, see :func:`list_recipes`.

    Raises:
        InputError: no such recipe; the folder exists and holds something.
    """
    root, folder = recipes_root(), Path(folder)
    known = list_recipes(root)
    if corpus not in known:
        raise InputError(
            f"--corpus {corpus!r}: there is no such recipe; choose from "
            f"{', '.join(known)}. A recipe for another corpus: see 'Add a corpus' in "
            "the README.md of the package."
        )
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: exists already, and is no folder.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: exists already; give another folder.")
    # An empty folder stays what it is: a mount point, or the current one.
    is_there = folder.is_dir()
    parent = folder if is_there else folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}."))
    try:
        for path in sorted((root / "egs2" / corpus).iterdir()):
            if path.is_symlink() or any(map(path.match, _LEFTOVERS)):
                continue
            _copy(path, temporary / path.name)
        for name in shared_files(root):
            _copy(root / TEMPLATE / name, temporary / name)
        for name in SHARED_FOLDERS:
            _copy(root / name, temporary / name)
        if is_there:
            for path in sorted(temporary.iterdir()):
                path.replace(folder / path.name)
        else:
            os.chmod(temporary, 0o755)
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _copy(source: Path, target: Path) -> None:
    """Copy a file or folder, links followed; scripts are made executable.

    (Not every installer keeps the executable bits of a wheel.)
    """
    if source.is_dir():
        target.mkdir()
        for path in sorted(source.iterdir()):
            if path.name != "__pycache__":
                _copy(path, target / path.name)
        return
    shutil.copyfile(source, target)
    with source.open("rb") as f:
        if f.read(2) == b"#!":
            target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | 0o001)
