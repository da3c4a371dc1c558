"""Results, and whether what they were made from is still there and the same."""

import os

import pytest

from espnet2_avsep.data.records.content import content_of, write_content
from espnet2_avsep.data.records.made_from import (
    check_current,
    check_sets,
    check_tracks,
    check_unchanged,
    make_record,
    read_record,
    record_path,
    write_record,
)
from espnet2_avsep.data.tables.scp import write_scp
from espnet2_avsep.errors import InputError


def test_a_file_without_a_suffix_has_a_record_beside_it(tmp_path):
    """avsep results --output RESULTS failed when it had written it; avsep pack, too."""
    result = tmp_path / "RESULTS"
    result.write_text("a page")
    record = make_record(8, {}, {}, {})
    write_record(result, record)
    assert read_record(result) == record
    assert (tmp_path / "RESULTS.made_from.json").is_file()
    assert record_path(tmp_path / "new") == tmp_path / "new" / "made_from.json"


def write_table(scp, **contents):
    """A table of files beside it, with their digests."""
    scp.parent.mkdir(parents=True, exist_ok=True)
    table = {}
    for key, content in contents.items():
        table[key] = str(scp.with_name(f"{scp.stem}-{key}.wav"))
        with open(table[key], "w") as f:
            f.write(content)
    write_content(scp, content_of(table, scp, whole=True))
    write_scp(scp, table)
    return scp


def change(path):
    """Another content of the same length and time of modification."""
    before = path.stat()
    path.write_text(path.read_text().swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def result(tmp_path):
    """A result of stage 4, made from a table."""
    table = write_table(tmp_path / "clips" / "wav.scp", a="abc", b="def")
    (tmp_path / "set").mkdir()
    write_record(tmp_path / "set", make_record(4, {"clips": table}, {}, {}))
    return tmp_path / "set"


def test_a_changed_file_of_an_input_is_seen(result):
    check_current(result)
    check_sets([result / "wav.scp", result / "spk1.scp"])
    change(result.parent / "clips" / "wav-b.wav")
    for check in (check_current, lambda folder: check_sets([folder / "wav.scp"])):
        with pytest.raises(InputError, match="clips .*Run stage 4 again"):
            check(result)


def test_files_of_an_input_that_were_removed_are_no_change(result):
    """Clips may be removed once the mixtures are made of them."""
    for path in (result.parent / "clips").glob("*.wav"):
        path.unlink()
    check_current(result)
    (result.parent / "clips" / "wav.scp").unlink()
    check_current(result)


def test_without_a_record_nothing_is_known(tmp_path):
    check_sets([tmp_path / "wav.scp"])
    with pytest.raises(InputError, match="has no made_from.json"):
        check_current(tmp_path, required=True)


def test_the_wanted_files_of_a_table_must_be_as_they_were_written(tmp_path):
    table = write_table(tmp_path / "wav.scp", a="abc", b="def")
    check_unchanged(table, 3)
    change(tmp_path / "wav-b.wav")
    with pytest.raises(InputError, match="1 file.* changed since stage 3 .*: b"):
        check_unchanged(table, 3)
    check_unchanged(table, 3, ["a", "not listed"])
    (tmp_path / "wav-b.wav").unlink()
    with pytest.raises(InputError, match="Run stage 3 again"):
        check_unchanged(table, 3)


def test_tracks_of_other_mixtures_and_damaged_ones(tmp_path):
    mixtures = write_table(tmp_path / "set" / "wav.scp", m="abc")
    tracks = write_table(tmp_path / "separated" / "spk1.scp", m="abc").parent
    check_tracks(tracks)
    write_record(tracks, make_record(7, {"speech_mix": mixtures}, {}, {}))
    check_tracks(tracks)
    for path in (tmp_path / "set" / "wav-m.wav", tracks / "spk1-m.wav"):
        change(path)
        with pytest.raises(InputError, match="Run stage 7 again"):
            check_tracks(tracks)
        change(path)
