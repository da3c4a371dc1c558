"""Clips of one video are not mixed, and no query is of the video of another source."""

import random
from collections import Counter

import pytest

from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.mixing.mixture_draw import draw_groups, draw_same_class
from espnet2_avsep.data.mixing.mixtures import FORMER_LIST, make_mixtures
from espnet2_avsep.data.mixing.same_video import different_clips, read_videos
from espnet2_avsep.data.mixing.visual_shuffle import shuffle_visual
from espnet2_avsep.data.records.made_from import check_sets
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import FS, write_corpus, write_stages, write_table

SEGMENT = 4096


def corpus_of(number, classes="abc", per_video=2):
    """Videos with a clip of each of two classes: clip -> class, clip -> video."""
    category, videos = {}, {}
    for video in range(number):
        for turn in range(per_video):
            name = classes[(video + turn) % len(classes)]
            clip = f"{name}-{video:02d}"
            category[clip], videos[clip] = name, f"v{video:02d}"
    return category, videos


@pytest.mark.parametrize("different_class", [False, True])
@pytest.mark.parametrize("num_sources", [2, 3])
def test_no_mixture_has_two_clips_of_one_video(different_class, num_sources):
    category, videos = corpus_of(9)
    for seed in range(20):
        groups = draw_groups(category, 18, num_sources, different_class, seed, videos)
        for group in groups:
            assert len({videos[clip] for clip in group}) == num_sources
            if different_class:
                assert len({category[clip] for clip in group}) == num_sources
        # Exchanges leave the uses as they are.
        uses = Counter(clip for group in groups for clip in group)
        assert set(uses.values()) == {num_sources}
        again = draw_groups(category, 18, num_sources, different_class, seed, videos)
        assert again == groups
    # Without the table, such mixtures are drawn.
    drawn = [draw_groups(category, 18, num_sources, different_class, s) for s in (0, 1)]
    groups = drawn[0] + drawn[1]
    assert any(len({videos[c] for c in group}) < num_sources for group in groups)


@pytest.mark.parametrize("different_class", [False, True])
def test_the_list_of_a_corpus_whose_videos_have_one_clip_is_the_same(different_class):
    category, _ = corpus_of(12, per_video=1)
    videos = {clip: f"of {clip}" for clip in category}
    args = category, 20, 2, different_class, 3
    assert draw_groups(*args, videos) == draw_groups(*args)


def test_a_clip_without_a_partner_gives_way():
    # "b-0" goes only with "a-1"; "a-0" with nothing.
    category = {"a-0": "a", "b-0": "b", "a-1": "a"}
    videos = {"a-0": "0", "b-0": "0", "a-1": "1"}
    groups = draw_groups(category, 3, 2, True, 0, videos)
    assert {frozenset(group) for group in groups} == {frozenset(["a-1", "b-0"])}


@pytest.mark.parametrize(
    "category, videos, different_class, message",
    [
        ("ab", "00", False, "only 1 videos.*different names"),
        ("abc", "001", False, "only 2 videos"),
        ("ab", "00", True, "no more than 1 clips are of different classes and"),
        # Every class and every video twice, and yet all of two videos.
        ("aabbcc", "010101", True, "no more than 2 clips"),
    ],
)
def test_a_corpus_of_too_few_videos(category, videos, different_class, message):
    clips = [f"{name}{n}" for n, name in enumerate(category)]
    number = len(set(category))
    args = 2, number, different_class, 0, dict(zip(clips, videos, strict=True))
    with pytest.raises(InputError, match=message):
        draw_groups(dict(zip(clips, category, strict=True)), *args)


def test_as_many_clips_of_different_classes_and_videos_as_there_can_be():
    rng = random.Random(0)
    for _ in range(50):
        edges = {(rng.randrange(4), rng.randrange(4)) for _ in range(rng.randint(1, 9))}
        clips = [f"{name}-{video}" for name, video in sorted(edges)]
        category = {clip: clip[0] for clip in clips}
        videos = {clip: clip[2] for clip in clips}
        found = different_clips(clips, category, videos, 9)

        def largest(left):
            """By trying all choices."""
            return max(
                (
                    1 + largest([e for e in left if e[0] != c and e[1] != v])
                    for c, v in left
                ),
                default=0,
            )

        assert len(found) == largest(sorted(edges))
        assert len({clip[0] for clip in found}) == len(found)
        assert len({clip[2] for clip in found}) == len(found)


def test_same_class_takes_different_videos():
    # Two sections of each video; class b has one video only.
    category = {f"a-{v}_{s}": "a" for v in range(3) for s in range(2)}
    category |= {"b-9_0": "b", "b-9_1": "b"}
    videos = {clip: clip[2] for clip in category}
    groups = draw_same_class(category, 12, 2, 0, videos)
    assert all(len({videos[clip] for clip in group}) == 2 for group in groups)
    assert {clip[0] for group in groups for clip in group} == {"a"}
    only = {clip: name for clip, name in category.items() if name == "b"}
    with pytest.raises(InputError, match="no class has that many videos: b"):
        draw_same_class(only, 2, 2, 0, videos)


@pytest.fixture
def corpus(tmp_path):
    """Four clips of each of three classes; the first two are of videos 0 and 1."""
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def videos(corpus):
    return {
        clip: clip.partition("-")[2] if clip[-1] in "01" else clip
        for clip in corpus.audio
    }


def build(corpus, **options):
    options = {"segment_samples": 256, **options}
    return MixAndSeparateDataset(**corpus.tables(), **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"different_class": True},
        {"num_sources": 3, "different_class": True},
        {"absent_queries": 1},
        {"num_sources": [2, 3], "silent_sources": 1},
    ],
)
def test_training_does_not_mix_clips_of_one_video(corpus, videos, options):
    dataset = build(corpus, videos=videos, repeat=20, **options)
    for index in range(len(dataset)):
        _, item = dataset[index]
        names = [n for n in item if n.startswith("visual_ref")]
        clips = [dataset_clip(corpus, item[name]) for name in names]
        assert len({videos[clip] for clip in clips}) == len(clips)
    plain = build(corpus, repeat=20, **options)
    keys = [plain[index][0].split("+") for index in range(len(plain))]
    assert any(len({videos[clip] for clip in own}) < len(own) for own in keys)


def dataset_clip(corpus, visual):
    return list(corpus.audio)[int(visual[0, 0])]


def test_training_on_one_class_does_not_mix_sections_of_a_video(corpus):
    videos = {clip: f"{clip[:-1]}{int(clip[-1]) // 2}" for clip in corpus.audio}
    dataset = build(corpus, videos=videos, pairs="same_class", repeat=20)
    for index in range(len(dataset)):
        own = dataset[index][0].split("+")
        assert len({videos[clip] for clip in own}) == 2
    with pytest.raises(InputError, match="class flute has fewer videos"):
        build(corpus, videos=videos, pairs="same_class", num_sources=3)


def test_items_of_a_corpus_whose_videos_have_one_clip_are_the_same(corpus):
    videos = {clip: f"of {clip}" for clip in corpus.audio}
    one, other = (
        build(corpus, different_class=True, num_sources=3, repeat=5, **table)
        for table in ({}, {"videos": videos})
    )
    assert [one[n][0] for n in range(60)] == [other[n][0] for n in range(60)]


@pytest.mark.parametrize(
    "videos, options, message",
    [
        ("one", {}, "only 1 videos to choose from.*different names"),
        ("four", {"num_sources": 5}, "only 4 videos"),
        ("two", {"num_sources": 3, "different_class": True}, "only 0 classes have 3"),
        ("two", {"num_sources": 2, "absent_queries": 1}, "only 0 classes have 3"),
    ],
)
def test_training_sets_of_too_few_videos(corpus, videos, options, message):
    number = {"one": 1, "two": 2, "four": 4}[videos]
    table = {clip: str(int(clip[-1]) % number) for clip in corpus.audio}
    with pytest.raises(InputError, match=message):
        build(corpus, videos=table, **options)


def make(stages, folder, **options):
    filter_clips(**stages, output_dir=folder / "clips", limits=Limits(FS, SEGMENT))
    return make_mixtures(
        folder / "clips", folder / "test", FS, segment_samples=SEGMENT, **options
    )


def listed(folder):
    lines = (folder / "test" / "mixtures.tsv").read_text().splitlines()[1:]
    return [(line.split("\t")[1], line.split("\t")[5]) for line in lines]


def test_stage_4_keeps_clips_of_one_video_apart(tmp_path, corpus, videos):
    stages = write_stages(tmp_path, corpus)
    write_table(stages["data_dir"] / "utt2video", videos)
    counts = make(stages, tmp_path, num_mixtures=40)["mixtures"]
    assert counts["different_videos"] is True
    assert all(videos[a] != videos[b] for a, b in listed(tmp_path))
    for folder in ("clips", "test"):
        assert read_scp(tmp_path / folder / "utt2video") == videos
    check_sets([tmp_path / "clips" / "wav.scp", tmp_path / "test" / "wav.scp"])
    # Other videos make other mixtures: stage 4 has to run again.
    write_table(stages["data_dir"] / "utt2video", {**videos, "flute-video3": "0"})
    with pytest.raises(InputError, match="videos.*Run stage 4 again"):
        check_sets([tmp_path / "clips" / "wav.scp"])


def test_stage_4_is_as_before_where_no_video_has_two_clips(tmp_path, corpus):
    stages = write_stages(tmp_path, corpus)
    before = make(stages, tmp_path)
    record = (tmp_path / "test" / "made_from.json").read_bytes()
    videos = {clip: f"of {clip}" for clip in corpus.audio}
    write_table(stages["data_dir"] / "utt2video", videos)
    assert make(stages, tmp_path) == before
    assert (tmp_path / "test" / "made_from.json").read_bytes() == record
    assert not (tmp_path / "clips" / "utt2video").exists()


def test_a_list_that_mixed_clips_of_one_video_is_kept(tmp_path, corpus, videos, caplog):
    stages = write_stages(tmp_path, corpus)
    make(stages, tmp_path, num_mixtures=40)  # as an earlier version did
    former = (tmp_path / "test" / "mixtures.tsv").read_bytes()
    assert any(videos[a] == videos[b] for a, b in listed(tmp_path))
    check_sets([tmp_path / "test" / "wav.scp"])  # later stages read it
    write_table(stages["data_dir"] / "utt2video", videos)
    check_sets([tmp_path / "test" / "wav.scp"])
    for _ in range(2):
        make(stages, tmp_path, num_mixtures=40)
        assert (tmp_path / "test" / FORMER_LIST).read_bytes() == former
    assert "was drawn without regard to which clips are of one video" in caplog.text
    # As a list, it is taken as it is, and counted.
    caplog.clear()
    counts = make(stages, tmp_path, list_file=tmp_path / "test" / FORMER_LIST)
    assert (tmp_path / "test" / "mixtures.tsv").read_bytes() == former
    number = sum(videos[a] == videos[b] for a, b in listed(tmp_path))
    assert counts["mixtures"]["of_one_video"] == number
    assert f"{number} of 40 mixtures are of two clips of one video" in caplog.text


@pytest.mark.parametrize("mode", ["clip", "class"])
def test_a_shuffled_picture_is_of_no_video_of_the_mixture(tmp_path, mode):
    lines = ["mix_id\tclip1\tspk1\tclip2\tspk2"]
    videos = {}
    tables = {"visual_ref1": {}, "visual_ref2": {}}
    for i, pair in enumerate(["ab", "cd", "ef"]):
        lines.append(f"mix{i}\t{pair[0]}-{i}\t{pair[0]}\t{pair[1]}-{i + 1}\t{pair[1]}")
        for n, name in enumerate(pair):
            tables[f"visual_ref{n + 1}"][f"mix{i}"] = f"{name}-{i + n}"
            videos[f"{name}-{i + n}"] = f"v{i + n}"
    list_file = tmp_path / "mixtures.tsv"
    list_file.write_text("\n".join(lines) + "\n")
    write_table(tmp_path / "utt2video", videos)
    for seed in range(20):
        found = shuffle_visual(tables, list_file, mode, seed)
        for key in tables["visual_ref1"]:
            own = {videos[tables[name][key]] for name in tables}
            assert not own & {videos[found[name][key]] for name in tables}
    (tmp_path / "utt2video").unlink()
    shuffled = [shuffle_visual(tables, list_file, mode, seed) for seed in range(20)]
    assert any(videos[found["visual_ref1"]["mix0"]] == "v1" for found in shuffled)


def test_a_clip_that_the_table_lacks_is_of_a_video_of_its_own(tmp_path):
    write_table(tmp_path / "utt2video", {"a": "v", "b": "v", "other": "w"})
    assert read_videos(tmp_path, "abc") == {"a": "v", "b": "v", "c": "c"}
    assert read_videos(tmp_path, "ac") == {}
    assert read_videos(tmp_path / "missing", "ab") == {}
