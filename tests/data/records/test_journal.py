import itertools
import logging
import types

import pytest

from espnet2_avsep.data.records import progress
from espnet2_avsep.data.records.journal import Journal, remove_leftovers, signature
from espnet2_avsep.errors import InputError


def test_entries_outlive_the_process(tmp_path):
    with Journal(tmp_path / "j", {"fs": 8000}) as journal:
        journal.add("a", size=3)
        journal.add("b", size=4)
        journal.add("a", size=5)
    with Journal(tmp_path / "j", {"fs": 8000}) as journal:
        assert journal.entries == {"a": {"size": 5}, "b": {"size": 4}}


def test_other_settings_begin_anew(tmp_path):
    with Journal(tmp_path / "j", {"fs": 8000}) as journal:
        journal.add("a", size=3)
    with Journal(tmp_path / "j", {"fs": 11625}) as journal:
        assert journal.entries == {}
        journal.add("b")
    with Journal(tmp_path / "j", {"fs": 11625}) as journal:
        assert list(journal.entries) == ["b"]


@pytest.mark.parametrize("tail", [b'{"key": "c", "si', b"\0\0\0", b"[1]\n", b"x\n"])
def test_a_damaged_end_is_dropped(tmp_path, tail):
    path = tmp_path / "j"
    with Journal(path, {}) as journal:
        journal.add("a", size=1)
        journal.add("b", size=2)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    with Journal(path, {}) as journal:
        assert set(journal.entries) == {"a", "b"}
        journal.add("c", size=3)
    assert path.read_bytes() == whole + b'{"key": "c", "size": 3}\n'


def test_every_cut_leaves_a_usable_journal(tmp_path):
    path = tmp_path / "j"
    with Journal(path, {"a": 1}) as journal:
        journal.add("a")
        journal.add("b")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path, {"a": 1}) as journal:
            for key in ("a", "b"):
                if key not in journal.entries:
                    journal.add(key)
        assert path.read_bytes() == whole


def test_one_process_at_a_time(tmp_path):
    with (
        Journal(tmp_path / "j", {}),
        pytest.raises(InputError, match="another process"),
    ):
        Journal(tmp_path / "j", {})
    Journal(tmp_path / "j", {}).close()


def test_signature_changes_with_the_content(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abc")
    before = signature(str(path))
    assert before == signature(str(path))
    path.write_bytes(b"abcd")
    assert before != signature(str(path))
    assert signature("cat x |") == ["cat x |"]


def test_leftovers_are_removed(tmp_path):
    for name in (".wav.scp.abc.tmp", "wav.scp", ".keep"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "nowhere")
    assert {path.name for path in tmp_path.iterdir()} == {"wav.scp", ".keep"}


def test_progress_is_logged_now_and_then(caplog, monkeypatch):
    """Every 10 s, and at the end; a step takes a second here."""
    clock = itertools.count()
    fake = types.SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr(progress, "time", fake)
    caplog.set_level(logging.INFO)
    steps = progress.Progress(25, "clips")
    for _ in range(25):
        steps.step()
    assert [record.getMessage() for record in caplog.records] == [
        "10 of 25 clips, 1.00 a second, about 15 s left",
        "20 of 25 clips, 1.00 a second, about 5 s left",
        "25 of 25 clips, 1.00 a second, about 0 s left",
    ]


def test_a_folder_with_a_link_to_nothing_is_seen_to_change(tmp_path):
    """Its signature was its path alone: features outlived the pictures."""
    (tmp_path / "1.jpg").write_bytes(b"x")
    (tmp_path / "notes.txt").symlink_to("nowhere")
    before = signature(str(tmp_path))
    assert len(before) == 4 and signature(str(tmp_path)) == before
    (tmp_path / "1.jpg").write_bytes(b"xy")
    assert signature(str(tmp_path)) != before
