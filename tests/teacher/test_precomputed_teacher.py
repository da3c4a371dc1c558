import kaldiio
import numpy as np
import pytest
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.teacher.abs_teacher import AbsTeacher
from espnet2_avsep.teacher.precomputed import PrecomputedTeacher


def write(folder, arrays: dict):
    scp = folder / "teacher.scp"
    kaldiio.save_ark(str(folder / "teacher.ark"), arrays, scp=str(scp))
    return scp


@pytest.fixture
def arrays() -> dict:
    rng = np.random.default_rng(0)
    return {
        "a": rng.standard_normal(5).astype(np.float32),
        "b": rng.standard_normal((1, 5)).astype(np.float32),
        "c": rng.standard_normal(5),
    }


def test_lookup_returns_rows_in_the_order_asked(tmp_path, arrays):
    teacher = PrecomputedTeacher(write(tmp_path, arrays))
    assert isinstance(teacher, AbsTeacher)
    assert teacher.output_dim == 5
    found = teacher.lookup(["c", "a", "b", "a"])
    assert found.dtype == torch.float32
    expected = [arrays["c"], arrays["a"], arrays["b"][0], arrays["a"]]
    np.testing.assert_array_equal(found, np.stack(expected).astype(np.float32))


def test_called_like_any_teacher(tmp_path, arrays):
    teacher = PrecomputedTeacher(write(tmp_path, arrays))
    found = teacher(torch.zeros(2, 100), 11625, ["b", "c"])
    assert torch.equal(found, teacher.lookup(["b", "c"]))
    assert not found.requires_grad
    with pytest.raises(InputError, match="no utterance ids for 2 mixtures"):
        teacher(torch.zeros(2, 100), 11625)
    with pytest.raises(InputError, match="with 1 utterance ids for 2"):
        teacher(torch.zeros(2, 100), 11625, ["b"])


def test_missing_key_is_named(tmp_path, arrays):
    scp = write(tmp_path, arrays)
    with pytest.raises(InputError, match="teacher.scp: 1 of 2 utterance ids.*'z'"):
        PrecomputedTeacher(scp).lookup(["a", "z"])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(4, np.float32), "is 4 wide, the first entry 5"),
        (np.zeros((2, 5), np.float32), r"shape \(2, 5\)"),
        (np.full(5, np.nan, np.float32), "NaN"),
    ],
)
def test_bad_entries_are_named(tmp_path, arrays, bad, message):
    teacher = PrecomputedTeacher(write(tmp_path, {**arrays, "bad": bad}))
    with pytest.raises(InputError, match=f"'bad'.*{message}|'bad' {message}"):
        teacher.lookup(["a", "bad"])


def test_unreadable_tables_are_named(tmp_path, arrays):
    with pytest.raises(InputError, match="no such file"):
        PrecomputedTeacher(tmp_path / "none.scp")
    scp = write(tmp_path, arrays)
    (tmp_path / "teacher.ark").write_bytes(b"a \0B")
    with pytest.raises(InputError, match="entry of 'a'.*cannot be read"):
        PrecomputedTeacher(scp)
