"""The options of all commands: none is lost, and none changes its default.

options.tsv has a row for every option: command, names, default, type, whether it is
required, how many values it takes, and its choices.
"""

import argparse
import importlib
import re
from pathlib import Path

import pytest

from espnet2_avsep.bin import avsep
from espnet2_avsep.cli.commands import COMMANDS
from espnet2_avsep.cli.options import OUTPUTS

LISTED = Path(__file__).with_name("options.tsv")
ROWS = [
    line.split("\t") for line in LISTED.read_text(encoding="utf-8").splitlines()[1:]
]

KINDS = {int: "int", float: "float"}


def get_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command; of ``made-from model`` that of its first word."""
    module = importlib.import_module(
        f"espnet2_avsep.{COMMANDS[command.split()[0]].module}"
    )
    main = module.check_model if " " in command else module.main
    return main.get_parser()


def is_boolean(action: argparse.Action) -> bool:
    kind = getattr(action.type, "__name__", "")
    return kind == "str2bool" or action.choices in (
        ("true", "false"),
        ["true", "false"],
    )


def values(action: argparse.Action) -> str:
    """How many values an option takes: one, none, several at once, or one each time."""
    if isinstance(action, argparse._AppendAction):
        return "repeat"
    return "none" if action.nargs == 0 else str(action.nargs or "one")


def describe(command: str, parser: argparse.ArgumentParser) -> list:
    """Return the rows of a parser, sorted."""
    rows = []
    for action in parser._actions:
        if action.dest == "help":
            continue
        names = " ".join(action.option_strings) or action.dest
        default, choices = action.default, action.choices or ()
        if isinstance(default, list):
            default = " ".join(map(str, default)) or "[]"
        if is_boolean(action):
            default, choices = str(default).lower(), ("true", "false")
        default = str(default).removesuffix(".0")
        kind = "bool" if is_boolean(action) else KINDS.get(action.type, "text")
        required = "required" if action.required else "-"
        listed = " ".join(map(str, choices)) or "-"
        row = [command, names, default, kind, required, values(action), listed]
        rows.append(row)
    return sorted(rows)


@pytest.mark.parametrize("command", sorted({row[0] for row in ROWS}))
def test_every_option_keeps_its_name_default_and_choices(command):
    expected = [row for row in ROWS if row[0] == command]
    assert describe(command, get_parser(command)) == sorted(expected)


def test_every_command_is_listed():
    own_help = {"train", "made-from"}
    assert {*COMMANDS} - own_help == {row[0] for row in ROWS} - {"made-from model"}


BIN = Path(avsep.__file__).parent
# What commands share, beside their own modules: in cli, and wherever `args` goes.
SHARED = "".join(
    path.read_text(encoding="utf-8") for path in (BIN.parent / "cli").glob("*.py")
)
PACKAGE = "".join(
    path.read_text(encoding="utf-8")
    for path in BIN.parent.rglob("*.py")
    if not path.is_relative_to(BIN)
)


@pytest.mark.parametrize("command", sorted({row[0] for row in ROWS}))
def test_every_option_is_read(command):
    """`avsep separate --shift_invariant` once had no effect.

    Of ``function(**values(args))``, Python checks that the function takes them all.
    """
    module = importlib.import_module(
        f"espnet2_avsep.{COMMANDS[command.split()[0]].module}"
    )
    text = Path(module.__file__).read_text(encoding="utf-8")
    if "**values(args" in text:
        return
    for action in get_parser(command)._actions:
        if not action.option_strings or action.dest == "help":
            continue
        read = rf"args\.{action.dest}\b"
        known = re.search(rf"{read}|[\"']{action.dest}[\"']", text + SHARED)
        assert known or re.search(read, PACKAGE), action.option_strings


# What is written, under other names than cli.options.OUTPUTS.
WRITTEN = {("new-recipe", "folder"), ("check-leaks", "--cache_dir")}


@pytest.mark.parametrize(
    ("command", "name"),
    sorted(
        {(row[0], row[1]) for row in ROWS if row[1].lstrip("-") in OUTPUTS} | WRITTEN
    ),
)
def test_an_empty_name_of_what_is_written_is_no_current_folder(
    command, name, tmp_path, monkeypatch, capsys
):
    """``--out "$UNSET"`` once wrote into the current folder."""
    monkeypatch.chdir(tmp_path)
    words = [""] if name == "folder" else [name, ""]
    for action in get_parser(command)._actions:
        option = (action.option_strings or [""])[0]
        if action.required and name not in (option, action.dest):
            value = action.choices[0] if action.choices else "1"
            words += [option, value] if option else [value]
    assert avsep.main([*command.split(), *words]) == 2
    assert f"{name} '': expected the name of what is written" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_an_empty_folder_of_a_training_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("separator: hfra\n")
    assert avsep.main(["train", "--config", "c.yaml", "--output_dir", ""]) == 2
    assert "--output_dir '': expected the folder" in capsys.readouterr().err
