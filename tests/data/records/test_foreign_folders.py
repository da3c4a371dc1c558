"""A folder of the user's as --output_dir: nothing in it is removed or replaced."""

import numpy as np
import pytest
import soundfile
from PIL import Image

from espnet2_avsep.bin.prepare import collect_stats, format_audio, make_mixtures
from espnet2_avsep.bin.train import config
from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.records.made_from import make_record, write_record
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.listed_mixtures import ListedOptions, separate_listed
from espnet2_avsep.report.listening import copy_files, write_media
from espnet2_avsep.report.picture_check import Video, look_at_videos

RECORD = {"stage": 7, "version": 1, "inputs": {}, "options": {}}


def files(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write(path, content="mine\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture
def sounds(tmp_path):
    """A table of two sounds."""
    for key in "ab":
        soundfile.write(tmp_path / f"{key}.wav", np.full(800, 0.1), 8000)
    lines = "".join(f"{key} {tmp_path}/{key}.wav\n" for key in "ab")
    return write(tmp_path / "sounds.scp", lines)


def test_formatted_sounds_beside_files_of_the_user(tmp_path, sounds):
    """Each data/*.* of a folder without a journal was deleted."""
    out = tmp_path / "project"
    write(out / "data" / "notes.csv")
    write(out / "data" / "recording.wav")
    before = files(out)
    words = ["--wav_scp", str(sounds), "--output_dir", str(out), "--fs"]
    assert format_audio.main([*words, "8000"]) == 0
    assert {path: files(out)[path] for path in before} == before
    # With another rate or format, its own files go.
    assert format_audio.main([*words, "4000", "--audio_format", "flac"]) == 0
    names = {path.name for path in (out / "data").iterdir()}
    assert {"a.flac", "b.flac", "notes.csv"} <= names and "a.wav" not in names


def test_formatted_sounds_in_the_folder_of_their_table(tmp_path, sounds, capsys):
    table = sounds.rename(write(tmp_path / "train" / "wav.scp"))
    before = files(tmp_path)
    words = ["--wav_scp", str(table), "--output_dir", str(table.parent)]
    assert format_audio.main([*words, "--fs", "8000"]) == 2
    assert "was not written by stage 3" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_mixtures_in_the_folder_of_their_clips(tmp_path, sounds, capsys):
    clips = sounds.rename(write(tmp_path / "clips" / "wav.scp")).parent
    write(clips / "utt2spk", "a a\nb b\n")
    other = write(tmp_path / "other" / "spk1.scp").parent
    before = files(tmp_path)
    for out, message in ((clips, "is an input"), (other, "was not written with")):
        words = ["--clips_dir", str(clips), "--output_dir", str(out)]
        assert make_mixtures.main([*words, "--fs", "8000"]) == 2
        assert message in capsys.readouterr().err
    assert files(tmp_path) == before


def test_clips_in_the_folder_of_stage_1_or_3(tmp_path):
    for name in ("data", "org"):
        for table in ("utt2spk", "wav.scp"):
            write(tmp_path / name / table, "a a\n")
    before = files(tmp_path)
    data, org = tmp_path / "data", tmp_path / "org"
    for out in (data, org):
        with pytest.raises(InputError, match="would be overwritten"):
            filter_clips(data, org, tmp_path, out, Limits(8000))
    assert files(tmp_path) == before


def separate(out):
    """Separate one mixture into one track."""
    tracks = np.zeros((1, 100), np.float32)
    separate_listed(
        ListedOptions(output_dir=str(out)),
        {"speech_mix": {"m": "m.wav"}},
        1,
        RECORD,
        lambda keys: [(key, tracks, 8000) for key in keys],
    )


def test_tracks_beside_sounds_of_the_user(tmp_path):
    """The folder wavs/ was deleted, whatever was in it."""
    song = write(tmp_path / "wavs" / "song.wav")
    separate(tmp_path)
    assert song.read_text() == "mine\n"
    assert (tmp_path / "wavs" / "spk1" / "m.wav").is_file()
    # Tracks of another model are made again.
    write_record(tmp_path, {**RECORD, "options": {"model": "other"}})
    write(tmp_path / "wavs" / "spk2" / "old.wav")
    separate(tmp_path)
    assert not (tmp_path / "wavs" / "spk2").exists() and song.exists()


def test_tracks_in_the_folder_of_the_references(tmp_path):
    """spk1.scp is the name of the references' table, too; it was deleted."""
    table = write(tmp_path / "spk1.scp")
    with pytest.raises(InputError, match="was not written by a separation"):
        separate(tmp_path)
    write_record(tmp_path, make_record(4, {}, {}, {}))
    before = files(tmp_path)
    with pytest.raises(InputError, match="holds the result of stage 4, of which stage"):
        separate(tmp_path)
    assert files(tmp_path) == before and table.read_text() == "mine\n"


def test_shapes_in_the_folder_of_the_set(tmp_path, sounds, capsys):
    """Its record was replaced, and later stages no longer knew what it is made from."""
    write_record(tmp_path, make_record(4, {}, {}, {}))
    before = files(tmp_path)
    triple = f"{sounds},speech_mix,sound"
    words = ["--data_path_and_name_and_type", triple, "--output_dir", str(tmp_path)]
    assert collect_stats.main(words) == 2
    assert "holds the result of stage 4" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_a_configuration_is_not_written_over_itself(tmp_path, capsys):
    path = write(tmp_path / "a.yaml", "# A remark.\ntrained: false\n")
    assert config.main(["--output", str(path), str(path)]) == 2
    assert "is an input" in capsys.readouterr().err
    assert path.read_text().startswith("# A remark")


def test_pages_beside_files_of_the_user(tmp_path):
    """--output_dir . deleted the folders pictures, media and files that were there."""
    mine = [write(tmp_path / "pictures" / "trip" / "sea.jpg")]
    mine += [write(tmp_path / "media" / "a" / "b" / "c.flac")]
    mine += [write(tmp_path / "files" / "thesis.tex")]
    mine += [write(tmp_path / "files" / "a" / "b.tex")]
    Image.new("RGB", (32, 18)).save(tmp_path / "picture.png")
    (tmp_path / "clip").mkdir()
    (tmp_path / "picture.png").rename(tmp_path / "clip" / "1.png")
    video = Video("train", "clip", str(tmp_path / "clip"))
    page = write(tmp_path / "results.txt", "a page\n")
    look_at_videos([video], tmp_path / "pictures", 1)
    write_media([], tmp_path / "media")
    copied = {"": {"one.txt": page}, "set": {"results.txt": page}}
    copy_files(copied, tmp_path / "files")
    assert [path.read_text() for path in mine] == ["mine\n"] * 4
    # What former calls have copied and is no longer wanted goes.
    links = copy_files({"set": copied["set"]}, tmp_path / "files")
    assert [path.read_text() for path in mine] == ["mine\n"] * 4
    assert (tmp_path / links["set"]["results.txt"]).read_text() == "a page\n"
    assert not list((tmp_path / "files").glob("one*"))
