import math
import pickle

import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.segment_reader import rows_in_segment
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import FS, ramp, write_corpus

SEGMENT = 4096


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("clips"))


def build(corpus, **options):
    options.setdefault("segment_samples", SEGMENT)
    return MixAndSeparateDataset(**corpus.tables(), **options)


def decode(reference, num_sources):
    """Clip number and first sample, from the samples that ramp() wrote."""
    samples = np.rint(reference * num_sources * 2**15).astype(int)
    offset = int(np.flatnonzero(samples < 2000)[0])
    other = samples[offset + 1]
    return other - 2000, samples[offset] * 64 - offset


def equal(a, b):
    return a[0] == b[0] and all(np.array_equal(a[1][k], b[1][k]) for k in a[1])


def test_the_mixtures_of_a_seed_are_the_same_in_every_version(corpus):
    """Or a training that goes on, or is repeated, is another one."""
    dataset = build(corpus, gain_range=(0.5, 1.5), seed=1, visual_frames=2)
    dataset.set_epoch(3)
    for index, (clips, rows, levels) in enumerate(
        [
            ("tuba-video0+piano-video0", [[2, 4], [6, 7]], [118.1407, 98.1056]),
            ("tuba-video1+piano-video1", [[2, 4], [4, 5]], [68.8576, 153.1166]),
            ("flute-video1+piano-video2", [[1, 2], [2, 3]], [82.1151, 173.1210]),
        ]
    ):
        key, item = dataset[index]
        assert key == clips
        for n in (1, 2):
            assert item[f"visual_ref{n}"][:, 1].tolist() == rows[n - 1]
            level = np.abs(item[f"speech_ref{n}"]).sum()
            assert level == pytest.approx(levels[n - 1], rel=1e-5)


@pytest.mark.parametrize("num_sources", [1, 2, 4])
def test_items_are_segments_of_the_files(corpus, num_sources):
    dataset = build(corpus, num_sources=num_sources)
    keys = list(corpus.audio)
    for index in range(len(dataset)):
        key, item = dataset[index]
        assert item["silent_redraws"] == 0
        clips = key.split("+")
        assert len(set(clips)) == num_sources
        for n, clip in enumerate(clips, 1):
            reference = item[f"speech_ref{n}"]
            assert reference.dtype == np.float32
            number, start = decode(reference, num_sources)
            assert keys[number] == clip
            samples = ramp(number, corpus.num_samples[clip])[start : start + SEGMENT]
            expected = samples / np.float32(2**15) / np.float32(num_sources)
            np.testing.assert_array_equal(reference, expected)

            visual = item[f"visual_ref{n}"]
            assert visual.shape == (1, 4) and visual.dtype == np.float32
            assert visual[0, 0] == number
            time = (visual[0, 1] + 0.5) / 10 * corpus.num_samples[clip]
            assert start <= time < start + SEGMENT
        assert set(item) == {
            "silent_redraws",
            *(
                f"{kind}_ref{n + 1}"
                for kind in ("speech", "visual")
                for n in range(num_sources)
            ),
        }


def test_several_numbers_of_sources(corpus):
    """Each item is of its own number of sources, scaled by it, of different clips."""
    dataset = build(corpus, num_sources=[2, 3, 1], repeat=2, seed=4)
    counts = dataset.batch_groups()
    assert counts.tolist() == 8 * [2, 3, 1]
    clips = list(corpus.audio)
    firsts = []
    for index, count in enumerate(counts):
        key, item = dataset[index]
        sources = key.split("+")
        assert len(set(sources)) == len(sources) == count
        assert sum(name.startswith("speech_ref") for name in item) == count
        assert sum(name.startswith("visual_ref") for name in item) == count
        for n, clip in enumerate(sources, 1):
            number, _ = decode(item[f"speech_ref{n}"], count)
            assert clips[number] == clip
        firsts.append(sources[0])
    # As with one number, each pass takes every clip once as the first source.
    assert sorted(firsts[:12]) == sorted(firsts[12:]) == sorted(clips)
    alone = build(corpus, num_sources=3, repeat=2, seed=4)
    assert equal(dataset[4], alone[4]) and not equal(dataset[3], alone[3])


def test_the_item_depends_on_seed_epoch_and_index_alone(corpus):
    dataset, other = build(corpus, seed=3, repeat=2), build(corpus, seed=3, repeat=2)
    dataset.set_epoch(5)
    other.set_epoch(5)
    backwards = {i: other[i] for i in reversed(range(len(other)))}
    assert all(equal(dataset[i], backwards[i]) for i in range(len(dataset)))
    again = pickle.loads(pickle.dumps(dataset))
    assert equal(again[7], dataset[7])

    dataset.set_epoch(6)
    assert not any(equal(dataset[i], backwards[i]) for i in range(len(dataset)))
    dataset.set_epoch(5)
    assert equal(dataset[0], backwards[0])
    fresh = build(corpus, seed=4, repeat=2)
    fresh.set_epoch(5)
    assert not any(equal(fresh[i], backwards[i]) for i in range(len(fresh)))


def test_the_order_of_the_tables_does_not_matter(corpus):
    tables = {k: dict(reversed(v.items())) for k, v in corpus.tables().items()}
    turned = MixAndSeparateDataset(**tables, segment_samples=SEGMENT)
    assert equal(turned[4], build(corpus)[4])


def test_each_pass_takes_every_clip_once_as_the_first(corpus):
    dataset = build(corpus, repeat=3)
    assert len(dataset) == 36
    passes = [
        [dataset[i][0].split("+")[0] for i in range(12 * r, 12 * r + 12)]
        for r in range(3)
    ]
    assert all(sorted(clips) == sorted(corpus.audio) for clips in passes)
    assert passes[0] != passes[1] != passes[2]


def test_partners_are_uniform_over_the_other_clips(corpus):
    dataset = build(corpus, repeat=110, segment_samples=64, silence_dbfs=-math.inf)
    counts = np.zeros((12, 12), int)
    keys = sorted(corpus.audio)
    for i in range(len(dataset)):
        first, second = dataset[i][0].split("+")
        counts[keys.index(first), keys.index(second)] += 1
    assert np.all(np.diag(counts) == 0)
    assert np.all(counts.sum(axis=1) == 110)
    off = counts[~np.eye(12, dtype=bool)]  # expected: 10 each, 132 cells
    chi_square = ((off - 10.0) ** 2 / 10.0).sum()
    assert chi_square < 120 + 5 * math.sqrt(2 * 120)  # 12 * 10 degrees of freedom


@pytest.mark.parametrize("num_sources", [2, 3])
def test_different_classes(corpus, num_sources):
    dataset = build(corpus, num_sources=num_sources, different_class=True, repeat=10)
    for i in range(len(dataset)):
        clips = dataset[i][0].split("+")
        assert len({clip.split("-")[0] for clip in clips}) == num_sources


def test_the_same_class_is_allowed_by_default(corpus):
    dataset = build(corpus, repeat=5)
    pairs = [dataset[i][0].split("+") for i in range(len(dataset))]
    assert any(a.split("-")[0] == b.split("-")[0] for a, b in pairs)


def test_several_rows_are_distinct_and_in_order(corpus):
    dataset = build(corpus, visual_frames=2, repeat=4)
    seen = set()
    for i in range(len(dataset)):
        key, item = dataset[i]
        for n, clip in enumerate(key.split("+"), 1):
            rows = item[f"visual_ref{n}"][:, 1].astype(int)
            _, start = decode(item[f"speech_ref{n}"], 2)
            first, last = rows_in_segment(start, SEGMENT, corpus.num_samples[clip], 10)
            assert first <= rows[0] < rows[1] < last
            seen.add(tuple(rows))
    assert len(seen) > 10


def test_more_rows_than_there_are(corpus):
    _, item = build(corpus, visual_frames=9)[0]
    rows = item["visual_ref1"][:, 1]
    assert len(rows) == 9 and np.all(np.diff(rows) >= 0) and len(set(rows)) <= 4


def test_a_segment_between_two_rows_takes_the_nearest(corpus):
    dataset = build(corpus, segment_samples=64, repeat=5)
    for i in range(len(dataset)):
        key, item = dataset[i]
        clip = key.split("+")[0]
        _, start = decode(item["speech_ref1"], 2)
        times = (np.arange(10) + 0.5) / 10 * corpus.num_samples[clip]
        row = int(item["visual_ref1"][0, 1])
        assert abs(times[row] - start - 32) <= np.abs(times - start - 32).min() + 64


def test_gain_range(corpus):
    plain, louder = build(corpus), build(corpus, gain_range=(0.5, 1.5), repeat=20)
    gains = []
    for i in range(len(louder)):
        _, item = louder[i]
        for n in (1, 2):
            peak = item[f"speech_ref{n}"].max() * 2**15 * 2
            gains.append(peak / 2006)
    assert 0.49 < min(gains) < 0.55 and 1.45 < max(gains) < 1.51
    assert abs(np.mean(gains) - 1.0) < 0.05
    fixed = build(corpus, gain_range=(0.5, 0.5))
    np.testing.assert_array_equal(
        fixed[0][1]["speech_ref2"], plain[0][1]["speech_ref2"] * np.float32(0.5)
    )


@pytest.mark.parametrize("margin", [0, 5000, 10**6])
def test_segments_keep_away_from_the_ends(corpus, margin):
    dataset = build(corpus, margin_samples=margin, repeat=30)
    keys = list(corpus.audio)
    middles = {}
    for index in range(len(dataset)):
        key, item = dataset[index]
        for n, clip in enumerate(key.split("+"), 1):
            _, start = decode(item[f"speech_ref{n}"], 2)
            total = corpus.num_samples[clip]
            middle = start + SEGMENT // 2
            nearest = min(middle, total - middle)
            middles.setdefault(clip, []).append(nearest)
            assert nearest >= min(margin, total // 2 - 1)
    assert set(middles) == set(keys)
    if margin < 10**6:  # all of what is allowed is used
        least = min(value for values in middles.values() for value in values)
        assert least < max(margin, SEGMENT // 2) + 400


def test_samples_are_clipped_after_the_gain_before_the_sum(corpus):
    loud = {"gain_range": (50.0, 50.0)}
    plain, clipped = build(corpus, **loud), build(corpus, **loud, clip=True)
    for n in (1, 2):
        before = plain[0][1][f"speech_ref{n}"]
        after = clipped[0][1][f"speech_ref{n}"]
        assert before.max() > 0.6  # of at most 1/2 when clipped
        np.testing.assert_allclose(after, before.clip(-0.5, 0.5), rtol=1e-6)
    assert "clip=True" in repr(clipped)


def silent_corpus(tmp_path, silent):
    """Clips of which a part (0 to 1) at the beginning is silent."""
    corpus = write_corpus(tmp_path / "silent", ["a"], len(silent))
    for n, (key, part) in enumerate(zip(corpus.audio, silent, strict=True)):
        samples = ramp(n, corpus.num_samples[key])
        samples[: int(part * len(samples))] = 0
        soundfile.write(corpus.audio[key], samples, FS, subtype="PCM_16")
    return corpus


def test_silent_segments_are_drawn_again_and_counted(tmp_path):
    corpus = silent_corpus(tmp_path, [0.8, 0.0])
    dataset = build(corpus, repeat=30, max_redraws=100)
    redraws = []
    for i in range(len(dataset)):
        _, item = dataset[i]
        redraws.append(item["silent_redraws"])
        for n in (1, 2):
            assert np.sqrt(np.mean(item[f"speech_ref{n}"] ** 2)) > 0.5e-3
    # Silent where start + 4096 <= 12800: 8704 of 11905 positions; mean p / (1 - p).
    expected = 8705 / (11905 - 8705)
    assert abs(np.mean(redraws) - expected) < 4 * np.std(redraws) / np.sqrt(60)


def test_a_clip_that_stays_silent_gives_way_to_another(tmp_path):
    corpus = silent_corpus(tmp_path, [1.0, 0.0, 0.0])
    dataset = build(corpus, max_redraws=4)
    redraws = [0, 0]
    for i in range(len(dataset)):
        key, item = dataset[i]
        assert sorted(key.split("+")) == ["a-video1", "a-video2"]
        redraws.append(item["silent_redraws"])
    assert sum(redraws) >= 5 and all(count % 5 == 0 for count in redraws)


def test_hopeless_silence_names_the_clips(tmp_path):
    dataset = build(silent_corpus(tmp_path, [1.0, 1.0, 1.0]), max_redraws=2)
    with pytest.raises(InputError, match="9 segments of 3 clips.*a-video"):
        dataset[0]


def test_a_silent_clip_as_long_as_a_segment_is_read_once(tmp_path):
    corpus = silent_corpus(tmp_path, [1.0, 0.0, 0.0])
    num = corpus.num_samples["a-video0"]
    dataset = build(corpus, segment_samples=num)
    counts = [dataset[i][1]["silent_redraws"] for i in range(3)]
    assert 1 <= max(counts) <= 2  # at most once for each source


def test_bad_files_are_named(tmp_path):
    corpus = write_corpus(tmp_path / "bad", ["a"], 2)
    samples = np.full(corpus.num_samples["a-video1"], np.nan, np.float32)
    soundfile.write(corpus.audio["a-video1"], samples, FS, subtype="FLOAT")
    with pytest.raises(InputError, match="a-video1.wav: NaN"):
        build(corpus)[0]
    soundfile.write(corpus.audio["a-video1"], samples[:5000] * 0 + 1, FS)
    with pytest.raises(InputError, match="a-video1.wav"):
        [build(corpus, repeat=5)[i] for i in range(10)]


def test_short_clips_are_refused_at_once(corpus):
    with pytest.raises(InputError, match="4 of 12 clips.*flute-video0 with 16000"):
        build(corpus, segment_samples=16000 + 128 * 4)


@pytest.mark.parametrize("different_class", [False, True])
def test_absent_queries_are_of_other_classes_and_silent(corpus, different_class):
    options = {"different_class": different_class, "repeat": 20}
    plain = build(corpus, **options)
    dataset = build(corpus, absent_queries=1, **options)
    drawn = set()
    for index in range(len(dataset)):
        (key, mixture), (same, item) = plain[index], dataset[index]
        assert key == same and set(item) == {*mixture, "speech_ref3", "visual_ref3"}
        assert all(np.array_equal(item[name], mixture[name]) for name in mixture)
        assert not item["speech_ref3"].any() and len(item["speech_ref3"]) == SEGMENT
        clip = list(corpus.audio)[int(item["visual_ref3"][0, 0])]
        classes = {name.split("-")[0] for name in key.split("+")}
        assert clip.split("-")[0] not in classes
        drawn.add(clip)
    assert drawn == set(dataset.keys)


def test_several_absent_queries_are_of_different_classes(corpus):
    dataset = build(corpus, num_sources=1, absent_queries=2, repeat=5)
    clips = list(corpus.audio)
    for index in range(len(dataset)):
        _, item = dataset[index]
        shown = [clips[int(item[f"visual_ref{n}"][0, 0])] for n in (1, 2, 3)]
        assert len({corpus.category[clip] for clip in shown}) == 3
        assert not item["speech_ref2"].any() and not item["speech_ref3"].any()


def test_absent_queries_need_the_classes(corpus):
    tables = {**corpus.tables(), "category": None}
    with pytest.raises(InputError, match="absent_queries is 1.*give utt2spk"):
        MixAndSeparateDataset(**tables, absent_queries=1)


@pytest.mark.parametrize("name", ["audio", "visual", "num_rows", "category"])
def test_tables_that_disagree(corpus, name):
    tables = corpus.tables()
    tables[name] = {k: v for k, v in tables[name].items() if k != "piano-video2"}
    with pytest.raises(InputError, match="lacks 1 of the keys.*piano-video2"):
        MixAndSeparateDataset(**tables, segment_samples=SEGMENT)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_sources": 0}, "num_sources is 0"),
        ({"num_sources": 13}, "only 12 clips"),
        ({"num_sources": [2, 13]}, "num_sources is 13, but there are only 12 clips"),
        ({"num_sources": [2, 0]}, "num_sources is 0"),
        ({"num_sources": []}, "a number or a list"),
        ({"num_sources": "2 3"}, "a number or a list"),
        ({"num_sources": 4, "different_class": True}, "only 3 classes"),
        ({"segment_samples": 0}, "segment_samples is 0"),
        ({"visual_frames": 0}, "visual_frames is 0"),
        ({"gain_range": (1.5, 0.5)}, "gain_range"),
        ({"gain_range": (0.0, 1.0)}, "gain_range"),
        ({"gain_range": (1.0,)}, "gain_range"),
        ({"max_redraws": -1}, "max_redraws is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"repeat": 0}, "repeat is 0"),
        ({"repeat": 1.5}, "repeat is 1.5"),
        ({"silence_dbfs": math.nan}, "silence_dbfs"),
        ({"absent_queries": -1}, "absent_queries is -1"),
        ({"absent_queries": 2}, "absent_queries is 2 .* only 3 classes"),
    ],
)
def test_options_out_of_range(corpus, options, message):
    with pytest.raises(InputError, match=message):
        build(corpus, **options)


def test_different_class_needs_the_classes(corpus):
    tables = {**corpus.tables(), "category": None}
    with pytest.raises(InputError, match="classes of the clips are not known"):
        MixAndSeparateDataset(**tables, different_class=True)


def test_empty_set():
    with pytest.raises(InputError, match="only 0 clips"):
        MixAndSeparateDataset({}, {}, {}, {})


def test_pairs_of_one_class(corpus):
    dataset = build(corpus, num_sources=3, pairs="same_class", repeat=5)
    seen = set()
    for index in range(len(dataset)):
        clips = dataset[index][0].split("+")
        assert len(set(clips)) == 3
        assert len({corpus.category[clip] for clip in clips}) == 1
        seen.add(frozenset(clips))
    assert len(seen) == 12  # 3 of the 4 clips of each of 3 classes


def test_parts_of_one_video_do_not_overlap(corpus):
    dataset = build(corpus, num_sources=3, pairs="same_video", repeat=3)
    firsts = set()
    for index in range(len(dataset)):
        key, item = dataset[index]
        (clip,) = set(key.split("+"))
        starts = [decode(item[f"speech_ref{n}"], 3)[1] for n in (1, 2, 3)]
        assert min(np.diff(sorted(starts))) >= SEGMENT
        assert min(starts) >= 0 and max(starts) + SEGMENT <= corpus.num_samples[clip]
        firsts.add(int(np.argmin(starts)))
    assert firsts == {0, 1, 2}  # any of the sources is the earliest


def test_a_curriculum_goes_by_the_epoch(corpus):
    stages = [("any", 1), ("same_class", 3), ("same_video", 4)]
    pairs = [{"epoch": epoch, "pairs": name} for name, epoch in stages]
    dataset = build(corpus, pairs=pairs, repeat=5)

    def kinds(epoch):
        dataset.set_epoch(epoch)
        keys = [dataset[index][0].split("+") for index in range(len(dataset))]
        classes = [len({corpus.category[clip] for clip in key}) for key in keys]
        return {(len(set(key)), n) for key, n in zip(keys, classes, strict=True)}

    assert kinds(1) == kinds(2) == {(2, 1), (2, 2)}
    assert kinds(3) == {(2, 1)}
    assert kinds(4) == kinds(9) == {(1, 1)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": "same"}, "pairs is 'same'; expected one of any, same_class"),
        ({"pairs": []}, "expected one of"),
        ({"pairs": [{"epoch": 2, "pairs": "any"}]}, "the first with epoch 1"),
        ({"pairs": [{"epoch": 1}]}, "expected one of"),
        ({"pairs": "same_class", "different_class": True}, "one of them only"),
        ({"pairs": "same_class", "num_sources": 5}, "flute has fewer clips"),
        ({"pairs": "same_video", "num_sources": 4}, "clips are shorter; the first"),
    ],
)
def test_pairs_that_cannot_be_drawn(corpus, options, message):
    with pytest.raises(InputError, match=message):
        build(corpus, **options)


def test_pairs_of_one_class_need_the_classes(corpus):
    tables = {**corpus.tables(), "category": None}
    with pytest.raises(InputError, match="pairs is same_class, but the classes"):
        MixAndSeparateDataset(**tables, segment_samples=SEGMENT, pairs="same_class")
