"""Complete checkpoints are found, cut-off ones set aside."""

import datetime
import pickle

import numpy as np
import pytest
import torch
from espnet2.tasks.abs_task import scheduler_classes
from espnet2.train.reporter import Reporter

from espnet2_avsep.errors import InputError
from espnet2_avsep.model.checkpoints import (
    is_complete,
    make_room_for_next,
    newest_checkpoint,
    read_checkpoint,
    remove_checkpoints,
)

STATES = {"model": {"w": torch.arange(1000.0)}, "reporter": {"epoch": 1, "stats": {}}}
STATES = {**STATES, "optimizers": [], "schedulers": [], "scaler": None}


def save(path, epoch=1):
    torch.save({**STATES, "reporter": {"epoch": epoch, "stats": {}}}, path)


def epoch_of(folder):
    path = newest_checkpoint(folder)
    return path and read_checkpoint(path)["reporter"]["epoch"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_incomplete(tmp_path, share):
    path = tmp_path / "a.pth"
    save(path)
    assert is_complete(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert not is_complete(path)


def test_a_hole_in_the_weights_is_noticed(tmp_path):
    path = tmp_path / "a.pth"
    save(path)
    content = bytearray(path.read_bytes())
    at = content.index(STATES["model"]["w"].numpy().tobytes()[400:800])
    content[at : at + 400] = bytes(400)
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # which does not look at the checksums
    assert not is_complete(path)


def test_the_one_before_takes_the_place_of_a_cut_off_checkpoint(tmp_path):
    save(tmp_path / "checkpoint.pth", 3)
    make_room_for_next(tmp_path)
    assert epoch_of(tmp_path) == 3  # killed before the next one was begun
    make_room_for_next(tmp_path)
    (tmp_path / "checkpoint.pth").write_bytes(b"half")
    assert epoch_of(tmp_path) == 3
    assert (tmp_path / "checkpoint.broken.pth").read_bytes() == b"half"
    assert epoch_of(tmp_path) == 3


def test_without_a_complete_one_there_is_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint.pth").write_bytes(b"half")
    assert newest_checkpoint(tmp_path) is None
    assert (tmp_path / "checkpoint.broken.pth").exists()
    save(tmp_path / "checkpoint.pth")
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_starts_anew_names_no_best_weights_of_the_one_before(tmp_path):
    """Killed in its first epoch, it would be separated with them."""
    for name in ("checkpoint.pth", "9epoch.pth", "valid.loss.ave_3best.pth"):
        save(tmp_path / name)
    for name in ("valid.si_sdr_i.best.pth", "latest.pth"):
        (tmp_path / name).symlink_to("9epoch.pth")
    (tmp_path / "valid.loss.ave.pth").symlink_to("valid.loss.ave_3best.pth")
    remove_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["9epoch.pth"]


def test_no_code_in_a_checkpoint_is_run(tmp_path):
    class Run:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({**STATES, "extra": Run()}, tmp_path / "checkpoint.pth")
    with pytest.raises(InputError, match="checkpoint.pth"):
        read_checkpoint(tmp_path / "checkpoint.pth")
    assert not (tmp_path / "made").exists()
    (tmp_path / "other.pth").write_bytes(pickle.dumps(STATES["reporter"]))
    assert not is_complete(tmp_path / "other.pth")


CONFS = {
    "multisteplr": {"milestones": [2, 4]},
    "steplr": {"step_size": 2},
    "warmuplr": {"warmup_steps": 2},
    "piecewiselinearwarmuplr": {
        "warmup_steps_list": [0, 2, 4],
        "warmup_lr_list": [0.0, 0.1, 0.2],
    },
    "reducelronplateau": {},
    "cosineannealinglr": {"T_max": 3},
    "onecyclelr": {"max_lr": 0.1, "total_steps": 9},
    "cycliclr": {"base_lr": 0.1, "max_lr": 0.2, "cycle_momentum": False},
    "noamlr": {"model_size": 4},
    "tristagelr": {"max_steps": 9},
}


@pytest.mark.parametrize("name", CONFS)
def test_what_espnet_saves_is_read_back(tmp_path, name):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    scheduler = scheduler_classes[name](optimizer, **CONFS[name])
    weight.grad = torch.ones(3)
    optimizer.step()
    scheduler.step(*([1.0] if name == "reducelronplateau" else []))
    reporter = Reporter(1)
    with reporter.observe("valid") as sub:
        sub.register({"loss": np.float64(2), "x": 3.0})
        sub.next()
    states = {
        "model": {"w": weight.detach()},
        "reporter": reporter.state_dict(),
        "optimizers": [optimizer.state_dict()],
        "schedulers": [scheduler.state_dict()],
        "scaler": None,
    }
    torch.save(states, tmp_path / "checkpoint.pth")
    found = read_checkpoint(tmp_path / "checkpoint.pth")
    assert found["schedulers"][0] == states["schedulers"][0]
    stats = found["reporter"]["stats"][1]["valid"]
    assert (stats["loss"], stats["x"]) == (2, 3)
    assert isinstance(stats["time"], datetime.timedelta)
