"""The options of local/*.py: none is lost, and none changes its default.

local_options.tsv has a row for every option, as options.tsv for the commands.
"""

import importlib.util
from pathlib import Path

import pytest

from tests.bin.test_command_options import describe

LOCAL = Path(__file__).resolve().parents[2] / "local"
LISTED = Path(__file__).with_name("local_options.tsv")
ROWS = [
    line.split("\t") for line in LISTED.read_text(encoding="utf-8").splitlines()[1:]
]


def load(name):
    spec = importlib.util.spec_from_file_location(name, LOCAL / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(path.stem for path in LOCAL.glob("*.py")))
def test_every_option_keeps_its_name_default_and_choices(name):
    parser = load(name).main.get_parser()
    assert parser.prog == f"{name}.py"
    assert describe(name, parser) == sorted(row for row in ROWS if row[0] == name)


WRITTEN = ("--output_dir", "--output", "--data_dir", "--corpus_dir", "--extract_dir")


@pytest.mark.parametrize(
    ("name", "option"), [(row[0], row[1]) for row in ROWS if row[1] in WRITTEN]
)
def test_an_empty_name_of_what_is_written_is_no_current_folder(
    name, option, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    main = load(name).main
    words = [option, ""]
    for action in main.get_parser()._actions:
        if action.required and option not in action.option_strings:
            words += [*action.option_strings[:1], "1"]
    assert main(words) == 2
    message = f"{option} '': expected the name of what is written"
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_script_of_version_0_1_reads_its_corpus(tmp_path):
    """It parses the options itself and calls prepare()."""
    from espnet2_avsep.cli.corpus_options import corpus_folder, corpus_parser, plan_of

    words = ["--toys_dir", str(tmp_path), "--test_sets", "a b", "--valid_ratio", "0.3"]
    args = corpus_parser("toys", "Layouts.").parse_args(words)
    assert corpus_folder(args) == tmp_path
    plan = plan_of(args)
    assert plan.names.tests == ("a", "b") and plan.rule.valid_ratio == 0.3
    assert plan_of(args, "solo").videos == "solo"
