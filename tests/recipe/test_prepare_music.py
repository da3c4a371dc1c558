import importlib.util
import json
import logging
from pathlib import Path

import pytest

from espnet2_avsep.data.tables.scp import read_scp, read_skipped

SCRIPT = Path(__file__).resolve().parents[2] / "local" / "prepare_music.py"


@pytest.fixture(scope="module")
def music():
    spec = importlib.util.spec_from_file_location("prepare_music", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(music, tmp_path, capsys):
    def call(*options, folder="MUSIC"):
        arguments = ["--music_dir", str(tmp_path / folder)]
        arguments += ["--data_dir", str(tmp_path / "data"), *map(str, options)]
        status = music.main(arguments)
        return status, capsys.readouterr().err

    return call


VIDEOS = {"cello": ["c0", "c1", "c2", "-c3"], "erhu solo": ["e0", "e1", "e2"]}


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def corpus(tmp_path):
    """Layout of MUSIC; erhu solo/e2 is gone."""
    folder = tmp_path / "MUSIC"
    for category, ids in VIDEOS.items():
        for i, video in enumerate(ids):
            if video != "e2":
                ending = ("mp4", "webm", "mkv", "MOV")[i]
                touch(folder / "videos" / category / f"{video}.{ending}")
    touch(folder / "videos" / "cello" / "c0.info.json")
    touch(folder / "videos" / "cello" / "c1.jpg")
    (folder / "MUSIC_solo_videos.json").write_text(json.dumps({"videos": VIDEOS}))
    return folder


def write_lists(folder, **lists):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows))
    return folder


LISTS = {
    "train": ["cello/c0", "cello/c1", "erhu solo/e0"],
    "valid": ["cello/c2", "erhu solo/e2"],
    "test": ["cello/-c3", "erhu solo/e1", "tuba/t9"],
}


def tables(tmp_path, name):
    folder = tmp_path / "data" / name
    return {
        table: read_scp(folder / table)
        for table in ("wav.scp", "video.scp", "utt2spk", "spk2utt", "utt2clip")
    }


def test_videos_and_lists(tmp_path, corpus, run):
    write_lists(corpus / "splits", **LISTS)
    assert run()[0] == 0
    train = tables(tmp_path, "train")
    c0 = str(corpus / "videos" / "cello" / "c0.mp4")
    e0 = str(corpus / "videos" / "erhu solo" / "e0.mp4")
    c1 = str(corpus / "videos" / "cello" / "c1.webm")
    keys = ["cello-c0", "cello-c1", "erhu_solo-e0"]
    assert train["wav.scp"] == dict(zip(keys, (c0, c1, e0), strict=True))
    assert train["video.scp"] == train["wav.scp"]
    assert train["utt2spk"] == dict(
        zip(keys, ("cello", "cello", "erhu_solo"), strict=True)
    )
    assert train["spk2utt"] == {
        "cello": "cello-c0 cello-c1",
        "erhu_solo": "erhu_solo-e0",
    }
    assert train["utt2clip"]["erhu_solo-e0"] == "erhu solo/e0"
    assert read_skipped(tmp_path / "data" / "train" / "skipped.tsv") == []
    assert list(tables(tmp_path, "valid")["utt2spk"]) == ["cello-c2"]
    assert read_skipped(tmp_path / "data" / "valid" / "skipped.tsv") == [
        ("erhu_solo-e2", "data", "video not found")
    ]
    test = tables(tmp_path, "test")
    assert list(test["utt2spk"]) == ["cello--c3", "erhu_solo-e1"]
    assert read_skipped(tmp_path / "data" / "test" / "skipped.tsv") == [
        ("tuba-t9", "data", "video not found")
    ]
    rule = (tmp_path / "data" / "local" / "split_rule.txt").read_text()
    assert rule.startswith(f"lists in {corpus / 'splits'}")


def test_what_is_gone_or_unlisted_is_counted(corpus, run, caplog):
    caplog.set_level(logging.INFO)
    touch(corpus / "videos" / "cello" / "extra.mp4")
    touch(corpus / "videos" / "cello" / "c0.webm")
    write_lists(corpus / "splits", **{**LISTS, "train": ["cello/c0", "cello/extra"]})
    assert run()[0] == 0
    assert "1 of the 7 videos of MUSIC_solo_videos.json are not there" in caplog.text
    assert "1 files are not in MUSIC_solo_videos.json" in caplog.text
    assert "c0.webm: not used" in caplog.text
    assert "2 clips are in no set: cello/c1, erhu solo/e0" in caplog.text
    skipped = read_skipped(corpus.parent / "data" / "train" / "skipped.tsv")
    assert skipped == [("cello-extra", "data", "not in MUSIC_solo_videos.json")]


def test_other_names_of_sets(tmp_path, corpus, run):
    lists = {"tr": LISTS["train"], "dev": LISTS["valid"], "a": ["cello/-c3"]}
    folder = write_lists(tmp_path / "lists", **lists, b=["erhu solo/e1"])
    names = ("--train_set", "tr", "--valid_set", "dev", "--test_sets", "a b")
    assert run("--splits", folder, *names)[0] == 0
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [
        *("a", "b", "dev", "local", "tr"),
    ]
    status, error = run("--splits", folder)
    assert status == 2
    assert "no list for the set train" in error
    assert "(there: a, b, dev, tr)" in error


def test_a_clip_in_two_sets(corpus, run):
    write_lists(corpus / "splits", **{**LISTS, "test": ["cello/c0"]})
    status, error = run()
    assert status == 2
    assert "cello/c0 is in train and in test" in error


def test_a_run_that_ends_between_two_sets_leaves_none_of_another_split(
    tmp_path, corpus, run
):
    lists = write_lists(corpus / "splits", train=["cello/c0"], valid=["cello/c1"])
    write_lists(lists, test=["cello/c2"])
    assert run("--splits", lists)[0] == 0
    write_lists(lists, train=["cello/c2"], test=["erhu solo/e2"])
    status, error = run("--splits", lists, "--max_missing", 1)
    assert status == 2 and "the set test is empty" in error
    # Not the list of before, whose clip is in the training set now.
    assert not list((tmp_path / "data" / "test").glob("*.scp"))
    assert not (tmp_path / "data" / "test" / "utt2spk").exists()


def test_an_empty_set(corpus, run):
    write_lists(corpus / "splits", **{**LISTS, "valid": ["erhu solo/e2"]})
    status, error = run()
    assert status == 2
    assert "the set valid is empty: 1 clips are listed" in error


@pytest.mark.parametrize("row", ["cello", "cello/c0/x", "/c0", "cello/"])
def test_rows_that_are_none(corpus, run, row):
    write_lists(corpus / "splits", **{**LISTS, "valid": ["cello/c2", row]})
    status, error = run()
    assert status == 2
    assert "valid.txt, line 2" in error


def many_videos(folder, count=400):
    ids = [f"video{i:04d}" for i in range(count)]
    for video in ids:
        touch(folder / "videos" / "cello" / f"{video}.mp4")
    (folder / "MUSIC_solo_videos.json").write_text(
        json.dumps({"videos": {"cello": ids}})
    )


def split_of(tmp_path):
    return {
        clip: name
        for name in ("train", "valid", "test")
        for clip in tables(tmp_path, name)["utt2clip"].values()
    }


def test_split_rule(tmp_path, run):
    import hashlib

    many_videos(tmp_path / "MUSIC")
    assert run()[0] == 0  # there is no folder splits/
    split = split_of(tmp_path)
    for clip, name in split.items():
        digest = hashlib.sha256(clip.split("/")[1].encode()).hexdigest()
        place = int(digest, 16) / 16**64
        expected = "test" if place < 0.2 else "valid" if place < 0.3 else "train"
        assert name == expected
    counts = [list(split.values()).count(n) for n in ("train", "valid", "test")]
    assert counts == pytest.approx([280, 40, 80], abs=25)
    rule = (tmp_path / "data" / "local" / "split_rule.txt").read_text()
    assert "SHA-256 of the video id" in rule
    assert "test where x < 0.2" in rule


def test_split_rule_does_not_look_at_the_other_videos(tmp_path, run):
    many_videos(tmp_path / "MUSIC")
    run("--split_rule", "hash")
    before = split_of(tmp_path)
    many_videos(tmp_path / "fewer", 300)
    run("--split_rule", "hash", folder="fewer")
    after = split_of(tmp_path)
    assert after == {clip: name for clip, name in before.items() if clip in after}
    assert len(after) == 300
    run("--split_rule", "hash", "--test_ratio", "0.5", "--valid_ratio", "0.25")
    shares = list(split_of(tmp_path).values())
    assert shares.count("test") == pytest.approx(200, abs=40)


def test_split_rule_wins_over_the_folder(tmp_path, corpus, run):
    write_lists(corpus / "splits", **LISTS)
    many_videos(corpus)
    assert run("--split_rule", "hash")[0] == 0
    assert len(split_of(tmp_path)) == 400


@pytest.mark.parametrize(
    "options, message",
    [
        (("--test_ratio", "0.9", "--valid_ratio", "0.2"), "shares above 0"),
        (("--test_ratio", "0"), "--test_ratio 0.0: expected shares above 0"),
        (("--test_sets", "a b"), "one test set"),
        (("--splits", "x", "--split_rule", "hash"), "give one of them"),
        (("--test_sets", ""), "--test_sets: at least one name"),
        (("--valid_set", "train"), "is also valid or test"),
    ],
)
def test_senseless_options(corpus, run, options, message):
    status, error = run(*options)
    assert status == 2
    assert message in error


def test_unusable_folders(tmp_path, corpus, run):
    assert "no such folder" in run(folder="nowhere")[1]
    (tmp_path / "empty").mkdir()
    assert "with the folder videos/, nor train.csv" in run(folder="empty")[1]
    for content in ("{", "[]", '{"videos": 3}', '{"films": {}}'):
        (corpus / "MUSIC_solo_videos.json").write_text(content)
        assert "cannot be read" in run()[1]
    (corpus / "MUSIC_solo_videos.json").unlink()
    assert "MUSIC_solo_videos.json: no such file" in run("--layout", "json")[1]


@pytest.fixture
def hfra(tmp_path):
    """Layout of HFRA's README, with its paths from the parent of the folder."""
    folder = tmp_path / "MUSIC"
    rows = {}
    for i in range(6):
        spk = ("cello", "violin")[i % 2]
        touch(folder / "audio" / spk / f"v{i}.wav")
        for k in range(3 + i):
            touch(folder / "frames" / spk / f"{i:06d}" / f"{k + 1:06d}.jpg")
        rows[i] = f"MUSIC/audio/{spk}/v{i}.wav,MUSIC/frames/{spk}/{i:06d},{3 + i}"
    return folder, rows


def write_csv(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, rows in files.items():
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("place", ["metadata", ""])
def test_hfra_layout(tmp_path, hfra, run, place):
    folder, rows = hfra
    inside = rows[3].replace("MUSIC/", "")  # from the folder itself
    absolute = rows[4].replace("MUSIC/", f"{folder}/")
    write_csv(
        folder / place,
        train=["wav,frames_dir,n_frames", rows[0], rows[1], ""],
        val=[rows[2], inside],
        test=[absolute, rows[5]],
    )
    assert run()[0] == 0
    train = tables(tmp_path, "train")
    assert train["wav.scp"] == {
        "cello-v0": str(folder / "audio/cello/v0.wav"),
        "violin-v1": str(folder / "audio/violin/v1.wav"),
    }
    assert train["video.scp"]["violin-v1"] == str(folder / "frames/violin/000001")
    assert train["utt2clip"]["violin-v1"] == "violin/v1"
    assert list(tables(tmp_path, "valid")["utt2spk"]) == ["cello-v2", "violin-v3"]
    assert list(tables(tmp_path, "test")["utt2spk"]) == ["cello-v4", "violin-v5"]
    rule = (tmp_path / "data" / "local" / "split_rule.txt").read_text()
    assert rule == (
        "the corpus' lists (train: train.csv, valid: val.csv, test: test.csv)\n"
    )


def test_hfra_files_that_are_gone_or_fewer(tmp_path, hfra, run):
    folder, rows = hfra
    (folder / "audio/cello/v0.wav").unlink()
    (folder / "frames/violin/000001/000002.jpg").unlink()
    gone = "MUSIC/audio/violin/v3.wav,MUSIC/frames/violin/nothing,5"
    write_csv(folder, train=[rows[0], rows[1], rows[5], gone], val=[rows[2]])
    names = ("--valid_set", "val", "--test_sets", "val")
    status, error = run(*names)
    assert status == 2
    assert "3 of 5 listed clips are missing (file not found: 2, number of" in error
    assert "to go on with 2 clips, give --max_missing 0.61" in error.lower()
    assert "--frame_count ignore" in error
    assert run(*names, "--max_missing", "0.61")[0] == 0
    assert list(tables(tmp_path, "train")["utt2spk"]) == ["violin-v5"]
    assert read_skipped(tmp_path / "data" / "train" / "skipped.tsv") == [
        ("cello-v0", "data", "file not found: MUSIC/audio/cello/v0.wav"),
        (
            "violin-v1",
            "data",
            "number of images: MUSIC/frames/violin/000001 holds 3, the list says 4",
        ),
        ("violin-v3", "data", "file not found: MUSIC/frames/violin/nothing"),
    ]


def test_hfra_without_a_test_list(hfra, run):
    folder, rows = hfra
    write_csv(folder, train=[rows[0]], val=[rows[1]])
    status, error = run()
    assert status == 2
    assert "no list for the set test" in error
    assert "--valid_set val --test_sets val" in error


def test_hfra_with_lists_and_with_the_rule(tmp_path, hfra, run):
    folder, rows = hfra
    write_csv(folder, train=list(rows.values()))
    lists = write_lists(
        tmp_path / "lists", train=["cello/v0"], valid=["violin/v1"], test=["cello/v2"]
    )
    assert run("--splits", lists)[0] == 0
    assert list(tables(tmp_path, "test")["utt2spk"]) == ["cello-v2"]


@pytest.mark.parametrize(
    "row", ["a.wav,b", "a.wav,b,c", "audio/cello/v0.wav,frames/cello/0,3,4"]
)
def test_hfra_rows_that_are_none(hfra, run, row):
    folder, rows = hfra
    write_csv(folder, train=[rows[0], row], val=[rows[1]], test=[rows[2]])
    status, error = run()
    assert status == 2
    assert "train.csv, line 2" in error


def test_hfra_one_name_for_two_clips(hfra, run):
    folder, rows = hfra
    other = "MUSIC/audio/cello/v0.wav,MUSIC/frames/cello/000002,5"
    write_csv(folder, train=[rows[0], other], val=[rows[1]], test=[rows[3]])
    status, error = run()
    assert status == 2
    assert "cello/v0 means other files than before" in error


def test_categories_that_become_one(tmp_path, run):
    folder = tmp_path / "MUSIC"
    for category in ("steel-drum", "steel drum"):
        touch(folder / "videos" / category / "x.mp4")
    ids = {"steel-drum": ["x"], "steel drum": ["x"]}
    (folder / "MUSIC_solo_videos.json").write_text(json.dumps({"videos": ids}))
    lists = {"train": ["steel-drum/x", "steel drum/x"], "valid": [], "test": []}
    write_lists(folder / "splits", **lists)
    status, error = run()
    assert status == 2
    assert "both become steel_drum-x" in error
