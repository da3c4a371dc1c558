"""The leak check on sets of clips as stages 1 to 4 leave them."""

import itertools
import random
import shutil

import numpy as np
import pytest

from espnet2_avsep.bin.prepare.check_leaks import main
from espnet2_avsep.corpus.leaks.clip_set import video_of
from espnet2_avsep.corpus.leaks.table import Leak, leaking_clips, read_leaks
from espnet2_avsep.data.tables.scp import write_scp
from espnet2_avsep.errors import InputError
from tests.support.media_fixtures import write_wav
from tests.support.melodies import RATE, coded, melody
from tests.support.processes import held_by_another

# The two videos of the published pair list of MUSIC that are in its training list too.
PUBLISHED = ("xylophone/5lm9laLSORc", "acoustic_guitar/Pzf9MQKkoNM")


class Sets:
    """Writes sets of clips."""

    def __init__(self, path):
        self.path = path
        self.output = path / "dump" / "leaks.tsv"

    def write(self, name, clips):
        """Write a set: clips are category/id -> sound, or None for a silent one."""
        tables = {"wav.scp": {}, "utt2spk": {}, "utt2clip": {}}
        for clip, sound in clips.items():
            category, _, video = clip.partition("/")
            key = f"{category.replace(' ', '_')}-{video}"
            sound = np.zeros(2000, "f") if sound is None else sound
            wav = write_wav(self.path / "wav" / name / f"{key}.wav", sound, RATE)
            for table, value in zip(
                tables.values(), (wav, key.partition("-")[0], clip), strict=True
            ):
                table[key] = value
        for table in ("wav.scp", "utt2spk"):
            write_scp(self.path / "dump" / name / table, tables[table])
        write_scp(self.path / "data" / name / "utt2clip", tables["utt2clip"])

    def spec(self, name):
        return f"{name}:{self.path / 'data' / name}:{self.path / 'dump' / name}"

    def run(self, *options, test=("test",)):
        words = ["--train_set", self.spec("train"), "--valid_set", self.spec("valid")]
        for name in test:
            words += ["--test_set", self.spec(name)]
        words += ["--output", self.output, "--cache_dir", self.path / "cache"]
        return main([*map(str, words), *options])

    def leaks(self, *options, **named):
        assert self.run(*options, **named) == 0
        return read_leaks(self.output)


@pytest.fixture
def sets(tmp_path):
    return Sets(tmp_path)


def test_all_kinds(sets):
    a, b = melody(1, 5.0), melody(2, 5.0)
    sets.write("train", {
        "cello/aaaaaaaaaaa": melody(0, 5.0),
        "cello/bbbbbbbbbbb": a,
        "tuba/ccccccccccc": b,
        "erhu/ddddddddddd": melody(3, 5.0),
    })  # fmt: skip
    sets.write("valid", {
        "cello/eeeeeeeeeee": melody(4, 5.0),
        "cello/fffffffffff": 0.3 * coded(a, "aac", 64000, 44100)[2000:],
        "pipa/eeeeeeeeeee": melody(5, 5.0),
    })  # fmt: skip
    sets.write("test", {
        "tuba/ccccccccccc": None,
        "guzheng/ddddddddddd": melody(6, 5.0),
        "cello/ggggggggggg": coded(melody(4, 5.0), "libmp3lame", 48000, 44100)[99:],
        "cello/hhhhhhhhhhh": melody(7, 5.0),
    })  # fmt: skip
    found = sets.leaks("--nj", "2")
    assert [leak[:5] for leak in found] == [
        ("same_audio", "test", "cello-ggggggggggg", "valid", "cello-eeeeeeeeeee"),
        ("same_audio", "valid", "cello-fffffffffff", "train", "cello-bbbbbbbbbbb"),
        ("same_video", "test", "guzheng-ddddddddddd", "train", "erhu-ddddddddddd"),
        ("same_video", "test", "tuba-ccccccccccc", "train", "tuba-ccccccccccc"),
        ("two_labels", "test", "guzheng-ddddddddddd", "train", "erhu-ddddddddddd"),
        ("two_labels", "valid", "pipa-eeeeeeeeeee", "valid", "cello-eeeeeeeeeee"),
    ]
    assert found[3].evidence == "video ccccccccccc"
    assert found[5].evidence == "video eeeeeeeeeee: pipa, cello"
    assert "hashes" in found[0].evidence
    assert leaking_clips(found, "valid") == {"cello-fffffffffff"}
    assert leaking_clips(found, "test") == {
        *("guzheng-ddddddddddd", "tuba-ccccccccccc", "cello-ggggggggggg")
    }
    # Again from what is kept, and from nothing: the same table.
    first = sets.output.read_bytes()
    assert sets.leaks() == found
    shutil.rmtree(sets.path / "cache")
    assert sets.leaks() == found
    assert sets.output.read_bytes() == first
    # By names alone.
    kinds = [leak.kind for leak in sets.leaks("--audio", "false")]
    assert kinds == ["same_video"] * 2 + ["two_labels"] * 2


def test_strict(sets, capsys):
    sets.write("train", {"cello/aaaaaaaaaaa": None, "erhu/bbbbbbbbbbb": None})
    sets.write("valid", {"cello/ccccccccccc": None, "tuba/ccccccccccc": None})
    sets.write("test", {"cello/ddddddddddd": None})
    # Two labels within a set make no score too good.
    assert sets.run("--strict", "true") == 0
    sets.write("test", {"tuba/aaaaaaaaaaa": None})
    assert sets.run("--strict", "false") == 0
    assert sets.run("--strict", "true") == 2
    assert "test: hold clips that earlier sets hold too" in capsys.readouterr().err
    assert len(read_leaks(sets.output)) == 3


def test_no_leak_is_a_table_too(sets):
    sets.write("train", {"cello/aaaaaaaaaaa": None})
    sets.write("valid", {"cello/bbbbbbbbbbb": None})
    assert sets.leaks(test=("valid",)) == []
    assert sets.output.read_text().count("\n") == 1


def test_two_runs_do_not_share_fingerprints_at_a_time(sets, capsys):
    """Of other sets: each removes the files that belong to the other."""
    sets.write("train", {"cello/aaaaaaaaaaa": melody(0, 1.0)})
    sets.write("valid", {"cello/bbbbbbbbbbb": melody(1, 1.0)})
    with held_by_another(sets.path / "cache", "a leak check") as other:
        assert sets.run(test=("valid",)) == 2
        error = capsys.readouterr().err
        assert f"cache is in use by a leak check, pid {other.pid} on " in error
        assert "another folder (--cache_dir, or --dumpdir)" in error
        assert sets.leaks("--audio", "false", test=("valid",)) == []
    assert sets.leaks(test=("valid",)) == []


def test_sections_of_a_video(sets):
    assert video_of("dog barking/aaaaaaaaaaa_000030") == "aaaaaaaaaaa"
    assert video_of("cello/a_bcdef_123") == "a_bcdef_123"
    assert video_of("cello/short_000030") == "short_000030"
    sets.write("train", {"dog barking/aaaaaaaaaaa_000030": None})
    sets.write("valid", {"cello/bbbbbbbbbbb_000000": None})
    sets.write("test", {"dog barking/aaaaaaaaaaa_000170": None})
    assert [leak.kind for leak in sets.leaks()] == ["same_video"]


def test_the_published_pairs_of_music(sets):
    """250 pairs of 25 videos, two of which are trained on: 45 pairs leak, 205 do not.

    Which pairs the published list has is not reproduced; of the 300 possible pairs 47
    hold one of the two videos, and the list here leaves out two of these and 48 others.
    """
    rng = random.Random(0)
    categories = ["accordion", "cello", "erhu", "flute", "tuba"]
    clean = [
        f"{rng.choice(categories)}/{''.join(rng.choices('abcdefghijk', k=11))}"
        for _ in range(40)
    ]
    tested = [*clean[:23], *PUBLISHED]
    trained = [*clean[23:38], *PUBLISHED]
    sounds = {clip: melody(n, 3.0) for n, clip in enumerate([*clean, *PUBLISHED])}
    sets.write("train", {clip: sounds[clip] for clip in trained})
    sets.write("valid", {clip: sounds[clip] for clip in clean[38:]})
    sets.write("test", {clip: 0.5 * sounds[clip][300:] for clip in tested})
    found = sets.leaks()
    keys = {clip.replace("/", "-") for clip in PUBLISHED}
    assert leaking_clips(found, "test") == keys
    assert {(leak.kind, leak.clip) for leak in found} == {
        (kind, key) for kind in ("same_video", "same_audio") for key in keys
    }
    pairs = list(itertools.combinations([c.replace("/", "-") for c in tested], 2))
    holding = [pair for pair in pairs if keys & set(pair)]
    others = [pair for pair in pairs if not keys & set(pair)]
    listed = rng.sample(holding, len(holding) - 2) + rng.sample(others, 205)
    assert len(listed) == 250
    leaking = leaking_clips(found, "test")
    assert sum(bool(leaking & set(pair)) for pair in listed) == 45
    assert sum(not leaking & set(pair) for pair in listed) == 205


def test_bad_input(sets, capsys):
    sets.write("train", {"cello/aaaaaaaaaaa": None})
    assert main(["--train_set", "train", "--output", "x", "--cache_dir", "y"]) == 2
    assert "expected NAME:DATADIR:CLIPSDIR" in capsys.readouterr().err
    assert sets.run() == 2
    assert "is not a folder" in capsys.readouterr().err
    assert sets.run("--nj", "0") == 2
    with pytest.raises(InputError, match="unless --leak_check is false"):
        read_leaks(sets.path / "no.tsv")
    (sets.path / "bad.tsv").write_text("kind\n")
    with pytest.raises(InputError, match="must name the columns kind set clip"):
        read_leaks(sets.path / "bad.tsv")
    (sets.path / "bad.tsv").write_text("\t".join(Leak._fields) + "\nsame_video\n")
    with pytest.raises(InputError, match="line 2: 1 columns; expected 6"):
        read_leaks(sets.path / "bad.tsv")
