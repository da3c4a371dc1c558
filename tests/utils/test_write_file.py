"""utils/write_file.sh: a file is there whole or not at all, whoever else writes it."""

import re

from shell_tools import ROOT, UTILS, run, write


def shell(script, cwd):
    head = f"set -euo pipefail; . {UTILS}/write_file.sh\n"
    return run("bash", "-c", head + script, cwd=cwd)


def test_content_and_permissions(tmp_path):
    script = "umask 027; write_file 'a b' $'one\\ntwo'; write_file run.sh '' =rwx\n"
    result = shell(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a b").read_text() == "one\ntwo\n"
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"a b": 0o640, "run.sh": 0o750}


def test_runs_that_write_one_file_at_a_time(tmp_path):
    """Two tables over one data folder: "mv: cannot stat 'stage1.options.tmp'"."""
    write_often = "for n in $(seq 40); do write_file file $'of\\n'$1; done"
    script = f"often() {{ {write_often}; }}\n"
    script += "for who in 1 2 3; do often $who & jobs+=($!); done\n"
    script += "for job in ${jobs[@]}; do wait $job; done"
    result = shell(script, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert re.fullmatch(r"of\n[123]\n", (tmp_path / "file").read_text())


def test_a_failure_leaves_the_former_file_and_nothing_else(tmp_path):
    write(tmp_path / "file", "former\n")
    result = shell("write_file file new =nonsense; echo not reached", tmp_path)
    assert result.returncode == 1 and result.stdout == ""
    assert (tmp_path / "file").read_text() == "former\n"
    assert len(list(tmp_path.iterdir())) == 1
    assert shell("write_file none/file x", tmp_path).returncode == 1


def test_no_script_has_a_temporary_name_that_another_run_has_too():
    folders = [ROOT / name for name in ("utils", "local", "egs2")]
    scripts = [path for folder in folders for path in folder.rglob("*.sh")]
    scripts += [*UTILS.glob("*.pl"), *UTILS.glob("*.py")]
    assert len(scripts) > 15
    for path in scripts:
        assert not re.search(r"\.(tmp|part|new)\b", path.read_text()), path
