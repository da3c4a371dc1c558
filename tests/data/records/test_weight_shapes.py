import pickle
import zipfile

import pytest
import torch
from torch import nn

from espnet2_avsep.data.records.weight_shapes import read_shapes
from espnet2_avsep.weights import write_safetensors


def state():
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4))
    shared = torch.arange(12.0).reshape(3, 4)
    return {
        **model.state_dict(),
        "half": torch.zeros(2, 5, dtype=torch.bfloat16),
        "view": shared[:, 1],
        "scalar": torch.tensor(1),
        "empty": torch.zeros(0, 3),
    }


def pickled(path, content):
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("archive/data.pkl", content)
    return path


def test_shapes_are_those_of_the_tensors(tmp_path):
    expected = {name: tuple(tensor.shape) for name, tensor in state().items()}
    torch.save(state(), tmp_path / "a.pth")
    write_safetensors(tmp_path / "a.safetensors", state())
    types = {
        "a.pth": ("BFloat16Storage", "LongStorage"),
        "a.safetensors": ("BF16", "I64"),
    }
    for name, (half, long) in types.items():
        found = read_shapes(tmp_path / name)
        assert {key: shape for key, (_, shape) in found.items()} == expected
        assert found["half"][0] == half and found["scalar"][0] == long
    module = nn.Linear(2, 3)  # an OrderedDict with an attribute
    torch.save(module.state_dict(), tmp_path / "b.pth")
    assert read_shapes(tmp_path / "b.pth") == {
        "weight": ("FloatStorage", (3, 2)),
        "bias": ("FloatStorage", (3,)),
    }


class Run:
    def __init__(self, call, *given):
        self.what = call, given

    def __reduce__(self):
        return self.what


def test_a_pickle_cannot_run_anything(tmp_path):
    made = tmp_path / "made"
    hostile = [
        Run(made.mkdir),
        Run(eval, "open(__import__('sys').argv[0])"),
        Run(torch.zeros, 3),
        Run(getattr, tmp_path, "mkdir"),
    ]
    for number, value in enumerate(hostile):
        path = pickled(tmp_path / f"{number}.pth", pickle.dumps({"a": value}))
        assert read_shapes(path) is None
    assert not made.exists()


@pytest.mark.parametrize(
    "content", [[torch.zeros(2)], {"a": 1}, {1: torch.zeros(2)}, {"a": "x"}, 5]
)
def test_other_things_than_tensors_are_left_to_torch(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    assert read_shapes(tmp_path / "a.pth") is None


def test_damaged_and_old_files_are_left_to_torch(tmp_path):
    torch.save(state(), tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[:-300])
    (tmp_path / "none.pth").write_bytes(b"")
    (tmp_path / "none.safetensors").write_bytes(b"\xff" * 20)
    torch.save(state(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    names = ("cut.pth", "none.pth", "none.safetensors", "old.pth", "missing.pth")
    assert [read_shapes(tmp_path / name) for name in names] == [None] * len(names)
    for text in (b"\x80\x02", b"\x80\x02}q\0X\x01\0\0\0aX\x01\0\0\0bs.", b"garbage"):
        assert read_shapes(pickled(tmp_path / "b.pth", text)) is None
