"""Videos of an own corpus, which has no lists."""

import logging

import pytest

from espnet2_avsep.corpus.clip import Corpus
from espnet2_avsep.corpus.leaks.check import same_videos, two_labels
from espnet2_avsep.corpus.leaks.clip_set import ClipSet
from espnet2_avsep.corpus.prepare import Plan, prepare
from espnet2_avsep.corpus.splits import Rule, SetNames
from espnet2_avsep.corpus.tree import find_clips
from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from espnet2_avsep.errors import InputError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_every_container_counts_and_nothing_is_lost_without_a_word(tmp_path, caplog):
    touch(tmp_path, "piano/01.MP4", "piano/02.mov", "tuba/01.webm", "tuba/01.mp4")
    touch(tmp_path, "piano/._01.mp4", ".cache/03.mp4", "piano/readme.md", "top.mp4")
    (tmp_path / "tuba" / "folder.mp4").mkdir()
    touch(tmp_path, "piano/new\nline.mp4", "e\u0301tude/a.mp4")
    clips = {clip.name: clip for clip in find_clips(tmp_path)}
    names = ["piano/01", "piano/02", "piano/new_line", "tuba/01", "\u00e9tude/a"]
    assert sorted(clips) == names
    assert clips["piano/01"].sound == str(tmp_path / "piano" / "01.MP4")
    assert clips["tuba/01"].picture == str(tmp_path / "tuba" / "01.mp4")
    words = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(words) == 2
    assert "1 files are no videos: piano/readme.md" in words
    assert any("01.webm: not used" in line for line in words)


def test_a_corpus_without_videos(tmp_path):
    touch(tmp_path, "01.mp4")
    with pytest.raises(InputError, match=r"no videos \*/\*; expected endings: .*\.mp4"):
        find_clips(tmp_path)
    assert [clip.stem for clip in find_clips(tmp_path, "*")] == ["01"]


def numbered(tmp_path):
    """Two classes whose clips are numbered, in three sets by lists."""
    corpus, lists = tmp_path / "corpus", tmp_path / "lists"
    lists.mkdir()
    touch(corpus, *(f"{c}/{n}.mp4" for c in ("piano", "tuba") for n in "123"))
    rows = {
        "train": ("piano/1", "tuba/2"),
        "valid": ("piano/2", "tuba/3"),
        "test": ("piano/3", "tuba/1"),
    }
    for name, names in rows.items():
        (lists / f"{name}.txt").write_text("\n".join(names) + "\n")
    return corpus, lists


def clip_set(data, name):
    labels = read_scp(data / name / "utt2spk")
    clips = data.parent / "clips" / name
    touch(clips, "wav.scp")
    for table in ("wav.scp", "utt2spk"):
        text = "".join(f"{key} {label}\n" for key, label in labels.items())
        (clips / table).write_text(text)
    return ClipSet.read(name, data / name, clips)


@pytest.mark.parametrize("same", [False, True], ids=["numbers", "one recording"])
def test_clips_numbered_in_each_class_are_no_leaks(tmp_path, same):
    """Clip.video decides, also where the sets are lists."""
    folder, lists = numbered(tmp_path)
    clips = find_clips(folder)
    if same:  # a recording of which the first part is a piano, the second a tuba
        clips = [clip._replace(video=f"take {clip.stem}") for clip in clips]
    corpus = Corpus("class/id", {clip.name: clip for clip in clips})
    names = SetNames("train", "valid", ("test",))
    data = tmp_path / "data"
    prepare(corpus, Plan(names, Rule(folder=lists), data))
    train, test = clip_set(data, "train"), clip_set(data, "test")
    found = [(leak.clip, leak.other_clip) for leak in same_videos([(test, train)])]
    assert found == ([("tuba-1", "piano-1")] if same else [])
    assert len(two_labels([train, test])) == (1 if same else 0)


def test_classes_that_differ_only_in_case_are_named(tmp_path, caplog):
    touch(tmp_path, *(f"{c}/{c}{n}.mp4" for c in ("Piano", "piano") for n in "123456"))
    corpus = Corpus("", {clip.name: clip for clip in find_clips(tmp_path)})
    names = SetNames("train", "valid", ("test",))
    prepare(corpus, Plan(names, Rule(valid_ratio=0.3), tmp_path / "data"))
    assert "Piano, piano are 2 classes, whose names differ only" in caplog.text


def test_a_listed_clip_in_another_case_is_missing_with_a_hint(tmp_path):
    folder, lists = numbered(tmp_path)
    text = (lists / "test.txt").read_text()
    (lists / "test.txt").write_text(text.replace("piano/3", "Piano/3"))
    corpus = Corpus("", {clip.name: clip for clip in find_clips(folder)})
    names = SetNames("train", "valid", ("test",))
    prepare(corpus, Plan(names, Rule(folder=lists), tmp_path / "data"))
    (row,) = read_skipped(tmp_path / "data" / "test" / "skipped.tsv")
    assert row.key == "Piano-3"
    assert row.reason.startswith("video not found: the corpus has piano/3, in other")


def test_a_dead_link_is_counted_as_missing(tmp_path):
    """As of a corpus on a disk that is not mounted; stage 1 goes on with the rest."""
    folder, lists = numbered(tmp_path)
    (folder / "piano" / "3.mp4").unlink()
    (folder / "piano" / "3.mp4").symlink_to("/not/mounted/3.mp4")
    corpus = Corpus("", {clip.name: clip for clip in find_clips(folder)})
    names = SetNames("train", "valid", ("test",))
    prepare(corpus, Plan(names, Rule(folder=lists), tmp_path / "data"))
    (row,) = read_skipped(tmp_path / "data" / "test" / "skipped.tsv")
    assert row.key == "piano-3" and row.reason.startswith("video not found: ")
    assert row.reason.endswith("is a link to '/not/mounted/3.mp4'")
    assert set(read_scp(tmp_path / "data" / "test" / "wav.scp")) == {"tuba-1"}


def test_a_set_that_nothing_was_drawn_for_says_what_to_do(tmp_path):
    folder, _ = numbered(tmp_path)
    corpus = Corpus("", {clip.name: clip for clip in find_clips(folder)})
    plan = Plan(
        SetNames("train", "valid", ("test",)),
        Rule(valid_ratio=1e-9),
        tmp_path / "data",
    )
    with pytest.raises(InputError, match="set valid is empty.*--valid_ratio.*--splits"):
        prepare(corpus, plan)
