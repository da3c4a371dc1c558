"""Motion features: which rows are read, and how those of a batch are joined."""

import numpy as np
import pytest
import torch

from espnet2_avsep.data.collate import collate
from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.motion import read_motion
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import write_ark, write_corpus


def write_motion(folder, lengths):
    """Row i of a matrix is (i, number of the matrix)."""
    matrices = {
        key: np.stack([np.arange(n), np.full(n, float(m))], 1).astype(np.float32)
        for m, (key, n) in enumerate(lengths.items())
    }
    write_ark(folder / "motion", matrices)
    return read_scp(folder / "motion.scp")


def test_all_rows_or_evenly_spread_ones(tmp_path):
    refs = write_motion(tmp_path, {"short": 4, "long": 10})

    def rows(key, *options):
        return read_motion(refs[key], *options)[:, 0].tolist()

    assert rows("short") == [0, 1, 2, 3]
    assert rows("long", 5) == [1, 3, 5, 7, 9]
    assert rows("long", 3) == [1, 5, 8]
    assert rows("long", 160, (2, 6)) == [2, 3, 4, 5]
    assert rows("long", 2, (2, 6)) == [3, 5]


def test_what_is_no_motion(tmp_path):
    write_ark(tmp_path / "none", {"a": np.zeros((0, 4), np.float32)})
    with pytest.raises(InputError, match="a row at least"):
        read_motion(read_scp(tmp_path / "none.scp")["a"])


def test_training_items(tmp_path):
    corpus = write_corpus(tmp_path)
    refs = write_motion(tmp_path, {key: 5 + n for n, key in enumerate(corpus.audio)})
    keys = list(corpus.audio)
    common = {**corpus.tables(), "segment_samples": 4096}
    plain = MixAndSeparateDataset(**common)
    common["conditions"] = {"motion": refs}
    whole = MixAndSeparateDataset(**common, motion_steps=8)
    part = MixAndSeparateDataset(**common, motion_align="segment")
    for index in range(len(whole)):
        (key, item), (_, cut) = whole[index], part[index]
        for n, clip in enumerate(key.split("+"), 1):
            expected = read_motion(refs[clip], 8)
            np.testing.assert_array_equal(item[f"motion_ref{n}"], expected)
            assert set(expected[:, 1]) == {keys.index(clip)}
            steps = cut[f"motion_ref{n}"][:, 0]
            total = 5 + keys.index(clip)
            assert 1 <= len(steps) <= total * 4096 / corpus.num_samples[clip] + 1
        # The other draws are those without motion.
        for name, value in plain[index][1].items():
            np.testing.assert_array_equal(item[name], value)


def test_rows_of_the_segment_move_with_it(tmp_path):
    """Ten rows a clip: those whose middle lies in the segment."""
    corpus = write_corpus(tmp_path, num_samples=20000)
    refs = write_motion(tmp_path, dict.fromkeys(corpus.audio, 10))
    dataset = MixAndSeparateDataset(
        **corpus.tables(),
        segment_samples=4096,
        conditions={"motion": refs},
        motion_align="segment",
        visual_frames=1,
    )
    seen = set()
    for index in range(len(dataset)):
        key, item = dataset[index]
        for n, clip in enumerate(key.split("+"), 1):
            # The visual row drawn lies among the rows of the same span.
            rows = item[f"motion_ref{n}"][:, 0].astype(int).tolist()
            assert rows == list(range(rows[0], rows[-1] + 1)) and len(rows) in (2, 3)
            assert int(item[f"visual_ref{n}"][0, 1]) in rows
            seen.add(rows[0])
            assert item[f"motion_ref{n}"][0, 1] == list(corpus.audio).index(clip)
    assert len(seen) > 3


def test_collated_steps_are_padded_and_counted():
    def item(one, other):
        return {
            "motion_ref1": np.ones((one, 2), np.float32),
            "motion_ref2": np.full((other, 2), 2, np.float32),
        }

    keys, batch = collate([("a", item(3, 1)), ("b", item(2, 5))])
    assert keys == ["a", "b"]
    for n, lengths in ((1, [3, 2]), (2, [1, 5])):
        value = batch[f"motion_ref{n}"]
        assert value.shape == (2, 5, 2)
        assert batch[f"motion_ref{n}_lengths"].tolist() == lengths
        for b, length in enumerate(lengths):
            assert (value[b, :length] == n).all() and (value[b, length:] == 0).all()


def test_listed_mixtures(tmp_path):
    refs = write_motion(tmp_path, {"a": 3, "b": 9})
    dataset = FixedMixtureDataset({"motion_ref1": refs}, motion_steps=3)
    assert dataset[0][1]["motion_ref1"][:, 0].tolist() == [0, 1, 2]
    assert dataset[1][1]["motion_ref1"][:, 0].tolist() == [1, 4, 7]
    assert isinstance(collate([dataset[0]])[1]["motion_ref1"], torch.Tensor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"motion_align": "crop"}, "motion_align"),
        ({"motion_steps": 0}, "motion_steps"),
        ({"conditions": {"motion": {}}}, "lacks"),
        ({"conditions": {"moton": {}}}, "'moton' is not known; expected one of motion"),
    ],
)
def test_bad_options(tmp_path, options, message):
    corpus = write_corpus(tmp_path)
    with pytest.raises(InputError, match=message):
        MixAndSeparateDataset(**corpus.tables(), segment_samples=4096, **options)


def test_arguments_of_version_0_1_give_the_same_items(tmp_path):
    corpus = write_corpus(tmp_path)
    refs = write_motion(tmp_path, dict.fromkeys(corpus.audio, 5))
    classes = {name: 7 + n for n, name in enumerate(set(corpus.category.values()))}
    numbers = {key: classes[name] for key, name in corpus.category.items()}
    common = {**corpus.tables(), "segment_samples": 4096}
    former = MixAndSeparateDataset(**common, motion=refs, labels=classes)
    now = MixAndSeparateDataset(
        **common, conditions={"motion": refs, "labels": numbers}
    )
    (key, found), (_, expected) = former[0], now[0]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    for n, clip in enumerate(key.split("+"), 1):
        assert found[f"label_ref{n}"] == numbers[clip]
    listed = FixedMixtureDataset(
        {"motion_ref1": refs}, {k: [n] for k, n in numbers.items()}
    )
    for key, data in (listed[n] for n in range(len(listed))):
        assert data["label_ref1"] == numbers[key]
