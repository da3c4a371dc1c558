"""utils/merge_scp.py and utils/check_keys.sh."""

import pytest
from shell_tools import UTILS, run, write

MERGE, CHECK = UTILS / "merge_scp.py", UTILS / "check_keys.sh"


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
        ("b 1\na 1\nd 1\n", "c\tx\ty\n", "are not in {keys}, the first are: d"),
        ("", "", "3 keys of {keys} are in none of"),
    ],
)
def test_check_keys(tmp_path, table, skipped, message):
    keys = write(tmp_path / "keys", "a x\nb x\nc x\n")
    tables = write(tmp_path / "t.scp", table), write(tmp_path / "s.tsv", skipped)
    result = run(CHECK, keys, *tables)
    if message is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode == 1
        assert message.format(keys=keys) in result.stderr


def test_several_lines_a_key_if_asked_for(jobs):
    write(jobs / "1" / "t.scp", "b 1\na 2\na 1\nb 0\n")
    write(jobs / "2" / "t.scp", "c 5\nc 4\na stale\n")
    result = run(
        MERGE, "--many", 2, jobs / "keys.JOB", jobs / "JOB", jobs / "new", "t.scp"
    )
    assert result.returncode == 0, result.stderr
    table = (jobs / "new" / "t.scp").read_text()
    assert table == "a 2\na 1\nb 1\nb 0\nc 5\nc 4\n"
