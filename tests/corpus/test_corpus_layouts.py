"""Readers of layouts: the same clips, lists and reasons, however they lie on disk."""

import csv
import hashlib
import importlib.util
import json
import logging
import os
from pathlib import Path

import pytest
import yaml

from espnet2_avsep.corpus.archives import extract_videos
from espnet2_avsep.corpus.ave import read_ave
from espnet2_avsep.corpus.clip import Clip, Corpus, GivenList
from espnet2_avsep.corpus.lists import is_pair_list, read_list
from espnet2_avsep.corpus.music import instruments_of, read_music
from espnet2_avsep.corpus.splits import Rule, SetNames, choose_split, place_of
from espnet2_avsep.corpus.tree import Tree
from espnet2_avsep.corpus.vggsound import read_rows, read_vggsound
from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from espnet2_avsep.errors import InputError
from tests.support import corpus_layouts as layouts
from tests.support.killed import Killed

LISTS = {
    "train": ["cello/c0", "cello/c1", "flute/-f0", "flute/f_1"],
    "val": ["cello/c2", "flute/f2"],
    "test": ["cello/c3", "flute/f3", "acoustic_guitar/g0"],
}
DUETS = ["cello flute/d0", "cello flute/d1", "acoustic_guitar flute/d2"]
VGG = {
    "train": [
        "dog barking/aaaaaaaaaaa_000030",
        "police car (siren)/-bbbbbbbbbb_000001",
    ],
    "val": [],
    "test": [
        "vehicle horn, car horn/ccccccccccc_000200",
        "dog barking/d_______ddd_000000",
    ],
}
PUT = layouts.Stub()
NAMES = ("--valid_set", "val")


@pytest.fixture
def prepare(tmp_path, capsys):
    """Run local/prepare_<corpus>.py; return data/, or the error."""

    def call(corpus, folder, *options, data="data", fails=False):
        path = Path(__file__).resolve().parents[2] / f"local/prepare_{corpus}.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        words = [f"--{corpus}_dir", folder, "--data_dir", tmp_path / data, *options]
        status = module.main([str(word) for word in words])
        error = capsys.readouterr().err
        assert status == (2 if fails else 0), error
        return error if fails else tmp_path / data

    return call


def tables(folder):
    """What must be the same in every layout; paths as category/stem."""
    found = {}
    for dset in sorted(p.name for p in folder.iterdir() if p.name != "local"):
        for name in ("utt2spk", "spk2utt", "utt2clip", "skipped.tsv", "list.txt"):
            found[f"{dset}/{name}"] = (folder / dset / name).read_bytes()
        for name in ("wav.scp", "video.scp"):
            table = read_scp(folder / dset / name)
            found[f"{dset}/{name}"] = {
                key: "/".join(layouts_parts(path)) for key, path in table.items()
            }
    return found


def layouts_parts(path):
    from espnet2_avsep.data.tables.clip_id import split_name

    return split_name(path)[-2:]


def build(name, root):
    if name == "json":
        return layouts.json_videos(root, LISTS, PUT)
    if name == "bare":
        return layouts.bare_tree(root, LISTS, PUT)
    return layouts.csv_tree(root, LISTS, PUT, layouts.LAYOUTS[name])


@pytest.mark.parametrize("name", ["bare", *layouts.LAYOUTS])
def test_every_layout_of_music_gives_the_same_tables(tmp_path, prepare, name):
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    options = (*NAMES, "--splits", splits)
    expected = prepare("music", build("json", tmp_path / "a"), *options, data="one")
    found = prepare("music", build(name, tmp_path / "b"), *options, data="two")
    assert tables(found) == tables(expected)
    assert len(read_scp(found / "train" / "wav.scp")) == 4
    # A sound and a folder of images each, where there are such.
    for path in read_scp(found / "test" / "video.scp").values():
        assert Path(path).is_dir()
    assert all(Path(p).is_file() for p in read_scp(found / "test/wav.scp").values())


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_lists_of_the_peers_are_taken_as_they_are(tmp_path, prepare, name):
    folder = build(name, tmp_path / "corpus")
    data = prepare("music", folder, *NAMES)
    for dset, clips in LISTS.items():
        assert sorted(read_scp(data / dset / "utt2clip").values()) == sorted(clips)
        source = yaml.safe_load((data / dset / "source.yaml").read_text())
        layout = layouts.LAYOUTS[name]
        path = folder / layout.lists / f"{layout.stems[dset]}.csv"
        assert source["list"] == path.name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert source["list_file_sha256"] == digest
        assert (source["listed"], source["found"]) == (len(clips), len(clips))


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_lists_of_the_peers_split_other_layouts(tmp_path, prepare, name):
    build(name, tmp_path / "layout")
    folder = build("json", tmp_path / "videos")
    layout = layouts.LAYOUTS[name]
    lists = tmp_path / "layout" / layout.lists
    data = prepare("music", folder, *NAMES, "--splits", lists)
    for dset, clips in LISTS.items():
        assert sorted(read_scp(data / dset / "utt2clip").values()) == sorted(clips)


def test_list_of_all_clips_and_its_hash(tmp_path, prepare):
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    folder = layouts.json_videos(tmp_path / "a", LISTS, PUT, gone=["cello/c3"])
    data = prepare("music", folder, *NAMES, "--splits", splits)
    text = "acoustic_guitar/g0\ncello/c3\nflute/f3\n"
    assert (data / "test" / "list.txt").read_text() == text
    source = yaml.safe_load((data / "test" / "source.yaml").read_text())
    assert source["list_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (source["listed"], source["found"]) == (3, 2)
    assert source["missing"] == {"video not found": 1}
    # The lists that were written serve as lists.
    again = tmp_path / "again"
    again.mkdir()
    for dset in LISTS:
        (again / f"{dset}.txt").write_bytes((data / dset / "list.txt").read_bytes())
    other = prepare("music", folder, *NAMES, "--splits", again, data="other")
    assert tables(other) == tables(data)


def test_same_rule_in_every_layout(tmp_path, prepare):
    many = {"train": [f"cello/v{i:03d}" for i in range(60)]}
    one = prepare("music", layouts.json_videos(tmp_path / "a", many, PUT), data="one")
    bare = layouts.bare_tree(tmp_path / "b", many, PUT)
    assert tables(prepare("music", bare, data="two")) == tables(one)
    assert len(read_scp(one / "test" / "wav.scp")) > 3


def test_music_21_has_its_own_lists(tmp_path, prepare):
    folder = layouts.json_videos(tmp_path / "a", LISTS, PUT, prefix="MUSIC21")
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    data = prepare("music21", folder, *NAMES, "--splits", splits)
    assert sorted(read_scp(data / "val" / "utt2spk")) == ["cello-c2", "flute-f2"]


def test_too_much_is_missing(tmp_path, prepare):
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    gone = ["cello/c0", "cello/c1", "cello/c3", "flute/f3", "flute/f_1"]
    folder = layouts.json_videos(tmp_path / "a", LISTS, PUT, gone=gone)
    options = (*NAMES, "--splits", splits)
    error = prepare("music", folder, *options, fails=True)
    assert "5 of 9 listed clips are missing (video not found: 5)" in error
    assert "more than --max_missing 0.5" in error
    assert "To go on with 4 clips, give --max_missing 0.56" in error
    assert prepare("music", folder, *options, "--max_missing", "0.56")
    error = prepare("music", folder, *options, "--max_missing", "2", fails=True)
    assert "expected at least 0 and at most 1" in error


MANIFEST = "id\tstatus\treason\tbytes\tsha256\tduration\tfps\tsample_rate\n"


def test_manifest_of_the_download(tmp_path, prepare):
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    folder = layouts.json_videos(tmp_path / "a", LISTS, PUT, gone=["cello/c3"])
    rows = ["c0\tok\t\t1\t0\t1\t25\t44100", "c3\tfailed\tprivate video" + "\t" * 5]
    rows += ["flute/f3\tgeo_blocked" + "\t" * 6]  # the id as a path
    (folder / "manifest.tsv").write_text(MANIFEST + "\n".join(rows) + "\n")
    data = prepare("music", folder, *NAMES, "--splits", splits)
    assert [tuple(row) for row in read_skipped(data / "test" / "skipped.tsv")] == [
        ("cello-c3", "data", "not downloaded: private video"),
        ("flute-f3", "data", "not downloaded: geo_blocked"),
    ]
    source = yaml.safe_load((data / "test" / "source.yaml").read_text())
    assert source["missing"] == {"not downloaded": 2}
    (folder / "manifest.tsv").write_text("id\tstate\n")
    error = prepare("music", folder, *NAMES, "--splits", splits, fails=True)
    assert "must name the columns id status reason" in error


# ------------------------------------------------------------------ duets


def test_duets_are_a_set_of_their_own(tmp_path, prepare):
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    options = (*NAMES, "--splits", splits, "--real_sets", "duet")
    folder = layouts.json_videos(
        tmp_path / "a", LISTS, PUT, duets=DUETS, gone=DUETS[1:2]
    )
    data = prepare("music", folder, *options)
    assert read_scp(data / "duet" / "utt2pair") == {
        "acoustic_guitar_flute-d2": "acoustic_guitar flute",
        "cello_flute-d0": "cello flute",
    }
    assert read_scp(data / "duet" / "utt2clip")["cello_flute-d0"] == "cello flute/d0"
    assert [row.key for row in read_skipped(data / "duet" / "skipped.tsv")] == [
        "cello_flute-d1"
    ]
    source = yaml.safe_load((data / "duet" / "source.yaml").read_text())
    assert (source["listed"], source["found"]) == (3, 2)
    # From folders named after two instruments as well.
    lists = {"train": [*layouts.everything(LISTS), DUETS[0], DUETS[2]]}
    bare = layouts.bare_tree(tmp_path / "b", lists, PUT)
    other = prepare("music", bare, *options, data="other")
    name = "duet/utt2pair"
    assert (other / name).read_bytes() == (data / name).read_bytes()


def test_no_duets_and_duets_in_two_places(tmp_path, prepare):
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    options = (*NAMES, "--splits", splits, "--real_sets", "duet")
    folder = layouts.json_videos(tmp_path / "a", LISTS, PUT)
    assert "has no duets" in prepare("music", folder, *options, fails=True)
    folder = layouts.json_videos(tmp_path / "a", LISTS, PUT, duets=DUETS)
    with (splits / "train.txt").open("a") as f:
        f.write(f"{DUETS[0]}\n")
    error = prepare("music", folder, *options, fails=True)
    assert "1 duets are in other sets too: cello flute/d0" in error
    data = prepare("music", folder, *options, "--videos", "solo")
    assert len(read_scp(data / "train" / "wav.scp")) == 4
    data = prepare("music", folder, *NAMES, "--splits", splits)
    assert read_scp(data / "train" / "utt2spk")["cello_flute-d0"] == "cello_flute"
    same = (*NAMES, "--splits", splits, "--real_sets", "test")
    assert "is also another set's name" in prepare("music", folder, *same, fails=True)


def test_a_set_that_was_one_of_duets(tmp_path, prepare):
    """Its utt2pair stayed, and fix_data_dir.sh would keep the clips of that only."""
    folder = layouts.json_videos(tmp_path / "a", LISTS, PUT, duets=DUETS)
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    options = ("--splits", splits, *NAMES)
    data = prepare("music", folder, *options, "--real_sets", "other")
    assert len(read_scp(data / "other/utt2pair")) == 3
    prepare("music", folder, *options, "--test_sets", "other")
    assert len(read_scp(data / "other/utt2spk")) == 3
    assert not (data / "other/utt2pair").exists()


def test_what_a_duet_is():
    assert instruments_of("cello acoustic_guitar") == ("cello", "acoustic_guitar")
    assert instruments_of("cello") is instruments_of("erhu solo") is None


def test_solos_duets_or_all_by_the_rule(tmp_path, prepare):
    solos = [f"cello/s{i:02d}" for i in range(40)]
    duets = [f"cello flute/d{i:02d}" for i in range(40)]
    folder = layouts.json_videos(tmp_path / "a", {"train": solos}, PUT, duets=duets)
    for videos, expected in (
        ("listed", solos),
        ("solo", solos),
        ("duet", duets),
        ("all", solos + duets),
    ):
        data = prepare("music", folder, "--videos", videos, data=videos)
        found = [
            clip
            for dset in ("train", "valid", "test")
            for clip in read_scp(data / dset / "utt2clip").values()
        ]
        assert sorted(found) == sorted(expected)


def test_a_list_of_duets_with_one_instrument(tmp_path):
    layouts.json_videos(tmp_path, LISTS, PUT, duets=["cello/d0"])
    with pytest.raises(InputError, match="the category 'cello'; expected two instr"):
        read_music(tmp_path, "MUSIC_solo_videos.json", "MUSIC_duet_videos.json")


# ------------------------------------------------------------------ splits


def test_a_clip_in_two_lists(tmp_path, prepare):
    """As in iQuery's lists of MUSIC, whose test videos are also trained on."""
    both = {**LISTS, "train": [*LISTS["train"], "cello/c3", "flute/f2"]}
    splits = layouts.write_splits(tmp_path / "splits", both)
    folder = build("json", tmp_path / "a")
    options = (*NAMES, "--splits", splits)
    error = prepare("music", folder, *options, fails=True)
    assert "2 clips of train are also in val, test: cello/c3, flute/f2" in error
    assert "--overlap train" in error
    data = prepare("music", folder, *options, "--overlap", "train")
    assert sorted(read_scp(data / "train" / "utt2clip").values()) == sorted(
        LISTS["train"]
    )
    data = prepare("music", folder, *options, "--overlap", "keep")
    assert len(read_scp(data / "train" / "utt2clip")) == 6
    assert "cello-c3" in read_scp(data / "test" / "utt2clip")


def test_test_sets_may_share_clips(tmp_path, prepare):
    """--overlap train took their common clips out of the first one."""
    lists = {**LISTS, "train": [*LISTS["train"], "cello/c3"], "duo": ["flute/f3"]}
    splits = layouts.write_splits(tmp_path / "splits", lists)
    folder = build("json", tmp_path / "a")
    options = (*NAMES, "--splits", splits, "--test_sets", "test duo")
    error = prepare("music", folder, *options, fails=True)
    assert "1 clips of train are also in test: cello/c3" in error
    data = prepare("music", folder, *options, "--overlap", "train")
    assert sorted(read_scp(data / "test" / "utt2clip").values()) == sorted(
        LISTS["test"]
    )
    assert read_scp(data / "duo" / "utt2clip") == {"flute-f3": "flute/f3"}
    assert "cello-c3" not in read_scp(data / "train" / "utt2clip")
    # No list is taken for two test sets.
    options = (*options[:-1], "test other", "--overlap", "train")
    assert "no list for the set other" in prepare("music", folder, *options, fails=True)


def test_sections_of_one_video_are_drawn_into_one_set(tmp_path):
    """Of VGGSound in the tree of CLIPSep, each section was drawn by itself."""
    names = [f"dog/{n:011d}_{start:06d}" for n in range(40) for start in (0, 30, 200)]
    clips = {name: Clip(*name.split("/"), "a.wav", "a") for name in names}
    lists = {"train": GivenList(names, "", ""), "test": GivenList([], "", "")}
    corpus = Corpus("", clips, lists)
    sets = SetNames("train", "valid", ("test",))
    for rule in (Rule(valid_ratio=0.3), Rule(hashed=True)):
        found = choose_split(corpus, sets, rule, names).sets
        videos = [{name[:15] for name in clips} for clips in found.values()]
        assert len(set.union(*videos)) == sum(map(len, videos)) == 40
        assert len(found["valid"]) > 3


def test_validation_is_drawn_out_of_training(tmp_path, prepare):
    train = [f"cello/v{i:03d}" for i in range(80)]
    lists = {"train": train, "test": ["cello/t0"]}
    folder = layouts.json_videos(tmp_path / "a", lists, PUT)
    splits = layouts.write_splits(tmp_path / "splits", lists)
    data = prepare("music", folder, "--splits", splits, "--valid_ratio", "0.25")
    expected = [clip for clip in train if place_of(clip.split("/")[1]) < 0.25]
    assert sorted(read_scp(data / "valid" / "utt2clip").values()) == sorted(expected)
    assert 10 < len(expected) < 30
    assert len(read_scp(data / "train" / "utt2clip")) == 80 - len(expected)
    rule = (data / "local" / "split_rule.txt").read_text()
    assert "valid is drawn from train" in rule and "x < 0.25" in rule
    source = yaml.safe_load((data / "valid" / "source.yaml").read_text())
    assert source["list"] == "train.txt, part drawn by hash"


def test_lists_of_ids_alone(tmp_path, prepare):
    folder = build("json", tmp_path / "a")
    splits = tmp_path / "splits"
    ids = {n: [c.split("/")[1] for c in clips] for n, clips in LISTS.items()}
    layouts.write_splits(splits, {**ids, "test": [*ids["test"], "lost"]})
    data = prepare("music", folder, *NAMES, "--splits", splits)
    assert sorted(read_scp(data / "test" / "utt2clip").values()) == sorted(
        LISTS["test"]
    )
    assert read_skipped(data / "test" / "skipped.tsv")[0].key == "unknown-lost"


def test_csv_lists_of_ids_beside_the_files(tmp_path):
    """Their clips have the category of their files; all counted as missing."""
    for name in [*layouts.everything(LISTS), "flute/c1"]:
        PUT.video(tmp_path / "videos" / f"{name}.mp4", name)
    for name, clips in LISTS.items():
        rows = "".join(f"{clip.split('/')[1]}\n" for clip in clips)
        (tmp_path / f"{name}.csv").write_text(rows + "lost\n" * (name == "test"))
    corpus = read_music(tmp_path, "MUSIC_solo_videos.json", "MUSIC_duet_videos.json")
    assert corpus.lists["test"].names == [*LISTS["test"], "unknown/lost"]
    assert corpus.lists["train"].names == [
        *("cello/c0", "unknown/c1", "flute/-f0", "flute/f_1")
    ]
    problems = {n: clip.problem for n, clip in corpus.clips.items() if clip.problem}
    assert problems == {
        "unknown/c1": "ambiguous: c1 may be several: it is in cello, flute",
        "unknown/lost": "video not found",
    }
    assert corpus.clips["flute/-f0"].sound == str(tmp_path / "videos/flute/-f0.mp4")


def test_two_rows_of_a_clip_of_which_one_fits(tmp_path):
    """The message was that the clip means other files."""
    PUT.sound(tmp_path / "audio/cello/c0.wav", "x")
    PUT.frames(tmp_path / "frames/cello/c0", "x")
    row = "audio/cello/c0.wav,frames/cello/c0,"
    for name, count in (("train", 3), ("test", 4)):
        (tmp_path / f"{name}.csv").write_text(f"{row}{count}\n")
    said = r"one of its rows does not fit \(number of images: frames/cello/c0 holds 3,"
    with pytest.raises(InputError, match=said):
        read_music(tmp_path, "MUSIC_solo_videos.json", "MUSIC_duet_videos.json")


def test_folders_that_hold_no_list(tmp_path, prepare):
    folder = build("json", tmp_path / "a")
    (tmp_path / "none").mkdir()
    error = prepare("music", folder, "--splits", tmp_path / "none", fails=True)
    assert "there is no list <set>.txt or <set>.csv" in error
    error = prepare("music", folder, "--splits", tmp_path / "nowhere", fails=True)
    assert "no such folder" in error
    error = prepare("music", folder, "--layout", "csv", fails=True)
    assert "no train*.csv is there" in error


# ------------------------------------------------------------------ trees and lists


def test_paths_that_may_be_several_files(tmp_path):
    for part in ("solo", "duet"):
        PUT.sound(tmp_path / part / "audio/cello/c0.wav", "x")
        PUT.frames(tmp_path / part / "frames/cello/c0", "x")
    rows = ["solo/audio/cello/c0.wav,solo/frames/cello/c0,3"]
    (tmp_path / "train.csv").write_text(rows[0] + "\n")
    read = (tmp_path, "MUSIC_solo_videos.json", "MUSIC_duet_videos.json")
    clip = read_music(*read).clips["cello/c0"]
    assert clip.sound == str(tmp_path / "solo/audio/cello/c0.wav")
    text = "/author/solo/audio/cello/c0.wav,/author/solo/frames/cello/c0,3\n"
    (tmp_path / "train.csv").write_text(text)
    assert read_music(*read).clips["cello/c0"] == clip  # more of the path agrees
    (tmp_path / "train.csv").write_text("/cello/c0.wav,/cello/c0,3\n")
    problem = read_music(*read).clips["cello/c0"].problem
    assert problem.startswith("ambiguous: /cello/c0.wav may be several: ")


def test_number_of_images_may_be_ignored(tmp_path, prepare):
    folder = build("hfra", tmp_path / "a")
    (folder / "frames/cello/c0/000001.jpg").unlink()
    data = prepare("music", folder, *NAMES, data="one")
    assert [r.reason for r in read_skipped(data / "train/skipped.tsv")] == [
        "number of images: /home/author/dataset/frames/cello/c0 holds 2, the list "
        "says 3"
    ]
    data = prepare("music", folder, *NAMES, "--frame_count", "ignore", data="two")
    assert len(read_scp(data / "train" / "wav.scp")) == 4


def test_a_video_stands_in_for_frames(tmp_path):
    PUT.sound(tmp_path / "audio/cello/c0.wav", "x")
    PUT.video(tmp_path / "videos/cello/c0.mp4", "x")
    (tmp_path / "train.csv").write_text("audio/cello/c0.wav,frames/cello/c0.mp4,3\n")
    names = (tmp_path, "MUSIC_solo_videos.json", "MUSIC_duet_videos.json")
    clip = read_music(*names).clips["cello/c0"]
    assert clip.sound.endswith("audio/cello/c0.wav")
    assert clip.picture.endswith("videos/cello/c0.mp4")


def test_half_a_clip(tmp_path):
    PUT.sound(tmp_path / "audio/cello/c0.wav", "x")
    PUT.frames(tmp_path / "frames/cello/c1", "x")
    tree = Tree(tmp_path)
    assert tree.clip("cello", "c0").problem.startswith("pictures not found")
    assert tree.clip("cello", "c1").problem.startswith("sound not found")
    assert tree.clip("cello", "c2").problem == "video not found"
    assert tree.names() == [("cello", "c0"), ("cello", "c1")]


def test_a_folder_of_frames_may_be_called_like_a_video_in_capitals(tmp_path):
    """frames/cello/c0.MP4 was not found by lists, which have cello/c0."""
    for name in ("c0.MP4", "c1.mp4", "c2"):
        (tmp_path / "frames/cello" / name).mkdir(parents=True)
        (tmp_path / "frames/cello" / name / "000001.jpg").touch()
    assert sorted(Tree(tmp_path).frames) == [("cello", f"c{n}") for n in range(3)]


def test_trees_with_links_back_and_thumbnails(tmp_path):
    PUT.video(tmp_path / "videos/cello/c0.mp4", "x")
    (tmp_path / "videos/cello/c0.jpg").touch()
    (tmp_path / "videos/cello/.c1.mp4.part").touch()
    (tmp_path / "videos/cello/c2.mp4.part").touch()
    (tmp_path / "videos/loop").symlink_to(tmp_path, target_is_directory=True)
    tree = Tree(tmp_path)
    assert list(tree.videos) == [("cello", "c0")] and not tree.frames


def test_pair_lists_are_no_lists_of_clips(tmp_path, prepare, caplog):
    caplog.set_level(logging.INFO)
    folder = build("iquery", tmp_path / "a")
    pairs = folder / "data" / "testsepmusic.csv"
    pairs.write_text("/cello/c3.wav, /flute/f3.wav\n")
    assert is_pair_list(pairs) and not is_pair_list(folder / "data/testmusic.csv")
    prepare("music", folder, *NAMES)
    assert f"lists of mixtures, for --test_mixture_list: {pairs}" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        (
            "a.txt",
            "cello/c0\n\n# no\nflute solo/f0\n",
            [("cello", "c0"), ("flute solo", "f0")],
        ),
        ("a.txt", "c0\nf0.mp4\n", [(None, "c0"), (None, "f0")]),
        ("a.csv", "wav,frames,n\naudio/x/c0.wav,f/x/c0,3\n", [("x", "c0")]),
        ("a.csv", "audio/2/c0.wav,f/2/c0,12,dog bow-wow\n", [("dog bow-wow", "c0")]),
        ("a.csv", "a/x/c0.wav,f/x/c0.mp4,3,30.0,96.7\n", [("x", "c0")]),
        ("a.csv", "c0\nc1\n", [(None, "c0"), (None, "c1")]),
        ("a.txt", "Church bell&b0&good&0&10\n", [("Church bell", "b0")]),
        (
            "a.txt",
            "drums & bass/a1\nflute/b1\n",
            [("drums & bass", "a1"), ("flute", "b1")],
        ),
        ("a.txt", "R&B_01\nR&B_02\n", [(None, "R&B_01"), (None, "R&B_02")]),
        ("a.txt", "\ufeffcello/c0\n", [("cello", "c0")]),
        ("a.txt", "flu\u0302te/u\u0308\n", [("fl\u00fbte", "\u00fc")]),
        ("a.txt", "", []),
    ],
)
def test_forms_of_lists(tmp_path, name, text, rows):
    (tmp_path / name).write_text(text)
    found = read_list(tmp_path / name)
    assert [(row.category, row.stem) for row in found] == rows


@pytest.mark.parametrize(
    "rows", ["{0}\n{1}\n", "{1}\n{0}\n", "wav,frames,n\n{0}\n{1}\n"]
)
def test_rows_without_a_number_of_images_are_not_taken_for_a_header(tmp_path, rows):
    """All rows before the first good one were passed over in silence."""
    wrong, right = "audio/x/c0.wav,f/x/c0,", "audio/x/c1.wav,f/x/c1,3"
    (tmp_path / "a.csv").write_text(rows.format(wrong, right))
    number = rows.split("\n").index("{0}") + 1
    with pytest.raises(InputError, match=f"a.csv, line {number}: 'audio/x/c0.wav"):
        read_list(tmp_path / "a.csv")


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "flute/..\n"),
        ("a.txt", "../x\n"),
        ("a.txt", "flute/a\x07b\n"),
        ("a.txt", "flute/a\0b\n"),
        ("a.txt", " /x\n"),
        ("a.txt", ".\n"),
        ("a.csv", "audio/flute/...wav,frames/flute/..,3,..\n"),
        ("a.csv", "audio/a\0/c0.wav,f/x/c0,3\n"),
        ("a.txt", "..&b0&good&0&10\n"),
        ("a.txt", "Bell&/etc/passwd&good&0&10\n"),
    ],
)
def test_names_in_lists_that_cannot_be_ids(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}, line 1: "):
        read_list(tmp_path / name)


def test_names_of_a_mac_are_found_by_lists_and_the_other_way_round(tmp_path, prepare):
    """macOS writes NFD, lists have NFC; both are one clip with one id."""
    nfc, nfd = "fl\u00fbte", "flu\u0302te"
    lists = {
        "train": [f"{nfc}/\u00e41"],
        "val": [f"{nfd}/a\u03082"],
        "test": [f"{nfc}/x"],
    }
    for category, stem in ((nfd, "a\u03081"), (nfc, "\u00e42"), (nfd, "x")):
        PUT.video(tmp_path / "corpus/videos" / category / f"{stem}.mp4", stem)
    splits = layouts.write_splits(tmp_path / "splits", lists)
    data = prepare("music", tmp_path / "corpus", "--splits", splits)
    for name, stem in (("train", "\u00e41"), ("valid", "\u00e42"), ("test", "x")):
        table = read_scp(data / name / "video.scp")
        assert list(table) == [f"{nfc}-{stem}"] and os.path.exists(
            table[f"{nfc}-{stem}"]
        )


# ------------------------------------------------------------------ VGGSound


@pytest.mark.parametrize(
    "form",
    [
        "{stem}.mp4",
        "{id}_{start}.mkv",
        "{id}_{start}000_{start}0.mp4",
        "{id}.mp4",
    ],
)
def test_vggsound(tmp_path, prepare, form):
    expected = prepare(
        "vggsound", layouts.vggsound(tmp_path / "a", VGG, PUT), data="one"
    )
    if form.endswith("_{start}0.mp4"):
        form = "{id}_{start}000_{end}.mp4"
        folder = layouts.vggsound(tmp_path / "b", VGG, _Ends())
    else:
        folder = layouts.vggsound(tmp_path / "b", VGG, PUT, form)
    found = prepare("vggsound", folder, data="two")
    for dset in ("train", "test"):
        name = f"{dset}/utt2clip"
        assert (found / name).read_bytes() == (expected / name).read_bytes()


class _Ends(layouts.Stub):
    """Names files by start and end in ms."""

    def video(self, path, name):
        video, start = path.stem[:-7], int(path.stem[-6:])
        stem = f"{video}_{1000 * start}_{1000 * (start + 10)}"
        super().video(path.with_name(f"{stem}.mp4"), name)


@pytest.fixture(autouse=True)
def all_in_training(monkeypatch):
    """The two training clips of VGG would make an empty validation set."""
    from espnet2_avsep.corpus import splits

    places = {"-bbbbbbbbbb": 0.01}
    real = splits.place_of
    monkeypatch.setattr(splits, "place_of", lambda v: places.get(v) or real(v))


def test_vggsound_tables(tmp_path, prepare):
    data = prepare("vggsound", layouts.vggsound(tmp_path / "a", VGG, PUT))
    assert read_scp(data / "train" / "utt2clip") == {
        "dog_barking-aaaaaaaaaaa_000030": "dog barking/aaaaaaaaaaa_000030"
    }
    assert read_scp(data / "valid" / "utt2spk") == {
        "police_car_siren--bbbbbbbbbb_000001": "police_car_siren"
    }
    assert sorted(read_scp(data / "test" / "wav.scp")) == [
        "dog_barking-d_______ddd_000000",
        "vehicle_horn_car_horn-ccccccccccc_000200",
    ]
    source = yaml.safe_load((data / "valid" / "source.yaml").read_text())
    assert source["list"] == "vggsound.csv, rows of train, part drawn by hash"


def test_clips_of_one_video_go_to_one_set(tmp_path, prepare):
    lists = {
        "train": [f"dog/v{i:09d}_{s:06d}" for i in range(60) for s in (1, 50)],
        "val": [],
        "test": ["dog/t_000001"],
    }
    folder = layouts.vggsound(tmp_path / "a", lists, PUT)
    data = prepare("vggsound", folder, "--valid_ratio", "0.3")
    videos = [
        {key[:-7] for key in read_scp(data / dset / "wav.scp")}
        for dset in ("train", "valid")
    ]
    assert len(videos[0]) + len(videos[1]) == 60 and not videos[0] & videos[1]


@pytest.mark.parametrize(
    "row", ["a,b,c,train", "a,1,c,valid", "a,1,c", 'a,1,"b, c,train']
)
def test_rows_of_vggsound_that_are_none(tmp_path, row):
    (tmp_path / "vggsound.csv").write_text(f"x,1,dog,train\n{row}\n")
    with pytest.raises(InputError, match="vggsound.csv, line 2"):
        read_rows(tmp_path / "vggsound.csv")


def test_a_file_is_not_taken_for_two_sections_of_its_video(tmp_path):
    """<id>.mp4 was the clip of both, under both classes."""
    (tmp_path / "vggsound.csv").write_text(
        "aaaaaaaaaaa,30,dog barking,train\naaaaaaaaaaa,90,cat purring,train\n"
        "bbbbbbbbbbb,10,dog barking,train\nbbbbbbbbbbb,10,cat purring,test\n"
    )
    for video in ("aaaaaaaaaaa", "bbbbbbbbbbb"):
        PUT.video(tmp_path / f"{video}.mp4", "x")
    clips = read_vggsound(tmp_path).clips
    reason = (
        f"one file for 2 sections: {tmp_path}/aaaaaaaaaaa.mp4 may be "
        "aaaaaaaaaaa_000030 or aaaaaaaaaaa_000090"
    )
    problems = {name: clip.problem for name, clip in clips.items() if clip.problem}
    names = ("dog barking/aaaaaaaaaaa_000030", "cat purring/aaaaaaaaaaa_000090")
    assert problems == dict.fromkeys(names, reason)
    PUT.video(tmp_path / "aaaaaaaaaaa_000030.mp4", "x")  # the name tells
    clips = read_vggsound(tmp_path).clips
    assert not any(clip.problem for clip in clips.values())


def test_vggsound_without_a_list(tmp_path, prepare):
    (tmp_path / "a").mkdir()
    assert "give --list <file>" in prepare("vggsound", tmp_path / "a", fails=True)
    folder = layouts.vggsound(tmp_path / "b", VGG, PUT)
    (folder / "vggsound.csv").rename(tmp_path / "elsewhere.csv")
    assert prepare("vggsound", folder, "--list", tmp_path / "elsewhere.csv")


def test_vggsound_as_clipsep_has_it(tmp_path, prepare):
    """Labels in the fourth column; folders are letters of the id."""
    folder = tmp_path / "a"
    for dset, ids in (("train", "abc"), ("val", "d"), ("test", "ef")):
        rows = []
        for video in ids:
            PUT.sound(folder / f"audio/{video}/1/{video}1.wav", video)
            PUT.frames(folder / f"preprocessed/{video}/1/{video}1", video)
            place = f"{video}/1/{video}1"
            rows.append(
                f"data/vggsound/audio/{place}.wav,data/vggsound/preprocessed/{place},3,"
                "dog bow-wow"
            )
        (folder / f"{dset}.csv").write_text("\n".join(rows))
    data = prepare("vggsound", folder)
    assert read_scp(data / "test" / "utt2spk") == {
        "dog_bow_wow-e1": "dog_bow_wow",
        "dog_bow_wow-f1": "dog_bow_wow",
    }


# ------------------------------------------------------------------ archives


def test_archives_give_what_the_videos_give(tmp_path, prepare):
    expected = prepare(
        "vggsound", layouts.vggsound(tmp_path / "a", VGG, PUT), data="one"
    )
    folder = layouts.vggsound_archives(tmp_path / "b", VGG, PUT)
    assert "give --extract_dir" in prepare("vggsound", folder, fails=True)
    cache = tmp_path / "cache"
    found = prepare("vggsound", folder, "--extract_dir", cache, data="two")
    for name in ("train/utt2clip", "test/utt2clip", "test/list.txt"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    (path,) = read_scp(found / "train" / "wav.scp").values()
    assert Path(path).parent == cache
    assert Path(path).read_text() == "dog barking/aaaaaaaaaaa_000030"


def tar(path, *members, cut=None):
    """members: (name, content), or (name, link target, type)."""
    import io
    import tarfile

    with tarfile.open(path, "w:gz") as archive:
        for name, content, *kind in members:
            info = tarfile.TarInfo(name)
            if kind:
                info.type, info.linkname = kind[0], content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    if cut:
        path.write_bytes(path.read_bytes()[:cut])
    return path


def test_archives_write_nowhere_else(tmp_path):
    import tarfile

    archive = tar(
        tmp_path / "x.tar.gz",
        ("../../v1.mp4", b"evil"),
        ("/etc/v2.mp4", b"evil"),
        ("video/v3.mp4", "/etc/passwd", tarfile.SYMTYPE),
        ("video/v4.mp4", "video/v3.mp4", tarfile.LNKTYPE),
        ("video/v5.mp4", b"unwanted"),
        ("video/v6.txt", b"no video"),
        ("scratch/video/v7.MP4", b"wanted"),
    )
    out = tmp_path / "deep" / "out"
    wanted = {"v1", "v2", "v3", "v4", "v6", "v7"}
    counts = extract_videos([archive], out, wanted)
    assert counts == {"extracted": 1, "kept": 0, "refused": 4, "cut off": []}
    assert [p.name for p in sorted(out.iterdir())] == ["archives.journal", "v7.mp4"]
    assert (out / "v7.mp4").read_bytes() == b"wanted"
    assert sorted(p.name for p in tmp_path.rglob("*.mp4")) == ["v7.mp4"]


def test_archives_are_taken_up_where_they_were_left(tmp_path):
    import random

    noise = random.Random(0).randbytes
    contents = {f"v{i}": noise(50_000) for i in range(6)}
    members = [(f"video/{name}.mp4", data) for name, data in contents.items()]
    whole = tar(tmp_path / "whole.tar.gz", *members)
    size = len(whole.read_bytes())
    (tmp_path / "in").mkdir()
    part = tar(tmp_path / "in" / "a.tar.gz", *members, cut=size // 2)
    out = tmp_path / "out"
    counts = extract_videos([part], out, set(contents))
    assert counts["cut off"] == ["a.tar.gz"] and 1 <= counts["extracted"] <= 3
    first = counts["extracted"]
    stamps = {p.name: p.stat().st_mtime_ns for p in out.glob("*.mp4")}
    assert len(stamps) == first
    (out / "v0.mp4").write_bytes(b"half")  # as if a kill had left it
    (out / ".v9.mp4.x.tmp").touch()
    part.write_bytes(whole.read_bytes())
    counts = extract_videos([part], out, set(contents))
    assert (counts["extracted"], counts["kept"]) == (6 - first + 1, first - 1)
    for name, data in contents.items():
        assert (out / f"{name}.mp4").read_bytes() == data
    assert not list(out.glob(".*.tmp"))
    # Read to its end: not opened again, until a video is gone or others are wanted.
    assert extract_videos([part], out, set(contents))["kept"] == 0
    (out / "v3.mp4").unlink()
    counts = extract_videos([part], out, set(contents))
    assert (counts["extracted"], counts["kept"]) == (1, 5)
    assert (out / "v3.mp4").read_bytes() == contents["v3"]
    assert extract_videos([part], out, set(contents))["kept"] == 0
    assert extract_videos([part], out, {"v0"})["kept"] == 1


def test_cut_archives_are_named_as_the_reason(tmp_path):
    folder = layouts.vggsound_archives(tmp_path / "a", VGG, PUT, number=1)
    path = folder / "vggsound_00.tar.gz"
    path.write_bytes(path.read_bytes()[:-60])
    corpus = read_vggsound(folder, extract_dir=tmp_path / "cache")
    problems = {clip.problem for clip in corpus.clips.values()}
    assert "video not found: vggsound_00.tar.gz cut off" in problems
    (folder / "vggsound_01.tar.gz").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(InputError, match="vggsound_01.tar.gz: is no tar archive"):
        read_vggsound(folder, extract_dir=tmp_path / "cache")


# ------------------------------------------------------------------ AVE


AVE = {
    "train": ["Church bell/b0", "Male speech, man speaking/m0", "Bark/d0"],
    "val": ["Church bell/b1"],
    "test": ["Female speech, woman speaking/m0", "Bark/d1"],
}


@pytest.mark.parametrize("place", ["AVE_Dataset/AVE", "AVE", "videos/"])
def test_ave(tmp_path, prepare, place):
    folder = layouts.ave(tmp_path / "a", AVE, PUT, place)
    data = prepare("ave", folder)
    assert read_scp(data / "train" / "utt2clip") == {
        "Bark-d0": "Bark/d0",
        "Church_bell-b0": "Church bell/b0",
        "Male_speech_man_speaking-m0": "Male speech, man speaking/m0",
    }
    assert list(read_scp(data / "valid" / "utt2clip")) == ["Church_bell-b1"]
    # One video, two events: a clip of each class.
    test = read_scp(data / "test" / "wav.scp")
    assert Path(test["Female_speech_woman_speaking-m0"]).name == "m0.mp4"
    source = yaml.safe_load((data / "test" / "source.yaml").read_text())
    assert source["list"] == "testSet.txt"


def test_ave_with_the_lists_of_iquery(tmp_path, prepare):
    """Their categories have other names; ids tell which clip is meant."""
    folder = layouts.ave(tmp_path / "a", AVE, PUT)
    lists = tmp_path / "lists"
    lists.mkdir()
    rows = {
        "trainave": ["Church_bell/b0", "Church_bell/b1"],
        "valave": ["Bark/d0"],
        "testave": ["Dog/d1", "Male/m0", "Bark/gone"],
    }
    for name, clips in rows.items():
        lines = [f"/{clip}.wav,/{clip}.mp4,301\n" for clip in clips]
        (lists / f"{name}.csv").write_text("".join(lines))
    (lists / "testsepave.csv").write_text("/Bark/d1.wav, /Church_bell/b0.wav\n")
    data = prepare("ave", folder, "--splits", lists)
    assert list(read_scp(data / "train" / "utt2clip")) == [
        "Church_bell-b0",
        "Church_bell-b1",
    ]
    # m0 has two clips; "Male" is how the category of one begins.
    assert list(read_scp(data / "test" / "utt2clip")) == [
        "Bark-d1",
        "Male_speech_man_speaking-m0",
    ]
    skipped = read_skipped(data / "test" / "skipped.tsv")
    assert [row.key for row in skipped] == ["Bark-gone"]


def test_folders_that_are_not_ave(tmp_path):
    with pytest.raises(InputError, match="neither Annotations.txt"):
        read_ave(tmp_path)
    layouts.ave(tmp_path / "a", AVE, PUT)
    for path in (tmp_path / "a/AVE_Dataset/AVE").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="none of the 6 clips"):
        read_ave(tmp_path / "a")
    (tmp_path / "a/AVE_Dataset/Annotations.txt").write_text("Bark&d0\n")
    with pytest.raises(InputError, match="Annotations.txt, line 1: 'Bark&d0'"):
        read_ave(tmp_path / "a")


def test_json_and_csv_writers_agree(tmp_path):
    """The stand-ins are what their names say."""
    layouts.vggsound(tmp_path / "v", VGG, PUT)
    with (tmp_path / "v" / "vggsound.csv").open() as f:
        assert ["ccccccccccc", "200", "vehicle horn, car horn", "test"] in csv.reader(f)
    layouts.json_videos(tmp_path / "m", LISTS, PUT, duets=DUETS)
    listed = json.loads((tmp_path / "m" / "MUSIC_duet_videos.json").read_text())
    assert listed["videos"]["cello flute"] == ["d0", "d1"]


def test_other_texts_beside_the_lists(tmp_path, prepare):
    folder = build("hfra", tmp_path / "a")
    (folder / "metadata" / "classes.csv").write_text("cello,1\nflute,2\n")
    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    (splits / "README.txt").write_text("Lists by A/B/C.\nand more\n")
    data = prepare("music", folder, *NAMES, "--splits", splits)
    assert len(read_scp(data / "train" / "wav.scp")) == 4
    data = prepare("music", folder, *NAMES)
    assert len(read_scp(data / "train" / "wav.scp")) == 4


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    PUT.video(tmp_path / "videos/cello/c0.mp4", "x")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("cello"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="cello: cannot be read .Permission denied"):
        Tree(tmp_path)


def test_killed_anywhere_and_run_again(tmp_path, prepare, monkeypatch):
    """A run that was stopped at any table leaves no trace in the next one's."""
    from espnet2_avsep.corpus import prepare as module

    splits = layouts.write_splits(tmp_path / "splits", LISTS)
    folder = layouts.json_videos(tmp_path / "a", LISTS, PUT, duets=DUETS)
    options = (*NAMES, "--splits", splits, "--real_sets", "duet")

    def content(data):
        files = [path for path in data.rglob("*") if path.is_file()]
        return {str(p.relative_to(data)): p.read_bytes() for p in files}

    expected = content(prepare("music", folder, *options, data="whole"))
    assert len(expected) == 4 * 9 + 2  # and utt2pair, split_rule.txt
    real, calls = module.write_scp, []

    for last in range(0, 20, 3):
        calls.clear()

        def write_scp(path, table, last=last):
            calls.append(path)
            if len(calls) > last:
                raise Killed
            real(path, table)

        monkeypatch.setattr(module, "write_scp", write_scp)
        with pytest.raises(Killed):
            prepare("music", folder, *options, data="again")
        monkeypatch.setattr(module, "write_scp", real)
        assert content(prepare("music", folder, *options, data="again")) == expected


def test_the_rule_draws_from_the_list_alone(tmp_path, prepare):
    many = {"train": [f"cello/v{i:03d}" for i in range(60)]}
    folder = layouts.json_videos(tmp_path / "a", many, PUT)
    for i in range(200):  # of another corpus, in the same folder
        PUT.video(folder / f"videos/cello/other{i}.mp4", "x")
    data = prepare("music", folder)
    lists = [
        (data / dset / "list.txt").read_text() for dset in ("train", "valid", "test")
    ]
    assert sorted("".join(lists).split()) == sorted(many["train"])


def test_one_set_for_validation_and_test(tmp_path, prepare):
    data = prepare("ave", layouts.ave(tmp_path / "a", AVE, PUT), "--valid_set", "test")
    assert sorted(p.name for p in data.iterdir()) == ["local", "test", "train"]
    source = yaml.safe_load((data / "test" / "source.yaml").read_text())
    assert source["list"] == "testSet.txt"
