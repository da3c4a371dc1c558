"""What every command line shares."""

import importlib
import os
import subprocess
import sys
import warnings

import pytest

from espnet2_avsep.cli import command as cli
from espnet2_avsep.cli.command import command, underscored


@pytest.mark.parametrize(
    ("chosen", "policy"),
    [
        ({}, "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ({"GOMP_SPINCOUNT": "1000"}, None),
    ],
)
def test_commands_let_idle_threads_sleep_unless_the_user_has_chosen(
    monkeypatch, chosen, policy
):
    monkeypatch.setattr(os, "environ", dict(chosen))
    seen = []
    command(lambda argv: seen.append(os.environ.get("OMP_WAIT_POLICY")))([])
    assert seen == [policy]


def test_no_command_imports_torch_before_it_has_set_openmp():
    # OpenMP reads its settings once, when torch is first imported.
    program = (
        "import importlib, sys\n"
        "from espnet2_avsep.cli.commands import COMMANDS\n"
        "for c in COMMANDS.values():\n"
        "    importlib.import_module(f'espnet2_avsep.{c.module}')\n"
        "print('torch' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_hyphens_and_underscores_are_the_same_in_names_of_options():
    given = ["a-b", "--out-dir", "x-y", "--no-x=a-b", "-n", "-1", "--x y-z", "---", "-"]
    assert underscored(given) == [
        *("a-b", "--out_dir", "x-y", "--no_x=a-b", "-n", "-1", "--x y-z", "---", "-")
    ]
    assert underscored(["--a-b", "--", "--a-b"]) == ["--a_b", "--", "--a-b"]
    seen = []
    assert command(seen.append)(["--max-epoch", "3"]) == 0
    assert seen == [["--max_epoch", "3"]]


def test_ctrl_c_says_that_the_run_can_go_on(capsys):
    def main(argv):
        raise KeyboardInterrupt

    assert command(main)([]) == 130
    assert capsys.readouterr().err == f"{cli.INTERRUPTED}\n"
    assert "Run the same command again" in cli.INTERRUPTED


@pytest.mark.parametrize(
    "argv",
    [
        ("made_from", "training", "--output_dir", "FILE"),
        ("made_from", "training", "--output_dir", "FILE/x"),
        ("new_recipe", "FILE/x"),
        ("new_recipe", "x" * 300),
        ("config", "--output", "FILE/x", "CONFIG"),
    ],
)
def test_an_output_that_cannot_be_made_is_one_line(tmp_path, capsys, monkeypatch, argv):
    """NotADirectoryError, FileExistsError and the like were tracebacks, status 1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    (tmp_path / "CONFIG").write_text("trained: false\n")
    group = "prepare" if argv[0] == "new_recipe" else "train"
    module = importlib.import_module(f"espnet2_avsep.bin.{group}.{argv[0]}")
    assert module.main(list(argv[1:])) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ")
    assert "FILE" in said or "x" * 200 in said


def test_a_model_of_no_folder_is_an_error(tmp_path, capsys):
    from espnet2_avsep.bin.train.made_from import main

    assert main(["model", "--avsep_exp", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "shown"), [([], 0), (["default"], 1)])
def test_no_future_warning_of_a_library_is_shown(monkeypatch, options, shown):
    monkeypatch.setattr(sys, "warnoptions", options)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        command(lambda argv: warnings.warn("deprecated", FutureWarning, 2))([])
    assert len(found) == shown
