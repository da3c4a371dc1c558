"""utils/jobs.sh: tables in pieces, words for a shell, counts, logs and stages."""

import shlex

import pytest
from shell_tools import UTILS, run, write


def shell(script, cwd):
    """Run a script that has sourced jobs.sh."""
    head = f"set -euo pipefail; SECONDS=0; python=python3; . {UTILS}/jobs.sh\n"
    return run("bash", "-c", head + script, cwd=cwd)


@pytest.mark.parametrize(("lines", "jobs"), [(10, 3), (3, 3), (7, 1), (2, 4), (0, 2)])
def test_split_is_even_and_loses_nothing(tmp_path, lines, jobs):
    keys = "".join(f"u{i:02d} /a b/{i}.wav\n" for i in range(lines))
    write(tmp_path / "in.scp", keys)
    script = f"split_jobs in.scp 'a b/p.JOB.scp' {jobs}; echo $num_pieces $max_pieces"
    result = shell(script, tmp_path)
    pieces = min(lines, jobs)
    assert result.stdout.split() == [str(pieces)] * 2, result.stderr
    parts = [(tmp_path / f"a b/p.{n + 1}.scp").read_text() for n in range(jobs)]
    assert "".join(parts) == keys
    sizes = [part.count("\n") for part in parts]
    longer = lines % pieces if pieces else 0
    expected = [lines // pieces + (n < longer) for n in range(pieces)]
    assert sizes == expected + [0] * (jobs - pieces)


def test_pieces_of_an_earlier_split_are_gone(tmp_path):
    write(tmp_path / "in.scp", "a 1\nb 2\n")
    write(tmp_path / "p.3.scp", "of an earlier run\n")
    script = "split_jobs in.scp p.JOB.scp 3; : > x; split_jobs x q.JOB.scp 3\n"
    result = shell(script + 'echo "$num_pieces $max_pieces"', tmp_path)
    assert result.stdout == "0 2\n", result.stderr
    assert (tmp_path / "p.3.scp").read_text() == ""


@pytest.mark.parametrize(
    "word", ["plain-1.wav", "", "a b", "it's", '"', "$(touch x)", "\\", "é\n*", ";&|<>"]
)
def test_a_word_is_read_back_by_a_shell(tmp_path, word):
    result = shell(f'shell_word {shlex.quote(word)}; printf "%s" "$word"', tmp_path)
    assert " " not in result.stdout and "\n" not in result.stdout
    read = run("bash", "-c", f"printf %s {result.stdout}")
    assert read.stdout == word


def test_counts_and_stages(tmp_path):
    write(tmp_path / "table", "a\nb\n")
    script = "stage=2 stop_stage=3\nset_count table; echo $num_lines\n"
    script += "for n in 1 2 3 4; do ! wanted $n || echo wanted $n; done\n"
    script += "begin_stage 2 something; end_stage; end_stage\nneed table 1\n"
    result = shell(script + "need none 1; echo not reached", tmp_path)
    assert result.returncode == 2
    lines = result.stdout.splitlines()
    assert lines[:3] == ["2", "wanted 2", "wanted 3"]
    assert lines[3].endswith("Stage 2: something") and " took 0 s" in lines[4]
    assert len(lines) == 5
    assert (
        "none is missing or empty. Stage 1 writes it: run '--stage 1" in result.stderr
    )
