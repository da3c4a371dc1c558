import io

import numpy as np
import pytest
from PIL import Image

from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.frame_store import (
    PackedFrames,
    crop_and_flip,
    encode_jpeg,
    jitter,
)
from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.mixing.mixtures import make_mixtures
from espnet2_avsep.data.segment_reader import (
    matrix_shape,
    nearest_row,
    read_matrix,
    read_packed,
    read_row,
    read_rows,
    strided_rows,
)
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import FS, write_corpus, write_stages
from tests.support.frame_fixtures import pack, read_plain, write_frames


@pytest.fixture
def noise(tmp_path):
    """Two clips of random pictures, 3 and 1 frames, of 20 x 16 pixels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 20, 16, 3), np.uint8)
    jpegs = [encode_jpeg(image) for image in images]
    clips = {
        "a": PackedFrames(jpegs[:3], 20, 16),
        "bcd": PackedFrames(jpegs[3:], 20, 16),
    }
    expected = [np.asarray(Image.open(io.BytesIO(j))).transpose(2, 0, 1) for j in jpegs]
    return write_frames(tmp_path / "visual.ark", clips), np.stack(expected), jpegs


def test_frames_are_what_pillow_decodes(noise):
    table, expected, jpegs = noise
    assert matrix_shape(table["a"]) == (3, 3, 20, 16)
    assert matrix_shape(table["bcd"]) == (1, 3, 20, 16)
    np.testing.assert_array_equal(read_matrix(table["a"]), expected[:3])
    np.testing.assert_array_equal(read_row(table["bcd"], 0), expected[3])
    rows = read_rows(table["a"], [2, 0, 2])
    np.testing.assert_array_equal(rows, expected[[2, 0, 2]])
    assert rows.dtype == np.uint8
    assert read_packed(table["a"], [1]).jpegs == [jpegs[1]]


def test_a_matrix_is_not_packed(tmp_path):
    corpus = write_corpus(tmp_path, per_category=1)
    assert read_packed(corpus.visual["flute-video0"], [0]) is None


def test_missing_rows_and_damaged_files(noise, tmp_path):
    table, _, _ = noise
    for row in (-1, 3):
        with pytest.raises(InputError, match="row"):
            read_rows(table["a"], [row])
    path = tmp_path / "visual.ark"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    read_rows(table["a"], [2])
    with pytest.raises(InputError, match="ends within"):
        read_rows(table["bcd"], [0])
    path.write_bytes(content[:30])
    with pytest.raises(InputError, match="ends within"):
        read_rows(table["a"], [1])
    begin = content.index(b"\xff\xd8")
    path.write_bytes(content[:begin] + bytes(200) + content[begin + 200 :])
    with pytest.raises(InputError, match="cannot be decoded"):
        read_rows(table["a"], [0])


@pytest.mark.parametrize(
    ("centre", "count", "stride", "num_rows", "expected"),
    [
        (5, 3, 2, 10, [3, 5, 7]),
        (0, 3, 24, 50, [0, 0, 24]),
        (49, 3, 24, 50, [25, 49, 49]),
        (3, 1, 24, 5, [3]),
        (3, 4, 1, 10, [1, 2, 3, 4]),
        (0, 3, 1, 1, [0, 0, 0]),
    ],
)
def test_strided_rows(centre, count, stride, num_rows, expected):
    assert strided_rows(centre, count, stride, num_rows) == expected


def test_crop_is_the_same_for_all_frames_and_reaches_every_place():
    frames = np.arange(2 * 3 * 6 * 5).reshape(2, 3, 6, 5)
    seen = set()
    rng = np.random.default_rng(0)
    for _ in range(300):
        crop = crop_and_flip(frames, 4, True, rng)
        assert crop.shape == (2, 3, 4, 4) and crop.flags.c_contiguous
        np.testing.assert_array_equal(crop[1] - crop[0], np.full((3, 4, 4), 90))
        flipped = crop[0, 0, 0, 0] > crop[0, 0, 0, 1]
        upright = crop[..., ::-1] if flipped else crop
        top, left = divmod(int(upright[0, 0, 0, 0]), 5)
        np.testing.assert_array_equal(
            upright, frames[..., top : top + 4, left : left + 4]
        )
        seen.add((top, left, bool(flipped)))
    assert len(seen) == 3 * 2 * 2
    whole = crop_and_flip(frames, 0, False, rng)
    np.testing.assert_array_equal(whole, frames)
    with pytest.raises(InputError, match="visual_size"):
        crop_and_flip(frames, 6, False, rng)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten frames a clip; see frame_fixtures.plain."""
    folder = tmp_path_factory.mktemp("clips")
    corpus = write_corpus(folder)
    frames = {key: pack(number, 10) for number, key in enumerate(corpus.audio)}
    corpus.visual.update(write_frames(folder / "frames.ark", frames))
    return corpus


def test_training_draws_frames_around_the_segment(corpus):
    segment, keys = 4096, list(corpus.audio)
    dataset = MixAndSeparateDataset(
        **corpus.tables(), segment_samples=segment, visual_frames=3, visual_stride=2
    )
    for index in range(len(dataset)):
        key, item = dataset[index]
        for n, clip in enumerate(key.split("+"), 1):
            number = keys.index(clip)
            samples = np.rint(item[f"speech_ref{n}"] * 2**16).astype(int)
            offset = int(np.flatnonzero(samples < 2000)[0])
            start = samples[offset] * 64 - offset
            centre = nearest_row(start, segment, corpus.num_samples[clip], 10)
            frames = item[f"visual_ref{n}"]
            assert frames.shape == (3, 3, 12, 12) and frames.dtype == np.uint8
            expected = strided_rows(centre, 3, 2, 10)
            assert read_plain(frames) == [(number, row) for row in expected]


def test_augmentation_depends_on_seed_epoch_and_item_alone(corpus):
    def build(**options):
        return MixAndSeparateDataset(
            **corpus.tables(), segment_samples=4096, frame_flip=True, **options
        )

    a, b = build(frame_crop=8), build(frame_crop=8)
    b[3]
    item = a[5][1]["visual_ref1"]
    assert item.shape == (1, 3, 8, 8)
    np.testing.assert_array_equal(item, b[5][1]["visual_ref1"])
    with pytest.raises(InputError, match="frame_crop is 13"):
        build(frame_crop=13)[0]


def test_jitter_changes_brightness_then_saturation_of_all_frames_alike():
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), np.uint8)
    found = jitter(frames, 0.3, np.random.default_rng(1))
    brightness, saturation = np.random.default_rng(1).uniform(0.7, 1.3, 2)
    for v, row, column in np.ndindex(2, 4, 5):
        red, green, blue = np.minimum(brightness * frames[v, :, row, column], 255)
        gray = 0.299 * red + 0.587 * green + 0.114 * blue
        for channel, value in enumerate((red, green, blue)):
            expected = np.clip(gray + saturation * (value - gray), 0, 255)
            assert abs(found[v, channel, row, column] - expected) < 0.51
    factors = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        gray = jitter(np.full((1, 3, 1, 1), 100, np.uint8), 0.3, rng)
        factors.append(gray[0, 0, 0, 0] / 100)
        assert (gray == gray[0, 0, 0, 0]).all()
    assert 0.69 < min(factors) < 0.75 and 1.25 < max(factors) < 1.31


def test_jitter_of_a_dataset(corpus):
    plain, changed = (
        MixAndSeparateDataset(
            **corpus.tables(), segment_samples=4096, frame_crop=8, frame_jitter=value
        )
        for value in (0.0, 0.3)
    )
    a, b = plain[0][1]["visual_ref1"], changed[0][1]["visual_ref1"]
    assert a.shape == b.shape and b.dtype == np.uint8 and (a != b).any()
    with pytest.raises(InputError, match="frame_jitter is 2"):
        MixAndSeparateDataset(**corpus.tables(), segment_samples=4096, frame_jitter=2)


def test_crops_of_matrices_are_refused(tmp_path):
    corpus = write_corpus(tmp_path)
    dataset = MixAndSeparateDataset(
        **corpus.tables(), segment_samples=4096, frame_crop=8
    )
    with pytest.raises(InputError, match="packed frames"):
        dataset[0]


def test_stage_4_keeps_the_jpegs_of_the_frames_it_lists(corpus, tmp_path):
    stages = write_stages(tmp_path, corpus)
    filter_clips(**stages, output_dir=tmp_path / "kept", limits=Limits(FS, 4096))
    shape = (tmp_path / "kept" / "visual_shape").read_text().splitlines()[0]
    assert shape.endswith(" 10,3,12,12")
    out = tmp_path / "mixed"
    options = {"fs": FS, "segment_samples": 4096, "num_mixtures": 5}
    make_mixtures(tmp_path / "kept", out, **options, visual_frames=3, visual_stride=4)
    names = {
        "speech_mix": "wav",
        "visual_ref1": "visual_spk1",
        "visual_ref2": "visual_spk2",
    }
    dataset = FixedMixtureDataset({k: out / f"{v}.scp" for k, v in names.items()})
    lines = (out / "mixtures.tsv").read_text().splitlines()[1:]
    keys = list(corpus.audio)
    for line, (mix_id, item) in zip(lines, (dataset[i] for i in range(5)), strict=True):
        fields = line.split("\t")
        assert fields[0] == mix_id
        for n, (clip, frame) in enumerate(
            [(fields[1], fields[4]), (fields[5], fields[8])], 1
        ):
            rows = strided_rows(int(frame), 3, 4, 10)
            expected = [(keys.index(clip), row) for row in rows]
            frames = item[f"visual_ref{n}"]
            assert read_plain(frames) == expected
            whole = read_rows(corpus.visual[clip], rows)
            np.testing.assert_array_equal(frames, whole)  # not compressed again
    state = (out / "data/state.sha256").read_text()
    make_mixtures(tmp_path / "kept", out, **options)
    assert matrix_shape(dataset.tables["visual_ref1"]["mix00000"]) != (3, 3, 12, 12)
    assert (out / "data/state.sha256").read_text() != state
