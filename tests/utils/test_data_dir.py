"""utils/{fix,validate}_data_dir.sh."""

import os
import resource

import numpy as np
import pytest
import soundfile
from shell_tools import UTILS, run, write

KEYS = ["cello-a", "cello-b", "tuba-a", "tuba-b", "tuba-c"]


@pytest.fixture
def data(tmp_path):
    """A faultless data folder of five clips."""
    folder = tmp_path / "data"
    media = write(tmp_path / "media.mp4", "media")
    frames = tmp_path / "frames"
    frames.mkdir()
    ark = write(tmp_path / "visual.ark", "features")

    def save(name, value):
        write(folder / name, "".join(f"{key} {value(key)}\n" for key in KEYS))

    save("wav.scp", lambda key: media if key < "t" else f"cat {media} |")
    save("video.scp", lambda key: media if key < "t" else frames)
    save("visual.scp", lambda key: f"{ark}:12")
    save("utt2spk", lambda key: key.split("-")[0])
    save("utt2clip", lambda key: key.replace("-", "/"))
    save("utt2num_samples", lambda key: 1000 + ord(key[-1]))
    write(folder / "spk2utt", "cello cello-a cello-b\ntuba tuba-a tuba-b tuba-c\n")
    write(folder / "spk2gender", "cello f\ntuba m\n")
    write(folder / "skipped.tsv", "tuba-z\tdata\tno such video\n")
    return folder


def tool(name, *arguments):
    return run(UTILS / f"{name}.sh", *arguments)


def validate(*arguments):
    return tool(
        "validate_data_dir", "--no-feats", "--no-text", "--allow-pipes", *arguments
    )


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def snapshot(folder):
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    }


def keys(path):
    return [line.split()[0] for line in path.read_text().splitlines()]


def test_a_faultless_folder_passes_and_stays_as_it_is(data):
    before = snapshot(data)
    result = validate(data)
    assert result.returncode == 0, result.stderr
    assert "5 utterances" in result.stdout
    assert tool("fix_data_dir", data).returncode == 0
    assert snapshot(data) == before


FIXED_BY_FIX = [
    ("utt2spk", "cello-b cello\n", "", "cello-b is in video.scp and not in utt2spk"),
    ("utt2clip", "tuba-a tuba/a\n", "", "tuba-a is in utt2spk and not in utt2clip"),
    ("utt2clip", "cello-a cello/a\n", "cello-a\n", "cello-a has no value"),
    ("utt2clip", "cello-a cello/a\n", "cello-a 1\ncello-a 2\n", "more than once"),
    ("utt2spk", "cello-a cello\ncello-b cello\n", "cello-b cello\ncello-a cello\n",
     "not sorted"),
    ("spk2utt", "cello cello-a", "cello", "do not agree on speaker cello"),
    ("spk2utt", "cello cello-a", "cello tuba-a cello-a", "do not agree"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "message"), FIXED_BY_FIX)
def test_faults_that_fix_data_dir_mends(data, name, old, new, message):
    edit(data / name, old, new)
    result = validate(data)
    assert result.returncode == 1
    assert message in result.stderr
    assert f"utils/fix_data_dir.sh {data}" in result.stderr
    assert tool("fix_data_dir", data).returncode == 0
    assert validate(data).returncode == 0


def test_fix_counts_what_goes(data):
    edit(data / "video.scp", "tuba-b ", "other-b ")
    result = tool("fix_data_dir", data)
    assert "kept 4 of 6 utterances" in result.stdout
    assert (data / "skipped.tsv").read_text().splitlines() == [
        "other-b\tfix_data_dir\tnot in utt2clip, utt2num_samples, utt2spk, visual.scp, "
        "wav.scp",
        "tuba-b\tfix_data_dir\tnot in video.scp",
        "tuba-z\tdata\tno such video",
    ]
    assert keys(data / "wav.scp") == ["cello-a", "cello-b", "tuba-a", "tuba-c"]
    assert (data / "spk2utt").read_text().endswith("tuba tuba-a tuba-c\n")
    assert keys(data / ".backup" / "wav.scp") == KEYS
    # Once more: the list does not grow.
    before = snapshot(data)
    assert tool("fix_data_dir", data).returncode == 0
    assert snapshot(data) == before


def test_fix_names_conflicting_duplicates(data):
    edit(data / "utt2clip", "cello-a cello/a\n", "cello-a 1\ncello-a 2\n")
    assert "cello-a comes again with another value" in tool("fix_data_dir", data).stderr
    assert (data / "utt2clip").read_text().startswith("cello-a 1\ncello-b")


def test_fix_refuses_to_empty_a_folder(data):
    write(data / "text", "nobody nothing\n")
    before = snapshot(data)
    result = tool("fix_data_dir", data)
    assert result.returncode == 1
    assert "no utterance is in all of its tables" in result.stderr
    assert snapshot(data) == before


def test_c_order_puts_capitals_first(tmp_path):
    folder = tmp_path / "data"
    for name in ("utt2spk", "wav.scp"):
        write(folder / name, "a-1 /dev/null\n_-1 /dev/null\nB-1 /dev/null\n")
    assert tool("fix_data_dir", folder).returncode == 0
    assert keys(folder / "wav.scp") == ["B-1", "_-1", "a-1"]


def test_validate_sees_missing_files(data):
    edit(data / "wav.scp", "cello-b /", "cello-b /nowhere")
    edit(data / "visual.scp", "visual.ark", "no.ark")
    result = validate(data)
    assert result.returncode == 1
    assert "wav.scp: the file of cello-b does not exist" in result.stderr
    assert (
        "visual.scp: the file of cello-a, cello-b, tuba-a and 2 more" in result.stderr
    )


def test_validate_sees_missing_tables(data, tmp_path):
    assert "no such folder" in validate(tmp_path / "none").stderr
    (data / "wav.scp").unlink()
    assert "wav.scp: no such file" in validate(data).stderr
    assert validate("--no-wav", data).returncode == 0
    (data / "spk2utt").unlink()
    assert "spk2utt: no such file" in validate("--no-wav", data).stderr
    (data / "utt2spk").unlink()
    assert "utt2spk: no such file" in validate("--no-wav", data).stderr


def test_validate_wants_sounds_and_pictures(data):
    for name in ("video.scp", "visual.scp"):
        (data / name).unlink()
    result = validate(data)
    assert result.returncode == 1
    assert "video.scp: no such file, so the sounds have no pictures" in result.stderr
    assert validate("--no-video", data).returncode == 0
    edit(data / "wav.scp", "tuba-a ", "tuba-d ")
    message = validate("--no-video", data).stderr
    assert "tuba-d is in wav.scp and not in utt2spk" in message
    assert "tuba-a is in utt2spk and not in wav.scp" in message


def test_validate_sees_empty_files(data):
    (data.parent / "media.mp4").write_text("")
    message = validate(data).stderr
    assert "wav.scp: the file of cello-a, cello-b is empty" in message
    assert "video.scp: the file of cello-a, cello-b is empty" in message
    assert "Fetch it again, or delete the line" in message
    assert validate("--allow-empty-media", data).returncode == 0


@pytest.mark.parametrize("name", ["utt2spk", "wav.scp", "spk2utt"])
def test_validate_sees_windows_line_ends_and_fix_mends_them(data, name):
    before = (data / name).read_bytes()
    (data / name).write_bytes(before.replace(b"\n", b"\r\n"))
    message = validate(data).stderr
    assert f"{name}: has Windows' line ends (CRLF)" in message
    assert f"utils/fix_data_dir.sh {data}" in message
    assert tool("fix_data_dir", data).returncode == 0
    assert (data / name).read_bytes() == before


def test_validate_sees_a_cut_table(data):
    edit(data / "utt2clip", "tuba-c tuba/c\n", "tuba-c tub")
    assert "utt2clip: its last line has no end" in validate(data).stderr


@pytest.mark.parametrize(
    "odd", ["tuba/a", "tuba*a", "tuba'a", "tu\u0308ba", "tuba;a", "tu|a"]
)
def test_validate_sees_odd_characters(data, odd):
    for path in data.iterdir():
        path.write_text(path.read_text().replace("tuba-a ", f"{odd} "))
    message = validate(data).stderr
    assert f"the id {odd!r} has characters" in message
    assert "local/prepare_<corpus>.py" in message


def test_ordinary_ids_are_fine(data):
    for path in data.iterdir():
        text = path.read_text().replace("tuba-c", "tuba-c_000030,x.y+z=@")
        path.write_text(text)
    assert validate(data).returncode == 0


def test_validate_sees_blanks_in_ids(data):
    for path in data.iterdir():
        path.write_text(path.read_text().replace("cello-b ", "cello-b 2 "))
    message = validate(data).stderr
    assert "wav.scp: cello-b: the id seems to hold a blank: 'cello-b 2 /" in message
    assert "write '_' in its place" in message
    assert "utt2spk: cello-b has more than one word after the id: '2 cello'" in message
    assert "does not exist" not in message


def test_validate_says_where_a_relative_path_was_looked_for(data):
    edit(data / "wav.scp", "cello-b /", "cello-b nowhere/")
    assert f"(within {os.getcwd()})" in validate(data).stderr


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_validate_sees_other_sampling_rates(data, kind):
    for key, rate in (("tuba-a", 11625), ("tuba-b", 16000)):
        path = data.parent / f"{key}.{kind}"
        soundfile.write(path, np.zeros(99), rate)
        lines = (data / "wav.scp").read_text().splitlines()
        lines = [f"{key} {path}" if ln.startswith(f"{key} ") else ln for ln in lines]
        (data / "wav.scp").write_text("\n".join(lines) + "\n")
    assert validate(data).returncode == 0
    message = validate("--fs", 11625, data).stderr
    assert "wav.scp: tuba-b has another sampling rate than 11625 Hz" in message
    assert "16000 Hz. Run stage 3 again with --fs 11625" in message


def test_validate_is_quick(tmp_path):
    """20,000 rows here; the time of 200,000 is ten times as long."""
    folder = tmp_path / "data"
    media = write(tmp_path / "media.mp4", "media")
    ids = [f"class{n % 300:03d}-{n:011d}" for n in range(20_000)]
    ids.sort()
    for name, value in (("wav.scp", media), ("video.scp", media)):
        write(folder / name, "".join(f"{i} {value}\n" for i in ids))
    write(folder / "utt2spk", "".join(f"{i} {i[:8]}\n" for i in ids))
    write(folder / "utt2clip", "".join(f"{i} {i[:8]}/{i[9:]}\n" for i in ids))
    assert tool("fix_data_dir", folder).returncode == 0
    begin = cpu_seconds_of_children()
    assert validate(folder).returncode == 0
    assert cpu_seconds_of_children() - begin < 8


def cpu_seconds_of_children():
    """CPU time, because the machine may be busy."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_validate_sees_empty_sets_and_bad_numbers(data):
    edit(data / "utt2num_samples", "cello-a 1097", "cello-a 10.97")
    assert "cello-a is not a whole number" in validate(data).stderr
    for path in data.iterdir():
        path.write_text("")
    assert "No utterance is left" in validate(data).stderr


def test_validate_refuses_commands_unless_they_are_allowed(data):
    message = tool("validate_data_dir", "--no-feats", data).stderr
    assert "wav.scp: tuba-a, tuba-b, tuba-c has a command for a file: 'cat " in message
    assert "--allow-pipes" in message and "--allow_pipes true" in message


def test_byte_order_marks_are_seen_and_removed(data):
    for name in ("wav.scp", "utt2spk"):
        (data / name).write_bytes(b"\xef\xbb\xbf" + (data / name).read_bytes())
    message = validate(data).stderr
    assert "wav.scp: begins with a byte order mark" in message
    assert "cello-a is in" not in message
    assert tool("fix_data_dir", data).returncode == 0
    assert validate(data).returncode == 0


@pytest.mark.parametrize("key", ["tüba-a", "किताब-a", "笛-a"])
def test_ids_of_other_scripts_are_fine(data, key):
    for path in data.iterdir():
        path.write_text(path.read_text().replace("tuba-a", key))
    assert tool("fix_data_dir", data).returncode == 0
    assert validate(data).returncode == 0


def test_fix_writes_ids_in_nfc(data):
    for path in data.iterdir():
        path.write_text(path.read_text().replace("tuba-a", "tu\u0308ba-a"))
    assert "form NFC" in validate(data).stderr
    assert tool("fix_data_dir", data).returncode == 0
    assert validate(data).returncode == 0
    assert "t\u00fcba-a " in (data / "wav.scp").read_text()


def test_several_folders_in_one_call(tmp_path):
    """The first that is wrong ends it, and its name is in the error."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        write(folder / "wav.scp", "b-1 /dev/null\na-1 /dev/null\n")
        write(folder / "video.scp", "b-1 /dev/null\na-1 /dev/null\n")
        write(folder / "utt2spk", "b-1 b\na-1 a\n")
    assert run(UTILS / "fix_data_dir.sh", good, bad).returncode == 0
    for folder in (good, bad):
        assert (folder / "utt2spk").read_text() == "a-1 a\nb-1 b\n"
    words = [UTILS / "validate_data_dir.sh", "--allow-empty-media", good, bad]
    result = run(*words)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("2 utterances") == 2
    write(bad / "utt2spk", "b-1 b\na-1 a\n")
    result = run(*words)
    assert result.returncode == 1 and str(bad) in result.stderr
    assert str(good) not in result.stderr
