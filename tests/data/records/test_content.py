"""Digests of what tables hold, kept as long as the files are not touched."""

import os
import shutil
import types

import numpy as np
import pytest

from espnet2_avsep.data.features import write_ark
from espnet2_avsep.data.records import content
from espnet2_avsep.data.records.content import (
    content_of,
    content_path,
    copy_content,
    current_content,
    read_content,
    table_digest,
    write_content,
)
from espnet2_avsep.data.records.made_from import (
    check_current,
    differences,
    make_record,
    read_record,
    write_record,
)
from espnet2_avsep.data.tables.scp import write_scp
from espnet2_avsep.errors import InputError


@pytest.fixture
def wavs(tmp_path):
    """A table of three files, with its contents."""
    table = {}
    for key in "abc":
        path = tmp_path / f"{key}.wav"
        path.write_bytes(key.encode() * 20000)
        table[key] = str(path)
    scp = tmp_path / "wav.scp"
    write_content(scp, content_of(table, scp, whole=True))
    write_scp(scp, table)
    return scp


@pytest.fixture
def ark(tmp_path):
    scp = tmp_path / "visual.scp"
    records = ((key, np.full((3, 4), n)) for n, key in enumerate("ab"))
    write_ark(scp, tmp_path / "visual.ark", records)
    return scp


@pytest.mark.parametrize("name", ["wavs", "ark"])
def test_files_that_have_not_changed_are_not_read(request, monkeypatch, name):
    scp = request.getfixturevalue(name)
    before = table_digest(scp)
    written = content.written_at(content_path(scp))
    while written[0] == content.written_at(content_path(scp))[0]:
        write_content(scp, read_content(scp))  # at the next tick of the clock

    def no_reading(*_):
        raise AssertionError("a file was read")

    monkeypatch.setattr(content, "digest_bytes", no_reading)
    monkeypatch.setattr(content, "ends_digest", no_reading)
    assert table_digest(scp) == before
    write_scp(scp.with_name("few.scp"), {"a": "none"})


@pytest.mark.parametrize(
    "changed, written, expected",
    [((5, 6), (6, 7), True), ((6, 6), (6, 7), False), ((5, 7), (6, 7), False)],
)
def test_a_change_at_the_tick_of_the_clock_at_which_a_table_was_written_is_seen(
    changed, written, expected
):
    state = types.SimpleNamespace(st_mtime_ns=changed[0], st_ctime_ns=changed[1])
    assert content.is_older(state, written) == expected


@pytest.mark.parametrize("how", ["write", "move", "copy"])
def test_other_content_of_the_same_size_is_seen(wavs, tmp_path, how):
    """Also where size and time of modification are those of the file before."""
    before = current_content(wavs)
    path = tmp_path / "b.wav"
    state = path.stat()
    other = tmp_path / "other"
    other.write_bytes(b"x" * 10000 + path.read_bytes()[10000:])
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    if how == "write":
        path.write_bytes(other.read_bytes())
    elif how == "move":
        other.rename(path)
    else:
        shutil.copy2(other, path)
    after = current_content(wavs)
    assert [key for key in "abc" if after[key] != before[key]] == ["b"]
    assert table_digest(wavs, ["a", "c"]) == table_digest(wavs, ["c", "a"])


def test_a_changed_row_of_an_ark_is_seen(ark):
    before = current_content(ark)
    path = ark.with_suffix(".ark")
    content_ = bytearray(path.read_bytes())
    content_[-2] ^= 64
    path.write_bytes(content_)
    after = current_content(ark)
    assert after["a"] == before["a"] and after["b"] != before["b"]


def test_digests_do_not_depend_on_place_and_time(wavs, tmp_path):
    before = table_digest(wavs)
    moved = tmp_path / "moved"
    moved.mkdir()
    table = {}
    for key in "abc":
        shutil.copyfile(tmp_path / f"{key}.wav", moved / f"{key}.wav")
        table[key] = str(moved / f"{key}.wav")
    write_content(moved / "wav.scp", content_of(table, moved / "wav.scp", whole=True))
    write_scp(moved / "wav.scp", table)
    assert table_digest(moved / "wav.scp") == before


def test_a_table_of_others_is_told_by_size_time_and_ends(wavs, tmp_path):
    wavs.with_suffix(".content").unlink()
    before = table_digest(wavs)
    assert table_digest(wavs) == before
    (tmp_path / "a.wav").write_bytes(b"z" * 20000)
    assert table_digest(wavs) != before


def test_rows_of_a_part_of_a_table(wavs, tmp_path):
    part = tmp_path / "spk1.scp"
    copy_content(wavs, part, ["a", "c"])
    assert read_content(part) == {k: read_content(wavs)[k] for k in "ac"}
    wavs.with_suffix(".content").unlink()
    copy_content(wavs, part, ["a", "c"])
    assert not part.with_suffix(".content").exists()


def test_a_damaged_table_of_contents_is_named(wavs):
    wavs.with_suffix(".content").write_text("a half\n")
    with pytest.raises(InputError, match="wav.content: the line of a is 'half'"):
        table_digest(wavs)


def test_a_record_says_what_has_changed(wavs, tmp_path):
    model = tmp_path / "model.pth"
    model.write_bytes(b"1")
    result = tmp_path / "separated"
    record = make_record(7, {"mixtures": wavs}, {"model": model}, {"threshold": 0.5})
    write_record(result, record)
    assert differences(read_record(result), record) == []
    check_current(result)
    other = make_record(7, {"mixtures": wavs}, {}, {"threshold": 0.6})
    other["version"] = 2
    found = differences(record, other)
    assert "version 1 of the code, now 2" in found
    assert "threshold was 0.5, now 0.6" in found
    # What was made from it is no longer current, either.
    scored = tmp_path / "scored"
    scored.mkdir()
    files = {"separation": result / "made_from.json"}
    write_record(scored, make_record(8, {}, files, {}))
    check_current(scored)
    model.write_bytes(b"2")
    with pytest.raises(InputError, match=r"made from model .* Run stage 7 again"):
        check_current(scored)
    model.unlink()  # the results may have been moved
    check_current(scored)
    with pytest.raises(InputError, match="has no made_from.json"):
        check_current(tmp_path / "none", required=True)
