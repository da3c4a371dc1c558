"""Containers with a numeric user (docker run -u) and a home that is read-only."""

import getpass
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from espnet2_avsep import environment

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment without the variables, its temporary folder and its home."""
    for name in NAMES:
        monkeypatch.setenv(name, "x")  # so that what is set here is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(environment.tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def test_user_without_a_name(bare, monkeypatch):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    environment.prepare_environment()
    assert getpass.getuser() == f"uid{os.getuid()}"


def test_torch_imports_for_a_user_without_a_name():
    """torch 2.11 raised KeyError in torch._inductor, which torchvision imports."""
    program = """
import os, pwd
# torch leaves the last of these to child processes, once it has asked for the name.
for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR"):
    os.environ.pop(name, None)
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
import espnet2_avsep
from torch._inductor.runtime.cache_dir_utils import cache_dir
print(cache_dir())
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"uid{os.getuid()}" in done.stdout


def test_a_known_user_keeps_its_name(bare):
    environment.prepare_environment()
    assert "USER" not in os.environ


def test_home_that_cannot_be_written(bare):
    environment.prepare_environment()  # there is no such home
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        folder = Path(os.environ[name])
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        assert bare / "tmp" in folder.parents
    first = os.environ.pop("NUMBA_CACHE_DIR")
    environment.prepare_environment()
    assert os.environ["NUMBA_CACHE_DIR"] == first


def test_cache_folder_that_others_can_write_is_not_used(bare):
    shared = bare / "tmp" / f"espnet2_avsep-{os.getuid()}"
    shared.mkdir()
    shared.chmod(0o777)
    environment.prepare_environment()
    assert shared not in Path(os.environ["NUMBA_CACHE_DIR"]).parents


def test_writable_home_and_given_folders_are_kept(bare, monkeypatch):
    (bare / "home").mkdir()
    environment.prepare_environment()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setenv("HOME", str(bare / "none"))
    monkeypatch.setenv("MPLCONFIGDIR", "/given")
    environment.prepare_environment()
    assert os.environ["MPLCONFIGDIR"] == "/given"


def test_processes_that_compile_into_one_cache_take_turns(bare):
    """Two at once left a cache with which librosa.pyin ended in a crash."""
    program = """
import fcntl, sys
with open(sys.argv[1]) as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waits")
    else:
        print("compiles")
"""

    def other():
        lock = bare / "tmp" / f"espnet2_avsep-{os.getuid()}" / "numba.lock"
        command = [sys.executable, "-c", program, str(lock)]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    with environment.compiling_alone():
        assert other() == "waits"
    assert other() == "compiles"
