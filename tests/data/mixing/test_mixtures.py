import hashlib
import logging
import os
from collections import Counter
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import yaml

from espnet2_avsep.data.audio.wav_writer import HEADER_BYTES, write_float_wav
from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.mixing import mixtures
from espnet2_avsep.data.mixing.mixture_draw import draw_groups, draw_same_class
from espnet2_avsep.data.mixing.mixtures import make_mixtures
from espnet2_avsep.data.records.made_from import check_sets
from espnet2_avsep.data.segment_reader import read_matrix, read_segment
from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import (
    FS,
    ramp,
    write_ark,
    write_corpus,
    write_stages,
    write_table,
)

SEGMENT = 8000


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "clips")


@pytest.fixture
def clips_dir(tmp_path, corpus):
    filter_clips(
        **write_stages(tmp_path, corpus),
        output_dir=tmp_path / "kept",
        limits=Limits(FS, SEGMENT),
    )
    return tmp_path / "kept"


def make(clips_dir, output_dir, **options):
    options = {"fs": FS, "segment_samples": SEGMENT, **options}
    return make_mixtures(clips_dir, output_dir, **options)


def read_table(path):
    header, *lines = (line.split("\t") for line in Path(path).read_text().splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("num_sources", [2, 3])
def test_files_of_the_mixtures(tmp_path, corpus, clips_dir, num_sources):
    output = tmp_path / "out"
    counts = make(clips_dir, output, num_sources=num_sources)
    rows = read_table(output / "mixtures.tsv")
    assert [row["mix_id"] for row in rows] == [f"mix{i:05d}" for i in range(12)]
    names = ["wav", *(f"spk{n + 1}" for n in range(num_sources))]
    tables = {name: read_scp(output / f"{name}.scp") for name in names}
    keys = list(corpus.audio)
    for row in rows:
        key = row["mix_id"]
        signals = {}
        for name in names:
            info = soundfile.info(tables[name][key])
            assert (info.subtype, info.samplerate, info.frames) == (
                "FLOAT",
                FS,
                SEGMENT,
            )
            signals[name] = read_segment(tables[name][key])
        total = np.zeros(SEGMENT)
        for n in range(1, num_sources + 1):
            clip = row[f"clip{n}"]
            length = corpus.num_samples[clip]
            start = (length - SEGMENT) // 2
            assert row[f"spk{n}"] == corpus.category[clip]
            assert int(row[f"start{n}"]) == start
            samples = ramp(keys.index(clip), length)[start : start + SEGMENT]
            expected = (samples / np.float32(2**15)) / np.float32(num_sources)
            np.testing.assert_array_equal(signals[f"spk{n}"], expected)
            total += expected
            visual = read_matrix(read_scp(output / f"visual_spk{n}.scp")[key])
            frame = int(row[f"frame{n}"])
            assert frame == 5  # of rows 4 and 5, equally near, the later one
            np.testing.assert_array_equal(visual, [[keys.index(clip), frame, 0, 0]])
        np.testing.assert_allclose(signals["wav"], total, rtol=0, atol=1e-7)

    digest = hashlib.sha256((output / "mixtures.tsv").read_bytes()).hexdigest()
    assert (output / "mixtures.sha256").read_text() == f"{digest}  mixtures.tsv\n"
    assert counts["mixtures"]["sha256"] == digest
    assert yaml.safe_load((output / "counts.yaml").read_text()) == counts
    assert (counts["listed"], counts["kept"], counts["left_out"]) == (12, 12, 0)
    assert (counts["mixtures"]["listed"], counts["mixtures"]["made"]) == (12, 12)


def test_kaldiio_reads_the_arks(tmp_path, clips_dir):
    make(clips_dir, tmp_path / "out")
    ark = kaldiio.load_scp(str(tmp_path / "out" / "visual_spk1.scp"))
    assert len(ark) == 12 and ark["mix00003"].shape == (1, 4)


def test_the_list_depends_on_the_seed_alone(tmp_path, clips_dir):
    lists = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make(clips_dir, tmp_path / name, seed=seed)
        lists[name] = (tmp_path / name / "mixtures.tsv").read_bytes()
    assert lists["a"] == lists["b"] != lists["c"]


def test_the_draw_of_a_seed_is_pinned():
    """The same list on every platform and Python: published hashes stay valid."""
    category = {f"{c}-{i}": c for c in "abc" for i in range(4)}
    groups = draw_groups(category, 12, 2, True, seed=0)
    text = " ".join("+".join(group) for group in groups)
    assert groups == draw_groups(dict(reversed(category.items())), 12, 2, True, 0)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "b2596c5d9729dba6"


@pytest.mark.parametrize(
    "sizes, num_mixtures, num_sources, different_class",
    [
        ([10, 10, 10], 30, 2, True),
        ([7, 5, 5, 3], 33, 2, True),
        ([9, 5, 4], 9, 2, True),
        ([4, 4, 4], 12, 3, True),
        ([20], 20, 2, False),
        ([20], 7, 3, False),
        ([3], 100, 2, False),
        ([6], 4, 6, False),
    ],
)
def test_even_usage(sizes, num_mixtures, num_sources, different_class):
    category = {f"{c}-{i}": str(c) for c, n in enumerate(sizes) for i in range(n)}
    for seed in range(5):
        groups = draw_groups(category, num_mixtures, num_sources, different_class, seed)
        assert len(groups) == num_mixtures
        uses = Counter(dict.fromkeys(category, 0))
        for group in groups:
            assert len(set(group)) == num_sources
            if different_class:
                assert len({category[clip] for clip in group}) == num_sources
            uses.update(group)
        assert max(uses.values()) - min(uses.values()) <= 1


def test_a_class_of_more_than_half_the_clips():
    """Then its clips cannot be used as often; within each class usage is even."""
    category = {**{f"big-{i}": "big" for i in range(9)}, "a-0": "a", "b-0": "b"}
    groups = draw_groups(category, 18, 2, True, seed=0)
    uses = Counter(clip for group in groups for clip in group)
    assert {uses[f"big-{i}"] for i in range(9)} == {2}
    assert uses["a-0"] == uses["b-0"] == 9


def test_no_group_twice_where_it_can_be_avoided(caplog):
    category = {f"c-{i}": "c" for i in range(6)}
    for seed in range(20):
        groups = draw_groups(category, 6, 2, False, seed)
        assert len({frozenset(group) for group in groups}) == 6
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        draw_groups(category, 30, 2, False, 0)
    assert "15 of 30 mixtures repeat" in caplog.text


def test_pairs_and_places_are_drawn_without_preference():
    category = {f"{c}-{i}": c for c in "abc" for i in range(2)}
    pairs, places = Counter(), Counter()
    for seed in range(600):
        for group in draw_groups(category, 6, 2, True, seed):
            pairs[frozenset(group)] += 1
            places[group[0]] += 1
    # 12 pairs of different classes, 300 expected each; 6 clips, 600 each as the first
    assert len(pairs) == 12 and len(places) == 6
    assert all(abs(count - 300) < 5 * 300**0.5 for count in pairs.values())
    assert all(abs(count - 600) < 5 * 600**0.5 for count in places.values())


def test_same_class_draws_different_clips_of_one_class():
    """In proportion to the clips of each class, each clip as often as any other."""
    category = {f"a{n}": "a" for n in range(6)} | {f"b{n}": "b" for n in range(3)}
    category["c0"] = "c"
    groups = draw_same_class(category, 18, 2, seed=3)
    kinds = Counter(category[group[0]] for group in groups)
    assert kinds == {"a": 12, "b": 6}
    for group in groups:
        assert len(set(group)) == 2 and len({category[clip] for clip in group}) == 1
    uses = Counter(clip for group in groups for clip in group)
    assert set(uses.values()) == {4} and len(uses) == 9
    assert groups == draw_same_class(category, 18, 2, seed=3)
    assert groups != draw_same_class(category, 18, 2, seed=4)
    assert [category[group[0]] for group in groups[:4]] == ["a", "b", "a", "b"]
    # Shares of 6 2/3 and 3 1/3: the greater remainder gets the mixture that is left.
    groups = draw_same_class(category, 10, 2, seed=3)
    assert Counter(category[group[0]] for group in groups) == {"a": 7, "b": 3}


@pytest.mark.parametrize(
    "number, sources, message",
    [
        (3, 3, "no class has that many clips: a, b"),
        (3, 1, "num_sources 1"),
        (0, 2, "num_mixtures is 0"),
    ],
)
def test_same_class_that_cannot_be(number, sources, message):
    category = {"a0": "a", "a1": "a", "b0": "b"}
    with pytest.raises(InputError, match=message):
        draw_same_class(category, number, sources, seed=0)


def test_same_class_counts_the_clips_it_leaves_out(tmp_path, corpus, clips_dir):
    """A class of one clip is not drawn, and stands in skipped.tsv."""
    category = read_scp(clips_dir / "utt2spk")
    alone = min(category)
    category[alone] = "alone"
    write_table(clips_dir / "utt2spk", category)
    counts = make(clips_dir, tmp_path / "out", same_class=True)
    assert counts["mixtures"]["same_class"] is True
    rows = read_table(tmp_path / "out" / "mixtures.tsv")
    assert rows
    for row in rows:
        assert category[row["clip1"]] == category[row["clip2"]] != "alone"
        assert row["clip1"] != row["clip2"]
    skipped = {
        row.key: row.reason for row in read_skipped(tmp_path / "out/skipped.tsv")
    }
    assert skipped[alone] == "too few clips of its class: 1 of alone, 2 needed"
    for other in ({"different_class": True}, {"list_file": tmp_path / "x.tsv"}):
        with pytest.raises(InputError, match="same_class does not go with"):
            make(clips_dir, tmp_path / "other", same_class=True, **other)


def test_different_class(tmp_path, clips_dir):
    make(clips_dir, tmp_path / "out", different_class=True, num_mixtures=20)
    rows = read_table(tmp_path / "out" / "mixtures.tsv")
    assert len(rows) == 20
    assert all(row["spk1"] != row["spk2"] for row in rows)


def test_clips_with_a_silent_centre_are_not_drawn(tmp_path, corpus, clips_dir):
    samples = ramp(2, corpus.num_samples["flute-video2"])
    samples[4000:-4000] = 0
    soundfile.write(corpus.audio["flute-video2"], samples, FS, subtype="PCM_16")
    (clips_dir / "skipped.tsv").write_text("harp-a\tdata\tno such file: a\n")
    output = tmp_path / "out"
    counts = make(clips_dir, output)
    assert "flute-video2" not in (output / "mixtures.tsv").read_text()
    assert counts["mixtures"]["made"] == 11
    assert (counts["listed"], counts["kept"], counts["left_out"]) == (13, 11, 2)
    assert counts["skipped"]["mixtures"] == {"centre segment silent": 1}
    keys = [(row.key, row.stage) for row in read_skipped(output / "skipped.tsv")]
    assert keys == [("flute-video2", "mixtures"), ("harp-a", "data")]


def test_all_silent(tmp_path, clips_dir):
    with pytest.raises(InputError, match="none of the 12 clips can be mixed"):
        make(clips_dir, tmp_path / "out", silence_dbfs=0.0)
    assert len(read_skipped(tmp_path / "out" / "skipped.tsv")) == 12


# --- lists ----------------------------------------------------------------------------


def test_a_list_makes_the_same_mixtures_again(tmp_path, clips_dir):
    first, second = tmp_path / "first", tmp_path / "second"
    make(clips_dir, first, seed=5, num_mixtures=7)
    make(clips_dir, second, list_file=first / "mixtures.tsv")
    for name in ("mixtures.tsv", "data/wav/mix00006.wav", "data/visual_spk2.ark"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_lists_of_the_peers(tmp_path, clips_dir):
    """As iQuery's: a slash, category and name of a wav, a comma and a blank."""
    pairs = tmp_path / "testsep.csv"
    pairs.write_text(
        "/flute/video0.wav, /tuba/video1.wav\n"
        "/flute/video9.wav, /tuba/video1.wav\n"
        "data/audio/tuba/video2.mp3,data/audio/tuba/video3.mp3\n"
        "/brass/video0.wav, /flute/video0.wav\n"
    )
    counts = make(clips_dir, tmp_path / "out", list_file=pairs)
    table = read_table(tmp_path / "out" / "mixtures.tsv")
    assert [(r["mix_id"], r["clip1"], r["clip2"]) for r in table] == [
        ("mix00000", "flute-video0", "tuba-video1"),
        ("mix00002", "tuba-video2", "tuba-video3"),
    ]
    assert counts["mixtures"]["skipped"] == {"clip not in the set": 2}
    assert (
        counts["mixtures"]["list_sha256"]
        == hashlib.sha256(pairs.read_bytes()).hexdigest()
    )
    skipped = read_skipped(tmp_path / "out" / "skipped.tsv")
    assert [row.reason for row in skipped] == [
        "clip not in the set: /flute/video9.wav",
        "clip not in the set: /brass/video0.wav",  # three clips have that video id
    ]


def test_starts_in_a_list_of_pairs(tmp_path, corpus, clips_dir):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("flute/video0.wav,tuba/video1.wav,0,640\n")
    make(clips_dir, tmp_path / "out", list_file=pairs)
    (row,) = read_table(tmp_path / "out" / "mixtures.tsv")
    assert (row["start1"], row["start2"]) == ("0", "640")
    length = corpus.num_samples["flute-video0"]
    assert int(row["frame1"]) == SEGMENT * corpus.num_rows["flute-video0"] // (
        2 * length
    )
    pairs.write_text("flute/video0.wav,tuba/video1.wav,0,99999999\n")
    with pytest.raises(InputError, match="belongs to other data"):
        make(clips_dir, tmp_path / "other", list_file=pairs)


def test_starts_and_frames_of_a_list_are_kept(tmp_path, corpus, clips_dir):
    path = tmp_path / "mine.tsv"
    path.write_text(
        "mix_id\tclip1\tspk1\tstart1\tframe1\tclip2\tspk2\tstart2\tframe2\n"
        "duo\ttuba-video0\ttuba\t17\t3\tflute-video1\tflute\t0\t9\n"
    )
    make(clips_dir, tmp_path / "out", list_file=path)
    samples = read_segment(str(tmp_path / "out/data/spk1/duo.wav"))
    expected = ramp(4, corpus.num_samples["tuba-video0"])[17 : 17 + SEGMENT] / 2**16
    np.testing.assert_array_equal(samples, expected.astype(np.float32))
    table = read_scp(tmp_path / "out" / "visual_spk2.scp")
    np.testing.assert_array_equal(read_matrix(table["duo"]), [[1, 9, 0, 0]])


@pytest.mark.parametrize("separator", ["\t", ",", " "])
def test_lists_of_pairs(tmp_path, clips_dir, separator):
    path = tmp_path / "pairs.txt"
    lines = [
        ("tuba-video0", "flute-video1"),
        ("dataset/audio/piano/video3.wav", "tuba/video2.wav"),
        ("harp/gone.wav", "tuba/video2"),
        ("tuba/gone.wav", "piano/gone.mp4"),
    ]
    path.write_text("# a comment\n" + "\n".join(separator.join(x) for x in lines))
    counts = make(clips_dir, tmp_path / "out", list_file=path)
    rows = read_table(tmp_path / "out" / "mixtures.tsv")
    assert [(r["mix_id"], r["clip1"], r["clip2"]) for r in rows] == [
        ("mix00000", "tuba-video0", "flute-video1"),
        ("mix00001", "piano-video3", "tuba-video2"),
    ]
    assert (counts["mixtures"]["listed"], counts["mixtures"]["made"]) == (4, 2)
    assert counts["mixtures"]["skipped"] == {"clip not in the set": 2}
    assert (counts["listed"], counts["kept"]) == (12, 12)
    skipped = read_skipped(tmp_path / "out" / "skipped.tsv")
    assert [row.key for row in skipped] == ["mix00002", "mix00003"]
    assert skipped[0].reason == "clip not in the set: harp/gone.wav"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "none of the 0 mixtures.*empty"),
        ("a\n", "line 1: 1 columns"),
        ("tuba-video0 piano-video0 flute-video0\n", "line 1: 3 columns"),
        ("video0 video1\n", "'video0' may be flute-video0 or piano-video0"),
        ("tuba-video0 tuba/video0.wav\n", "line 1: a clip is mixed with itself"),
        ("a b\nc d\n", "none of the 2 mixtures can be made"),
        ("mix_id\tclip1\tstart1\tframe1\nm\ta\t0\t0\n", "has 1 sources"),
        ("tuba-video0 piano-video0 0 ²\n", "line 1: 4 columns"),
    ],
)
def test_bad_lists(tmp_path, clips_dir, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        make(clips_dir, tmp_path / "out", list_file=path)


@pytest.mark.parametrize(
    "line, message",
    [
        ("m\ttuba-video0\t\t9000\t0\ttuba-video1\t\t0\t0", "samples up to 8512"),
        ("m\ttuba-video0\t\t0\t10\ttuba-video1\t\t0\t0", "frames up to 9"),
        ("m\ttuba-video0\t\t-1\t0\ttuba-video1\t\t0\t0", "a negative number"),
        ("m\ttuba-video0\t\tx\t0\ttuba-video1\t\t0\t0", "line 2: cannot be read"),
        ("m\ttuba-video0", "line 2: cannot be read"),
        ("../m\ttuba-video0\t\t0\t0\ttuba-video1\t\t0\t0", "the id '../m' has a '/'"),
        ("a b\ttuba-video0\t\t0\t0\ttuba-video1\t\t0\t0", "a file name should not"),
    ],
)
def test_bad_lines_of_a_table(tmp_path, clips_dir, line, message):
    path = tmp_path / "mixtures.tsv"
    header = "mix_id\tclip1\tspk1\tstart1\tframe1\tclip2\tspk2\tstart2\tframe2\n"
    path.write_text(header + line + "\n")
    with pytest.raises(InputError, match=message):
        make(clips_dir, tmp_path / "out", list_file=path)


def test_missing_list(tmp_path, clips_dir):
    with pytest.raises(InputError, match="none.tsv: the list of mixtures cannot be"):
        make(clips_dir, tmp_path / "out", list_file=tmp_path / "none.tsv")


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_sources": 0}, "num_sources is 0"),
        ({"num_sources": 13}, r"kept: num_sources is 13, .* only 12 clips .*skipped"),
        ({"num_sources": 4, "different_class": True}, "only 3 classes"),
        ({"num_mixtures": 0}, "num_mixtures is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"fs": 16000}, "8000 Hz where 16000"),
        ({"segment_samples": 10**6}, "none of the 12 clips can be mixed"),
    ],
)
def test_options_that_do_not_fit(tmp_path, clips_dir, options, message):
    with pytest.raises(InputError, match=message):
        make(clips_dir, tmp_path / "out", **options)


def test_tables_that_disagree(tmp_path, clips_dir):
    table = read_scp(clips_dir / "visual_spk1.scp")
    del table["tuba-video1"]
    write_table(clips_dir / "visual_spk1.scp", table)
    with pytest.raises(InputError, match="visual_spk1.scp lacks 1 .*tuba-video1"):
        make(clips_dir, tmp_path / "out")


def test_widths_that_differ(tmp_path, clips_dir):
    base = tmp_path / "wide"
    write_ark(base, {"tuba-video1": np.zeros((10, 5), np.float32)})
    table = dict(read_scp(clips_dir / "visual_spk1.scp"), **read_scp(f"{base}.scp"))
    write_table(clips_dir / "visual_spk1.scp", table)
    with pytest.raises(InputError, match="those of tuba-video1 5 "):
        make(clips_dir, tmp_path / "out")


# --- runs again -----------------------------------------------------------------------


def test_a_second_run_keeps_the_wavs(tmp_path, clips_dir):
    output = tmp_path / "out"
    make(clips_dir, output)
    before = tree(output)
    stamps = {p: p.stat().st_mtime_ns for p in output.rglob("*.wav")}
    # What a killed run leaves: no tables, a wav missing, one cut off, a temporary file.
    (output / "counts.yaml").unlink()
    (output / "wav.scp").unlink()
    missing = output / "data/wav/mix00003.wav"
    missing.unlink()
    cut = output / "data/spk2/mix00004.wav"
    cut.write_bytes(cut.read_bytes()[:1000])
    (output / "data/spk1/.mix00005.wav.abc.tmp").write_bytes(b"half")
    (output / ".visual_spk1.scp.abc.tmp").write_bytes(b"half")
    other = output / ".visual.scp.abc.tmp"
    other.write_bytes(b"of stage 2")
    make(clips_dir, output)
    other.unlink()
    assert tree(output) == before
    written_again = {
        path.name for path in stamps if path.stat().st_mtime_ns != stamps[path]
    }
    assert written_again == {"mix00003.wav", "mix00004.wav"}


@pytest.mark.parametrize("change", ["seed", "num_sources", "num_mixtures", "audio"])
def test_another_list_or_other_audio_replaces_everything(
    tmp_path, corpus, clips_dir, change
):
    output, fresh = tmp_path / "out", tmp_path / "fresh"
    make(clips_dir, output, num_sources=3)
    options = {"num_sources": 3}
    if change == "audio":
        for key, path in corpus.audio.items():
            samples = ramp(99, corpus.num_samples[key])
            soundfile.write(path, samples, FS, subtype="PCM_16")
            os.utime(path, (1, 1))
    else:
        options[change] = {"seed": 1, "num_sources": 2, "num_mixtures": 5}[change]
    make(clips_dir, output, **options)
    make(clips_dir, fresh, **options)
    # The scp files name their folder.
    got, expected = (
        {
            name: content.replace(str(folder).encode(), b"")
            for name, content in tree(folder).items()
        }
        for folder in (output, fresh)
    )
    assert got == expected


def test_a_set_that_was_not_finished_is_not_used(tmp_path, clips_dir, monkeypatch):
    """Killed between two tables, when source 1 has other pictures than source 2."""
    make(clips_dir, tmp_path / "out")
    check_sets([tmp_path / "out" / "wav.scp"])
    write, calls = mixtures.write_ark, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(mixtures, "write_ark", stop)
    with pytest.raises(KeyboardInterrupt):
        make(clips_dir, tmp_path / "out")
    assert (tmp_path / "out" / "visual_spk2.scp").exists()
    with pytest.raises(InputError, match="not complete.* Run stage 4 again"):
        check_sets([tmp_path / "out" / "wav.scp"])
    make(clips_dir, tmp_path / "out")
    check_sets([tmp_path / "out" / "wav.scp"])


def test_float_wav_is_the_same_at_any_time(tmp_path):
    samples = np.random.default_rng(0).normal(size=1001).astype(np.float32)
    write_float_wav(tmp_path / "a.wav", samples, 11625)
    data, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == 11625
    np.testing.assert_array_equal(data, samples)
    content = (tmp_path / "a.wav").read_bytes()
    assert len(content) == HEADER_BYTES + 4 * 1001
    assert b"PEAK" not in content
