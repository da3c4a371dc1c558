"""Options declared as a dataclass, and the parser that is made from them."""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

import pytest

from espnet2_avsep.cli.options import Log, get_parser, option, parse, with_options
from espnet2_avsep.errors import InputError


def letters(text):
    if not text.isalpha():
        raise argparse.ArgumentTypeError("expected letters")
    return text.upper()


@dataclass(kw_only=True)
class Shared:
    """Shared."""

    device: str = option("auto", "where")


@dataclass(kw_only=True)
class Options(Shared, Log):
    """All kinds."""

    inputs: List[Path] = option(..., "files", positional=True)
    rate: int = option(..., "in Hz", least=1)
    share: Optional[float] = option(None, "of clips", least=0, most=1)
    gain: float = option(1.0, "in %", above=0)
    page: bool = option(True, "write it")
    json: bool = option(False, "print JSON", flag=True)
    seeds: List[int] = option([0, 1], "one each", least=0)
    only: List[str] = option([], "repeat", repeat=True)
    kind: str = option("a", "which", choices=("a", "b"))
    name: Optional[str] = option(None, "letters", parse=letters)


def read(*words):
    return parse(get_parser(Options, "example"), Options, words)


def test_values_have_the_types_of_the_fields():
    args = read("x", "y", "--rate", "8", "--page", "false", "--json", "--seeds", "3")
    assert args.inputs == [Path("x"), Path("y")]
    assert (args.rate, args.page, args.json, args.seeds) == (8, False, True, [3])
    args = read("x", "--rate=8", "--only", "a", "--only", "b", "--name", "cello")
    assert (args.only, args.name, args.kind) == (["a", "b"], "CELLO", "a")
    assert (args.share, args.gain, args.device) == (None, 1.0, "auto")
    assert isinstance(args, Options) and args.log_level == "INFO"


def test_choices_are_checked_in_python_too():
    with pytest.raises(InputError, match="--kind c: expected one of a, b"):
        Options(inputs=[], rate=8, kind="c")


def test_a_default_list_belongs_to_one_run():
    read("x", "--rate", "8").seeds.append(9)
    assert read("x", "--rate", "8").seeds == [0, 1]
    assert read("x", "--rate", "8", "--only", "a").only == ["a"]
    assert read("x", "--rate", "8").only == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "0"], "--rate 0: expected at least 1."),
        (["--rate", "8", "--share", "2"], "--share 2.0: expected at least 0 and at"),
        (["--rate", "8", "--share", "nan"], "--share nan: expected at least 0"),
        (["--rate", "8", "--gain", "0"], "--gain 0.0: expected more than 0."),
        (["--rate", "8", "--gain", "inf"], "--gain inf: expected more than 0 and at"),
        (["--rate", "8", "--gain", "nan"], "--gain nan: expected more than 0 and at"),
        (["--rate", "99999999999"], "--rate 99999999999: expected at least 1 and at"),
        (["--rate", "8", "--seeds", "1", "-2"], "--seeds -2: expected at least 0."),
    ],
)
def test_a_number_out_of_its_range_is_an_input_error(words, message):
    with pytest.raises(InputError) as error:
        read("x", *words)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--rate", "x"],
        ["--rate", "8", "--page", "yes"],
        ["--rate", "8", "--kind", "c"],
        ["--rate", "8", "--name", "1"],
        ["--rate", "8", "--log_level", "LOUD"],
    ],
)
def test_a_value_that_cannot_be_read_is_a_usage_error(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        read("x", *words)
    assert "example: error: " in capsys.readouterr().err


def test_an_unknown_option_gets_a_suggestion(capsys):
    with pytest.raises(SystemExit, match="2"):
        read("x", "--rate", "8", "--devise", "cpu")
    assert "(did you mean --device?)" in capsys.readouterr().err


def test_help_names_defaults_and_shared_options_come_last():
    page = get_parser(Options, "example").format_help()
    for text in (
        "in Hz (required)",
        "in % (default: 1.0)",
        "(default: true)",
        "(default: 0 1)",
    ):
        assert text in page
    assert page.index("--rate") < page.index("--name") < page.index("--device")
    assert page.index("--device") < page.index("--log_level")
    assert "print JSON (" not in page and "of clips (" not in page


def test_a_command_is_made_of_its_options_and_run(capsys):
    seen = []

    @with_options(Options)
    def main(args: Options) -> int:
        """Run."""
        seen.append(args.rate)
        return 3

    assert main(["x", "--rate", "8"]) == 3 and seen == [8]
    assert main(["x", "--rate", "0"]) == 2 and seen == [8]
    assert "error: --rate 0: expected at least 1." in capsys.readouterr().err
    page = main.get_parser().format_help()
    assert page.startswith("usage: avsep test-declared-options")
    assert "Options declared as a dataclass" in page
    assert main.run(Options(inputs=[], rate=5)) == 3 and seen == [8, 5]


def test_a_command_s_file_does_not_run_in_silence():
    words = [sys.executable, "-m", "espnet2_avsep.bin.prepare.make_mixtures"]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "error: this file is a command; run avsep make-mixtures.\n"
