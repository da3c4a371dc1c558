"""utils/merge_scp.py."""

import pytest
from shell_tools import UTILS, run, write

MERGE = UTILS / "merge_scp.py"


@pytest.fixture
def jobs(tmp_path):
    """Two jobs' keys and tables; job 2 also has lines of an earlier run."""
    write(tmp_path / "keys.1", "b x\na x\n")
    write(tmp_path / "keys.2", "B x\nc x\n")
    write(tmp_path / "1" / "t.scp", "b 1\na 1\n")
    write(tmp_path / "2" / "t.scp", "B 2\na stale\ngone stale\n")
    for n in "12":
        write(tmp_path / n / "u.scp", "")
    return tmp_path


def merge(folder):
    keys, new = folder / "keys.JOB", folder / "new"
    return run(MERGE, 2, keys, folder / "JOB", new, "t.scp", "u.scp")


def test_merges_sorted_and_without_stale_lines(jobs):
    assert merge(jobs).returncode == 0
    assert (jobs / "new" / "t.scp").read_text() == "B 2\na 1\nb 1\n"
    assert sorted(path.name for path in (jobs / "new").iterdir()) == ["t.scp", "u.scp"]
    assert (jobs / "new" / "t.scp").stat().st_mode & 0o444 == 0o444


def test_a_key_that_comes_twice_leaves_the_old_table(jobs):
    merge(jobs)
    write(jobs / "2" / "t.scp", "B 2\nB 3\n")
    result = merge(jobs)
    assert result.returncode == 1
    assert "comes more than once" in result.stderr
    assert (jobs / "new" / "t.scp").read_text() == "B 2\na 1\nb 1\n"
    assert sorted(path.name for path in (jobs / "new").iterdir()) == ["t.scp", "u.scp"]


def test_a_missing_table_is_an_error(jobs):
    (jobs / "2" / "t.scp").unlink()
    result = merge(jobs)
    assert result.returncode == 1
    assert "did its job finish?" in result.stderr
    assert not (jobs / "new" / "t.scp").exists()


def test_tabs_and_empty_tables(jobs):
    write(jobs / "1" / "t.scp", "a\tvisual\tno picture at all\n")
    write(jobs / "2" / "t.scp", "")
    assert merge(jobs).returncode == 0
    assert (jobs / "new" / "t.scp").read_text() == "a\tvisual\tno picture at all\n"


@pytest.mark.parametrize(
    ("table", "skipped", "message"),
    [
        ("b 1\n", "a\tx\ty\nc\tx\ty\n", None),
        ("c 1\nb 1\na 1\n", "", None),
        ("b 1\n", "a\tx\ty\n", "1 keys of {keys} are in none of"),
        ("b 1\na 1\n", "a\tx\ty\nc\tx\ty\n", "1 keys come more than once"),
        ("", "", "3 keys of {keys} are in none of"),
    ],
)
def test_each_key_is_in_exactly_one_table(tmp_path, table, skipped, message):
    keys = write(tmp_path / "keys", "a x\nb x\nc x\n")
    write(tmp_path / "1" / "t.scp", table)
    write(tmp_path / "1" / "s.tsv", skipped)
    words = [1, keys, tmp_path / "JOB", tmp_path / "new", "t.scp", "s.tsv"]
    result = run(MERGE, *words, "once:t.scp,s.tsv")
    if message is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode == 1
        assert message.format(keys=keys) in result.stderr


def test_a_file_that_is_the_same_in_all_jobs(jobs):
    """A job that found nothing cannot say which encoder made its features."""
    for n in "12":
        write(jobs / n / "info.yaml", "encoder: a\n")
    words = [MERGE, 2, jobs / "keys.JOB", jobs / "JOB", jobs / "new", "same:info.yaml"]
    assert run(*words, "t.scp").returncode == 0
    assert (jobs / "new" / "info.yaml").read_text() == "encoder: a\n"
    write(jobs / "2" / "info.yaml", "encoder: b\n")
    result = run(*words, "t.scp")
    assert result.returncode == 1 and "2/info.yaml and" in result.stderr
    assert f"Delete {jobs} and run this stage again" in result.stderr
    words[-1] = "first:info.yaml"
    assert run(*words, "t.scp").returncode == 0
    assert (jobs / "new" / "info.yaml").read_text() == "encoder: a\n"
    words[-1] = "same:info.yaml"
    write(jobs / "2" / "t.scp", "")
    assert run(*words, "t.scp").returncode == 0


def test_several_groups_in_one_call(jobs):
    group = [2, jobs / "keys.JOB", jobs / "JOB"]
    words = [*group, jobs / "a", "t.scp", "--", *group, jobs / "b", "u.scp"]
    assert run(MERGE, *words).returncode == 0
    assert (jobs / "a" / "t.scp").read_text() == "B 2\na 1\nb 1\n"
    assert (jobs / "b" / "u.scp").read_text() == ""
    result = run(MERGE, *words, "all:t.scp")
    assert result.returncode == 1
    assert "all:t.scp: expected many:, once:, same: or first:" in result.stderr


def test_several_lines_a_key_if_asked_for(jobs):
    write(jobs / "1" / "t.scp", "b 1\na 2\na 1\nb 0\n")
    write(jobs / "2" / "t.scp", "c 5\nc 4\na stale\n")
    result = run(MERGE, 2, jobs / "keys.JOB", jobs / "JOB", jobs / "new", "many:t.scp")
    assert result.returncode == 0, result.stderr
    table = (jobs / "new" / "t.scp").read_text()
    assert table == "a 2\na 1\nb 1\nb 0\nc 5\nc 4\n"
