"""Style of what is neither .py nor in the package: shell scripts and utils/*.pl."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shell_tools import ROOT, UTILS

FOLDERS = ["utils", "local", "egs2/TEMPLATE/avsep1"]
FOLDERS += [f"egs2/{name}" for name in ("music", "music21", "vggsound", "ave")]
FOLDERS += ["egs2/mini_music"]


def program(name):
    """A program of this Python's environment or of the PATH, or skip the test."""
    here = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join([here, os.environ["PATH"]]))
    return found or pytest.skip(f"{name} is not installed")


def shell_scripts():
    return sorted(
        path
        for folder in FOLDERS
        for path in (ROOT / folder).glob("*.sh")
        if not path.is_symlink()
    )


def test_shell_is_clean():
    scripts = [str(path.relative_to(ROOT)) for path in shell_scripts()]
    assert "egs2/TEMPLATE/avsep1/avsep.sh" in scripts and "utils/run.sh" not in scripts
    command = [program("shellcheck"), "-x", *scripts]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_shell_is_strict_or_sourced():
    """A script that runs stops at the first error; a sourced one sets no options."""
    found = set()
    for path in shell_scripts():
        text = path.read_text()
        title = " ".join(text.split("\n\n")[0].replace("\n#", "").split())
        if re.search(r"; (to be )?sourced\b|\. Sourced\b", title):
            found.add(path.name)
            assert "set -e" not in text, path
        elif "\nexec python3" not in text:
            assert "\nset -euo pipefail\n" in text, path
            assert os.access(path, os.X_OK), path
    assert found >= {"parse_options.sh", "jobs.sh", "path.sh", "cmd.sh", "db.sh"}


def test_python_scripts_are_clean_and_need_nothing():
    scripts = sorted([*UTILS.glob("*.pl"), *UTILS.glob("*.py")])
    assert len(scripts) >= 7
    allowed = set(sys.stdlib_module_names) | {"launcher"}
    for path in scripts:
        text = path.read_text()
        if path.suffix == ".pl":
            assert text.startswith("#!/usr/bin/env python3\n"), path
            assert os.access(path, os.X_OK), path
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in getattr(node, "names", [])]
            if isinstance(node, ast.ImportFrom):
                assert node.module in allowed, (path, node.module)
            elif isinstance(node, ast.Import):
                assert set(names) <= allowed, (path, names)
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [program("ruff"), *command, "--config", ROOT / ".ruff.toml", *scripts],
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_no_perl_is_run():
    for path in [*UTILS.iterdir(), *shell_scripts()]:
        if path.is_file():
            assert not re.search(r"^#!.*perl|^\s*perl ", path.read_text(), re.MULTILINE)
