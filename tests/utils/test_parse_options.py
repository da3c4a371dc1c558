"""utils/parse_options.sh and utils/print_args.sh."""

import shlex

import pytest
from shell_tools import UTILS, run, write

SCRIPT = """\
set -euo pipefail
nj=4
skip_train=false
avsep_args=
test_sets="a b"
help_message="Usage: the help text"
before=$(compgen -v | sort)
functions_before=$(declare -F)
options_before=$-
. {utils}/parse_options.sh
echo "nj=${{nj}} skip_train=${{skip_train}} avsep_args=[${{avsep_args}}]" \\
    "test_sets=[${{test_sets}}] left=[$*]"
[ "${{functions_before}}" = "$(declare -F)" ] && [ "${{options_before}}" = "$-" ]
comm -3 <(echo "${{before}}") <(compgen -v | sort)
"""


@pytest.fixture
def call(tmp_path):
    script = write(tmp_path / "script.sh", SCRIPT.format(utils=UTILS))

    def parse(*arguments):
        return run("bash", script, *arguments)

    return parse


def test_both_spellings_and_values(call):
    options = ["--nj", "8", "--skip-train", "true", "--avsep_args", "--max_epoch 3"]
    result = call(*options, "--test-sets", "", "x", "--nj", "9")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == (
        "nj=8 skip_train=true avsep_args=[--max_epoch 3] test_sets=[] left=[x --nj 9]"
    )


def test_two_dashes_end_the_options(call):
    assert "nj=8" in call("--nj", "8", "--", "--nj").stdout
    assert "left=[--nj]" in call("--", "--nj").stdout


def test_nothing_else_changes_in_the_callers_shell(call):
    lines = call("--nj", "8").stdout.splitlines()
    # The caller's own variables aside, which the comparison itself defines.
    new = {line.strip() for line in lines[1:]}
    assert new <= {"functions_before", "options_before", "before", "BASH_REMATCH"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nj=8"], "--nj 8"),
        (["--no_such", "8"], "unknown option --no_such"),
        (["--PATH", "8"], "unknown option --PATH"),
        (["-n", "8"], "unknown option -n"),
        (["--skip_train", "yes"], "expected true or false"),
        (["--skip_train", ""], "expected true or false"),
        (["--nj"], "--nj: its value is missing"),
        (["--nj", "--skip-train", "true"], "--nj: its value is missing"),
    ],
)
def test_errors(call, arguments, message):
    result = call(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "--help" in result.stderr
    assert result.stdout == ""


def test_help(call):
    result = call("--nj", "8", "--help")
    assert result.returncode == 0
    assert result.stdout == "Usage: the help text\n"


DECLARED = """\
#!/usr/bin/env bash
# What the script is for.
#
# Usage: s.sh [options]
set -euo pipefail
x=$(echo 1) # not an option
# Jobs
nj=4            # [1 or more] Number of jobs, which may be
                # 1.
words="a b"     # Some words.
few=            # [2 or more] Optional.
# Checks
leaks=true      # [true|false|strict] Look for leaks.
name=           # [required] Name of the set.
list=           # [file] A list.
level=-60       # [number] A level.
. {utils}/parse_options.sh
after=1         # Not an option.
echo "nj=${{nj}} words=${{words}} few=[${{few}}] leaks=${{leaks}} name=${{name}}"
compgen -v | grep parse_options || true
"""


@pytest.fixture
def declared(tmp_path):
    script = write(tmp_path / "s.sh", DECLARED.format(utils=UTILS))
    return lambda *arguments: run("bash", script, *arguments)


def test_help_from_the_comments(declared):
    result = declared("--help")
    assert result.returncode == 0
    assert (
        result.stdout
        == """\
What the script is for.

Usage: s.sh [options]

    # Jobs
    --nj                    # [1 or more] Number of jobs, which may be
                            # 1 (default="4").
    --words                 # Some words (default="a b").
    --few                   # [2 or more] Optional.

    # Checks
    --leaks                 # [true|false|strict] Look for leaks (default="true").
    --name                  # [required] Name of the set.
    --list                  # [file] A list.
    --level                 # [number] A level (default="-60").
"""
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--name is required"),
        (["--name", ""], "--name is required"),
        (["--nj", "0"], "--nj '0': expected a whole number, 1 or more"),
        (["--nj", ""], "--nj '': expected a whole number, 1 or more"),
        (["--nj", "1.5"], "--nj '1.5': expected"),
        (["--few", "1"], "--few '1': expected a whole number, 2 or more"),
        (["--leaks", "no"], "--leaks 'no': expected true, false or strict"),
        (["--leaks", "true|false"], "expected true, false or strict"),
        (["--list", "/no/list"], "--list '/no/list': no such file"),
    ],
)
def test_values_are_what_the_comments_say(declared, arguments, message):
    name = [] if "required" in message else ["--name", "x"]
    result = declared(*name, *arguments)
    assert result.returncode == 2
    assert message in result.stderr and "s.sh --help" in result.stderr


def test_declared_values_are_taken(declared):
    words = ("--name", "x", "--leaks", "strict", "--few", "3", "--words", "c d e")
    result = declared(*words)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "nj=4 words=c d e few=[3] leaks=strict name=x\n"
    assert "few=[]" in declared("--name", "x", "--few", "").stdout


@pytest.mark.parametrize("value", ["-60", "1.5", ".5", "1.", "-6e1", "+2E-3", "-inf"])
def test_numbers(declared, value):
    result = declared("--name", "x", "--level", value)
    assert result.returncode == 0, result.stderr
    for wrong in (f"{value}x", "e3", "-", "inf", ".", "1 2", "NaN"):
        result = declared("--name", "x", "--level", wrong)
        assert f"--level '{wrong}': expected a number" in result.stderr


def test_zeros_before_a_number_are_not_octal(declared):
    """--nj 08 ended avsep.sh with status 0 in the middle of a stage."""
    result = declared("--name", "x", "--nj", "08", "--few", "010")
    assert result.stdout == "nj=8 words=a b few=[10] leaks=true name=x\n"
    assert "--nj '00': expected" in declared("--name", "x", "--nj", "00").stderr


def test_works_without_nounset_and_without_help(tmp_path):
    script = write(tmp_path / "s.sh", f"x=1\n. {UTILS}/parse_options.sh\necho $x $#\n")
    assert run("bash", script, "--x", "2", "y").stdout == "2 1\n"
    assert "No help" in run("bash", script, "--help").stdout


def test_print_args_reads_back():
    words = ["./run.sh", "--a", "b c", "", "it's", '"', "$x", "*", "--lr=1e-3"]
    line = run(UTILS / "print_args.sh", *words).stdout
    assert shlex.split(line) == words
    assert line.startswith("./run.sh --a 'b c' ''")


PASSES = """\
#!/usr/bin/env bash
# Passes on what it does not know.
nj=4     # Number of jobs.
kept=1
pass_on=()
. {utils}/parse_options.sh
echo "nj=${{nj}} kept=${{kept}}"
printf '%s\\n' "${{pass_on[@]}}"
"""


def test_options_of_another_program_are_passed_on(tmp_path):
    """Also those whose names are variables of the script, or of the environment."""
    script = write(tmp_path / "s.sh", PASSES.format(utils=UTILS))
    words = ["--x", "--y=1", "-z", "a b", "--kept", "2", "--home", "--", "last"]
    result = run("bash", script, *words[:3], "--nj", "8", *words[3:])
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["nj=8 kept=1", *words]
    result = run("bash", script, "--x", "--nj")
    assert result.returncode == 2 and "--nj: its value is missing" in result.stderr
    result = run("bash", script, "--x", "--help")
    assert "--nj " in result.stdout and "--kept" not in result.stdout
