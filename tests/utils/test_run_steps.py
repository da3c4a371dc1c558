"""utils/run_steps.py: commands of the package in one process."""

import pytest
from shell_tools import UTILS, run, write

COMMAND = """\
import sys
from pathlib import Path

def main(argv=None):
    print(Path(sys.argv[0]).stem, len(sys.argv[1:]), argv, "numpy" in sys.modules)
    if "fail" in argv:
        sys.exit("it failed" if "why" in argv else 3)
    return 4 if "wrong" in argv else None
"""


@pytest.fixture
def steps(tmp_path):
    """Commands in a package of the same name as ours."""
    package = tmp_path / "espnet2_avsep" / "bin"
    for folder in (package.parent, package):
        write(folder / "__init__.py", "")
    for name in ("avsep_one", "avsep_two"):
        write(package / f"{name}.py", COMMAND)

    def call(*words):
        command = ["python3", UTILS / "run_steps.py", *words]
        return run(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path))

    return call


def test_commands_run_in_turn(steps):
    result = steps("--step", "avsep_one", "--a", "b c", "--step", "avsep_two")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "# avsep_one --a b c",
        "avsep_one 2 ['--a', 'b c'] False",
        "# avsep_two ",
        "avsep_two 0 [] False",
    ]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["fail"], 3, "avsep_one failed"),
        (["fail", "why"], 1, "it failed"),
        (["wrong"], 4, "avsep_one failed"),
    ],
)
def test_the_first_failure_ends_the_process(steps, words, status, message):
    result = steps("--step", "avsep_one", *words, "--step", "avsep_two")
    assert result.returncode == status
    assert message in result.stderr and "avsep_two" not in result.stdout


def test_a_step_of_an_empty_file_is_left_out(steps, tmp_path):
    full, empty = write(tmp_path / "full", "key\n"), write(tmp_path / "empty", "")
    words = ("--step_if", empty, "avsep_one", "--step_if", full, "avsep_two", "x")
    result = steps(*words)
    assert result.returncode == 0, result.stderr
    assert "avsep_one" not in result.stdout and "['x']" in result.stdout
    result = steps("--step_if", tmp_path / "none", "avsep_one")
    assert result.returncode == 2 and "none: No such file" in result.stderr


def test_usage(steps):
    assert "Usage" in steps().stderr and steps().returncode == 2
    result = steps("--step", "../x")
    assert result.returncode == 2 and "expected the name of a command" in result.stderr
