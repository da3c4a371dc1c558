"""Sources that are seen and not heard, in training items and in fixed mixtures."""

import random

import numpy as np
import pytest

from espnet2_avsep.bin.prepare.make_mixtures import main as make_mixtures_main
from espnet2_avsep.bin.prepare.make_mixtures import silent_sources
from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.mixing.mixture_table import read_silent, sound_sha256
from espnet2_avsep.data.mixing.mixtures import make_mixtures
from espnet2_avsep.data.mixing.silent_sources import check_silent_sources, draw_silent
from espnet2_avsep.data.segment_reader import read_matrix, read_segment
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import FS, write_corpus, write_stages

SEGMENT = 4096


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def clips_dir(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("stages")
    filter_clips(
        **write_stages(folder, corpus),
        output_dir=folder / "kept",
        limits=Limits(FS, SEGMENT),
    )
    return folder / "kept"


def build(corpus, **options):
    return MixAndSeparateDataset(
        **corpus.tables(), **{"segment_samples": SEGMENT, "seed": 1, **options}
    )


def make(clips_dir, output_dir, **options):
    options = {"fs": FS, "segment_samples": SEGMENT, **options}
    return make_mixtures(clips_dir, output_dir, **options)


def silent_of(item, count):
    return [not item[f"speech_ref{n}"].any() for n in range(1, count + 1)]


def test_listed_slots_are_silent_and_the_rest_is_the_mean_of_two(corpus):
    """CCoL's items: slots 2 and 4 of 4 are pictures without sound."""
    silent = build(corpus, num_sources=4, silent_sources=[2, 4])
    plain = build(corpus, num_sources=4)
    for index in range(len(plain)):
        key, item = silent[index]
        same_key, sounding = plain[index]
        assert key == same_key
        assert silent_of(item, 4) == [False, True, False, True]
        for n in range(1, 5):
            np.testing.assert_array_equal(
                item[f"visual_ref{n}"], sounding[f"visual_ref{n}"]
            )
        for n in (1, 3):  # divided by the 2 that sound, not by 4
            np.testing.assert_allclose(
                item[f"speech_ref{n}"], 2 * sounding[f"speech_ref{n}"]
            )


def test_number_and_probability(corpus):
    dataset = build(corpus, num_sources=[3, 4], silent_sources=2, repeat=10)
    places = set()
    for index in range(len(dataset)):
        found = silent_of(dataset[index][1], 3 + index % 2)
        assert sum(found) == 2 and not found[0]
        places.update(np.flatnonzero(found))
    assert places == {1, 2, 3}
    dataset = build(corpus, num_sources=3, silent_sources=0.25, repeat=40)
    found = np.array([silent_of(dataset[n][1], 3) for n in range(len(dataset))])
    assert not found[:, 0].any()
    assert found[:, 1:].mean() == pytest.approx(0.25, abs=4 * 0.43 / 960**0.5)
    again = build(corpus, num_sources=3, silent_sources=0.25, repeat=40)
    assert silent_of(again[17][1], 3) == found[17].tolist()


@pytest.mark.parametrize(
    ("value", "count", "expected"),
    [
        (0, 3, (False, False, False)),
        ([1, 3], 3, (True, False, True)),
        (2, 3, (False, True, True)),
        (1, 1 + 1, (False, True)),
    ],
)
def test_draw_of_a_fixed_choice(value, count, expected):
    assert draw_silent(value, count, random.Random(0)) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2, "all 2 sources of a mixture would be silent"),
        ([2, 1], "all 2 sources of a mixture would be silent"),
        (3, "more than the 2 sources"),
        ([3], "must be from 1 to 2"),
        ([0], "must be from 1 to 2"),
        ([1, 1], "different numbers"),
        ([1.5], "different numbers"),
        (-1, "expected a whole number"),
        (1.5, "expected a whole number"),
        (float("nan"), "expected a whole number"),
        (True, "expected a number of sources"),
        ("all", "expected a number of sources"),
    ],
)
def test_impossible_values(corpus, value, message):
    with pytest.raises(InputError, match=message):
        check_silent_sources(value, [2, 3])
    with pytest.raises(InputError, match=message):
        build(corpus, num_sources=[3, 2], silent_sources=value)


def test_fixed_mixtures(tmp_path, clips_dir):
    plain = make(clips_dir, tmp_path / "plain", num_sources=3)
    counts = make(clips_dir, tmp_path / "out", num_sources=3, silent_sources=1)
    assert counts["mixtures"]["silent_sources"] == 1
    assert counts["mixtures"]["num_silent_sources"] == 12
    assert "silent_sources" not in plain["mixtures"]
    silent = read_silent(tmp_path / "out/mixtures.tsv")
    assert not any(map(any, read_silent(tmp_path / "plain/mixtures.tsv").values()))
    places = set()
    for key, own in silent.items():
        assert sum(own) == 1 and not own[0]
        places.add(own.index(True))
        total = 0
        for n, is_silent in enumerate(own, 1):
            name = f"spk{n}.scp"
            found = read_segment(read_scp(tmp_path / "out" / name)[key])
            sounding = read_segment(read_scp(tmp_path / "plain" / name)[key])
            np.testing.assert_allclose(
                found, 0 * found if is_silent else 1.5 * sounding, rtol=1e-6
            )
            total = total + found
            name = f"visual_{name}"
            np.testing.assert_array_equal(
                read_matrix(read_scp(tmp_path / "out" / name)[key]),
                read_matrix(read_scp(tmp_path / "plain" / name)[key]),
            )
        mixture = read_segment(read_scp(tmp_path / "out/wav.scp")[key])
        np.testing.assert_allclose(mixture, total, atol=1e-7)
    assert places == {1, 2}
    # The same clips, and yet other sounds.
    first, second = (tmp_path / name / "mixtures.tsv" for name in ("plain", "out"))
    assert sound_sha256(first) != sound_sha256(second)
    rows = [line.split("\t") for line in second.read_text().splitlines()]
    kept = [n for n, name in enumerate(rows[0]) if not name.startswith("silent")]
    assert [[row[n] for n in kept] for row in rows] == [
        line.split("\t") for line in first.read_text().splitlines()
    ]


def test_a_list_keeps_its_silent_sources(tmp_path, clips_dir):
    make(clips_dir, tmp_path / "drawn", num_sources=2, silent_sources=0.5)
    table = tmp_path / "drawn/mixtures.tsv"
    counts = make(clips_dir, tmp_path / "listed", num_sources=2, list_file=table)
    assert (tmp_path / "listed/mixtures.tsv").read_bytes() == table.read_bytes()
    assert counts["mixtures"]["silent_sources"] == "listed"
    with pytest.raises(InputError, match="a list names its silent sources itself"):
        make(clips_dir, tmp_path / "x", list_file=table, silent_sources=1)


def test_lists_with_impossible_silent_sources(tmp_path, clips_dir):
    make(clips_dir, tmp_path / "drawn", silent_sources=[2])
    text = (tmp_path / "drawn/mixtures.tsv").read_text()
    table = tmp_path / "mixtures.tsv"
    for wrong, message in (("1", "all sources are silent"), ("2", "neither 0 nor 1")):
        lines = [line.split("\t") for line in text.splitlines()]
        lines[3][lines[0].index("silent1")] = wrong
        table.write_text("".join("\t".join(line) + "\n" for line in lines))
        with pytest.raises(InputError, match=f"line 4.*{message}"):
            make(clips_dir, tmp_path / "x", list_file=table)
    with pytest.raises(InputError, match="expected 0 or 1"):
        read_silent(table)


def test_command_line(tmp_path, clips_dir):
    assert [silent_sources(text) for text in ("2", "0.5", "2,4", "3,")] == [
        2,
        0.5,
        [2, 4],
        [3],
    ]
    argv = ["--clips_dir", str(clips_dir), "--output_dir", str(tmp_path / "out")]
    argv += ["--fs", str(FS), "--segment_samples", str(SEGMENT), "--num_sources", "3"]
    assert make_mixtures_main([*argv, "--silent_sources", "2,3"]) == 0
    silent = read_silent(tmp_path / "out/mixtures.tsv")
    assert set(map(tuple, silent.values())) == {(False, True, True)}
