"""Files appear whole or not at all."""

import json
import os
import stat
from pathlib import Path

import pytest

from espnet2_avsep.data.tables.scp import (
    Skipped,
    atomic_path,
    read_skipped,
    write_file,
    write_json,
    write_skipped,
)
from espnet2_avsep.data.tables.yaml_file import read_mapping, write_yaml
from espnet2_avsep.errors import InputError


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_file(path, "before")
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        Path(temporary).write_text("half")
        raise KeyError
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "a", b"\0\r\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert (tmp_path / "a").read_bytes() == b"\0\r\n"


def test_json_and_yaml_keep_order_and_letters(tmp_path):
    content = {"b": ["ä", 1.5, None], "a": {"c": True}}
    write_json(tmp_path / "a.json", content)
    write_yaml(tmp_path / "a.yaml", content)
    found = json.loads((tmp_path / "a.json").read_text())
    assert list(found.items()) == list(content.items())
    assert list(read_mapping(tmp_path / "a.yaml").items()) == list(content.items())


def test_a_clip_that_is_skipped_twice_alike_is_listed_once(tmp_path):
    rows = [Skipped("b", "audio", "no sound"), Skipped("a", "audio", "no sound")]
    write_skipped(tmp_path / "skipped.tsv", [*rows, *rows])
    assert read_skipped(tmp_path / "skipped.tsv") == rows[::-1]


def test_names_that_no_file_can_have_are_said(tmp_path):
    """They were tracebacks after all the work, and as root /dev/null was replaced."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("folder", "is a folder"),
        ("pipe", "is no regular file"),
        ("file/x.yaml", "file is no folder"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(InputError, match=words) as error:
            write_file(tmp_path / name, "new")
        assert str(error.value).startswith(str(tmp_path / name))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "pipe"]
    assert (tmp_path / "pipe").is_fifo()
