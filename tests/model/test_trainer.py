"""What goes wrong in a training: kills, divergence, averages, accumulated gradients."""

import dataclasses
import itertools
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import Reporter

from espnet2_avsep.bin.train.train import main
from espnet2_avsep.data.records.epochs import finished_epochs
from espnet2_avsep.data.records.training_record import PENDING
from espnet2_avsep.errors import InputError
from espnet2_avsep.figures import plots
from espnet2_avsep.model import checkpoints, timed_batches
from espnet2_avsep.model.checkpoints import CHECKPOINT
from espnet2_avsep.model.trainer import (
    AVSeparationTrainer,
    AVSeparationTrainerOptions,
    _prepare,
    _repair,
)
from tests.support.processes import held_by_another
from tests.support.tiny_corpus import MODEL_OPTIONS, make_tiny_corpus, train_command


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def train(corpus, tmp_path):
    """Train in tmp_path/exp; return the exit status."""

    def run(**changes):
        config = tmp_path / "train.yaml"
        quick = {"num_iters_per_epoch": 1, "num_att_plot": 0, "use_matplotlib": False}
        config.write_text(yaml.safe_dump({**MODEL_OPTIONS, **quick, **changes}))
        return main(train_command(corpus, config, tmp_path / "exp", "--resume", "true"))

    return run


def weights(path):
    return torch.load(path, weights_only=True)


def epochs(caplog):
    messages = [record.getMessage() for record in caplog.records]
    return [int(m.split("epoch")[0]) for m in messages if "epoch results" in m]


def test_first_checkpoint_cut_off(train, tmp_path, caplog):
    """The disk was full after epoch 1: the training starts from the beginning."""
    caplog.set_level("INFO")
    assert train(max_epoch=1) == 0
    expected = weights(tmp_path / "exp" / "1epoch.pth")
    checkpoint = tmp_path / "exp" / "checkpoint.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    caplog.clear()
    assert train(max_epoch=2) == 0
    assert epochs(caplog) == [1, 2]
    assert "from the beginning" in caplog.text
    assert (tmp_path / "exp" / "checkpoint.broken.pth").stat().st_size == 5000
    assert expected.keys() == weights(tmp_path / "exp" / "2epoch.pth").keys()


def test_killed_after_the_checkpoint_and_before_the_weights(train, tmp_path, caplog):
    """The epoch's weights and the links to the best are written by the next start."""
    caplog.set_level("INFO")
    assert train(max_epoch=2) == 0
    exp = tmp_path / "exp"
    expected = weights(exp / "2epoch.pth")
    best = os.readlink(exp / "valid.si_sdr_i.best.pth")
    (exp / "2epoch.pth").write_bytes(b"half")
    (exp / "valid.si_sdr_i.best.pth").unlink()
    (exp / "latest.pth").unlink()
    caplog.clear()
    assert train(max_epoch=2) == 0
    assert epochs(caplog) == []
    found = weights(exp / "2epoch.pth")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert os.readlink(exp / "valid.si_sdr_i.best.pth") == best
    assert os.readlink(exp / "latest.pth") == "2epoch.pth"


def test_a_max_epoch_below_the_epochs_done_is_not_recorded(train, tmp_path, caplog):
    """Nothing is trained, and what is written says how long the training was."""
    exp = tmp_path / "exp"
    assert train(max_epoch=2) == 0
    expected = (exp / "2epoch.pth").read_bytes()
    config = (exp / "config.yaml").read_text()
    caplog.clear()
    assert train(max_epoch=1) == 0
    assert (
        "max_epoch is 1, but" in caplog.text and "has 2 epochs already" in caplog.text
    )
    assert (exp / "config.yaml").read_text() == config
    assert (exp / "2epoch.pth").read_bytes() == expected
    assert finished_epochs(exp) == 2
    # It goes on as always.
    assert train(max_epoch=3) == 0
    assert yaml.safe_load((exp / "config.yaml").read_text())["max_epoch"] == 3
    assert finished_epochs(exp) == 3


def test_resume_with_another_number_of_workers_gives_the_same_mixtures(train, tmp_path):
    assert train(max_epoch=2) == 0
    expected = weights(tmp_path / "exp" / "2epoch.pth")
    (tmp_path / "exp").rename(tmp_path / "in_one_go")
    assert train(max_epoch=1, num_workers=2) == 0
    assert train(max_epoch=2, num_workers=1) == 0
    found = weights(tmp_path / "exp" / "2epoch.pth")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_survives_kills_with_the_weights_of_a_training_never_killed(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "tests.kill_training", "--kills", "3"]
        + ["--folder", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("3 kills survived")


def test_a_new_criterion_does_not_fit_old_epochs(train, capsys):
    assert train(max_epoch=1) == 0
    criteria = [["valid", "unheard_of", "max"]]
    assert train(max_epoch=2, best_model_criterion=criteria) == 2
    assert "no valid.unheard_of" in capsys.readouterr().err


def test_two_trainings_in_one_folder(train, tmp_path, capsys):
    with held_by_another(tmp_path / "exp", "a training") as first:
        assert train(max_epoch=1) == 2
        assert f"in use by a training, pid {first.pid} on " in capsys.readouterr().err
        assert not (tmp_path / "exp" / "config.yaml").exists()
    assert train(max_epoch=1) == 0


def test_divergence_ends_the_training(train, tmp_path, capsys):
    """Not saved as best, and the error names epoch and learning rate."""
    optim = {"optim_conf": {"lr": 1e30}}
    assert train(max_epoch=2, num_iters_per_epoch=4, **optim) == 2
    error = capsys.readouterr().err
    assert "epoch 1, learning rate 1e+30: the loss of batch 2 is " in error
    assert "Traceback" not in error
    assert not list((tmp_path / "exp").glob("*.pth"))


def cpu_seconds(folder):
    """Epoch -> CPU time since the beginning; number of batches."""
    stats = checkpoints.read_checkpoint(folder / "checkpoint.pth")["reporter"]["stats"]
    return {
        epoch: (
            stats[epoch]["train"]["cpu_seconds"],
            stats[epoch]["train"]["total_count"],
        )
        for epoch in stats
    }


def test_training_for_a_cpu_time(train, tmp_path, caplog, monkeypatch):
    """The used time survives: of the same second, nothing is left for epoch 2."""
    caplog.set_level("INFO")
    clock = itertools.count()  # each look at it takes an eighth of a second
    fake = types.SimpleNamespace(process_time=lambda: next(clock) / 8)
    monkeypatch.setattr(timed_batches, "time", fake)
    timed = {"max_train_seconds": 1, "num_iters_per_epoch": 10000}
    assert train(max_epoch=1, **timed) == 0
    (used, steps), *_ = cpu_seconds(tmp_path / "exp").values()
    assert used == 1.0 and steps == 7 + 1
    assert "max_train_seconds is not used in full" not in caplog.text
    assert train(max_epoch=2, **timed) == 0
    assert epochs(caplog) == [1, 2]
    (first, _), (second, more) = cpu_seconds(tmp_path / "exp").values()
    assert (first, second) == (1.0, 1.25)
    # ESPnet counts a step for the statistics of each epoch.
    assert more == steps + 2
    state = checkpoints.read_checkpoint(tmp_path / "exp" / "checkpoint.pth")
    (group,) = state["optimizers"][0]["param_groups"]
    assert group["lr"] == pytest.approx(0.05 * group["initial_lr"])


def test_a_cpu_time_and_too_few_batches(train, tmp_path, caplog):
    assert train(max_epoch=1, max_train_seconds=1000) == 0
    assert "epoch 1 had no batches left after" in caplog.text


class Scale(torch.nn.Module):
    """Loss w * x, with a buffer that may be spoiled."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x, utt_id):
        loss = (self.w * x).mean()
        self.mean += x.mean()
        return loss, {"loss": loss.detach()}, torch.tensor(1.0)


def options(tmp_path, **changes):
    fields = dataclasses.fields(AVSeparationTrainerOptions)
    values = dict.fromkeys((field.name for field in fields), False)
    values.update(ngpu=0, accum_grad=1, grad_clip=-1.0, grad_clip_type=2.0)
    values.update(log_interval=99, output_dir=tmp_path, best_model_criterion=[])
    values.update(grad_clip=1e9, patience=None)
    return AVSeparationTrainerOptions(**{**values, **changes})


def one_epoch(model, values, tmp_path, epoch=1, **changes):
    batches = [([str(n)], {"x": torch.tensor([x])}) for n, x in enumerate(values)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    if model.w.grad is not None:
        optimizer.param_groups[0]["params"][0].grad = model.w.grad
    with Reporter(epoch).observe("train") as reporter:
        AVSeparationTrainer.train_one_epoch(
            model=model,
            iterator=batches,
            optimizers=[optimizer],
            schedulers=[None],
            scaler=None,
            reporter=reporter,
            summary_writer=None,
            options=options(tmp_path, **changes),
            distributed_option=DistributedOption(),
        )


def test_leftovers_of_accumulated_gradients_do_not_enter_the_next_epoch(
    tmp_path, caplog
):
    model = Scale()
    one_epoch(model, [1.0, 3.0, 100.0], tmp_path, accum_grad=2)
    assert model.w.item() == -2.0
    assert "the last 1 of the 3 batches of each epoch make no step" in caplog.text
    one_epoch(model, [2.0, 4.0], tmp_path, epoch=2, accum_grad=2)
    assert model.w.item() == -5.0


class CPUScaler(torch.cuda.amp.GradScaler):
    """ESPnet's scaler of gradients (use_amp) is for GPUs; this one works on a CPU."""

    def __init__(self):
        torch.amp.GradScaler.__init__(self, "cpu", init_scale=1024.0)


def test_scaled_gradients_of_a_second_optimizer_are_unscaled_once(tmp_path):
    """ESPnet 202511 updates the scaler between the steps of the two optimizers."""

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Parameter(torch.zeros(()))
            self.second = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x, utt_id):
            loss = ((self.first + self.second) * x).mean()
            return loss, {"loss": torch.zeros(())}, torch.tensor(1.0)

    model, scaler = Two(), CPUScaler()
    optimizers = [torch.optim.SGD([w], lr=1.0) for w in model.parameters()]
    values = (1.0, 3.0, float("inf"), 5.0)
    with Reporter(1).observe("train") as reporter:
        AVSeparationTrainer.train_one_epoch(
            model=model,
            iterator=[(["a"], {"x": torch.tensor([x])}) for x in values],
            optimizers=optimizers,
            schedulers=[None, None],
            scaler=scaler,
            reporter=reporter,
            summary_writer=None,
            options=options(tmp_path),
            distributed_option=DistributedOption(),
        )
    assert [w.item() for w in model.parameters()] == [-9.0, -9.0]
    assert scaler.get_scale() == 512.0  # halved once, for the third batch


def test_an_epoch_without_a_step_is_refused(tmp_path):
    with pytest.raises(InputError, match="accum_grad is 4, but an epoch has 3 batches"):
        one_epoch(Scale(), [1.0, 1.0, 1.0], tmp_path, accum_grad=4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_bad_batch_is_enough(tmp_path, value):
    """ESPnet leaves such a loss out of the mean of the epoch, and goes on."""
    with pytest.raises(InputError, match=r"epoch 7, learning rate 1: the loss of bat"):
        one_epoch(Scale(), [1.0, value, 1.0], tmp_path, epoch=7)


def test_weights_that_are_not_finite_are_named(tmp_path):
    model = Scale()
    model.mean.fill_(float("inf"))
    with pytest.raises(InputError, match="mean is no longer finite"):
        one_epoch(model, [1.0], tmp_path)


def test_a_training_without_resume_takes_the_place_of_the_one_before(tmp_path):
    """Its record does so with the checkpoint, not before: it may fail until then."""
    (tmp_path / CHECKPOINT).write_bytes(b"weights")
    (tmp_path / "made_from.json").write_text("before")
    (tmp_path / PENDING).write_text("now")
    _prepare(tmp_path, torch.nn.Linear(1, 1), options(tmp_path, resume=False))
    assert [path.name for path in tmp_path.iterdir()] == ["made_from.json"]
    assert (tmp_path / "made_from.json").read_text() == "now"


@pytest.mark.parametrize(
    ("values", "stat"), [([1.0, float("nan")], "loss"), ([1.0, 2.0], "si_sdr")]
)
def test_validation_without_a_finite_score_is_never_the_best(tmp_path, values, stat):
    class Scored(Scale):
        def forward(self, x, utt_id):
            loss = x.mean()
            return loss, {"loss": loss, "si_sdr": loss / 0}, torch.tensor(1.0)

    (tmp_path / "checkpoint.pth").write_bytes(b"of the epoch before")
    criterion = [["valid", "si_sdr", "max"]]
    with (
        pytest.raises(InputError, match=rf"epoch 2, validation: (the )?{stat}"),
        Reporter(2).observe("valid") as reporter,
    ):
        AVSeparationTrainer.validate_one_epoch(
            Scored(),
            [([str(n)], {"x": torch.tensor([x])}) for n, x in enumerate(values)],
            reporter,
            options(tmp_path, best_model_criterion=criterion),
            DistributedOption(),
        )
    assert (tmp_path / "checkpoint.pth").exists()


def test_a_scheduler_by_a_score_that_there_is_not(train, capsys):
    """ESPnet ends in a KeyError after the epoch, before it is saved."""
    changes = {"scheduler": "reducelronplateau", "scheduler_conf": {"mode": "max"}}
    changes["val_scheduler_criterion"] = ["valid", "si_sdri"]
    assert train(max_epoch=1, **changes) == 2
    message = "val_scheduler_criterion: [valid, si_sdri], but valid has no si_sdri"
    assert message in capsys.readouterr().err
    changes["val_scheduler_criterion"][1] = "si_sdr_i"
    assert train(max_epoch=1, **changes) == 0


def test_each_average_is_of_its_own_epochs(train, tmp_path):
    """ESPnet 202511: averages after the first one contain the first one."""
    criteria = [["valid", "loss", "min"], ["valid", "si_sdr", "max"]]
    assert (
        train(
            max_epoch=3,
            num_iters_per_epoch=2,
            keep_nbest_models=[2, 3],
            best_model_criterion=criteria,
        )
        == 0
    )
    exp = tmp_path / "exp"
    states = torch.load(exp / "checkpoint.pth", weights_only=False)
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])
    epochs = {n: weights(exp / f"{n}epoch.pth") for n in (1, 2, 3)}
    for phase, key, mode in criteria:
        order = reporter.sort_epochs(phase, key, mode)
        for number in (2, 3):
            found = weights(exp / f"{phase}.{key}.ave_{number}best.pth")
            for name, value in found.items():
                parts = torch.stack([epochs[n][name] for n in order[:number]])
                if value.is_floating_point():
                    torch.testing.assert_close(value, parts.mean(0), msg=name)
        assert os.readlink(exp / f"{phase}.{key}.ave.pth").endswith("ave_3best.pth")


def test_another_start_keeps_the_epochs_that_are_averaged(tmp_path):
    """Those that are in no average go, as ESPnet removes them; a kill left them."""
    reporter = Reporter()
    for epoch, score in enumerate((1.0, 5.0, 4.0, 2.0, 0.0), 1):
        reporter.set_epoch(epoch)
        with reporter.observe("valid") as sub:
            sub.register({"si_sdr": torch.tensor(score)})
            sub.next()
        torch.save({"w": torch.tensor(epoch)}, tmp_path / f"{epoch}epoch.pth")
    changes = {"keep_nbest_models": [1, 3]}
    changes["best_model_criterion"] = [["valid", "si_sdr", "max"]]
    _repair(tmp_path, reporter, {"w": torch.tensor(5)}, options(tmp_path, **changes))
    kept = sorted(path.name for path in tmp_path.glob("*epoch.pth"))
    assert kept == [f"{n}epoch.pth" for n in (2, 3, 4, 5)]
    assert os.readlink(tmp_path / "valid.si_sdr.best.pth") == "2epoch.pth"
    assert os.readlink(tmp_path / "latest.pth") == "5epoch.pth"


def test_pictures_of_the_first_the_last_and_every_third_epoch(tmp_path, monkeypatch):
    class Painter(torch.nn.Module):
        def panels(self, x):
            return {"mask": x}

    drawn = []
    monkeypatch.setattr(
        plots,
        "spectrogram_panels",
        lambda panels, title: (panels["mask"].item(), title),
    )
    monkeypatch.setattr(plots, "write_png", lambda *given: drawn.append(given))
    batches = [(["a", "b"], {"x": torch.tensor([1.0, 2.0])})]
    given = options(tmp_path, picture_interval=3, max_epoch=8)
    for epoch in range(1, 9):
        reporter = types.SimpleNamespace(get_epoch=lambda n=epoch: n, next=lambda: None)
        AVSeparationTrainer.plot_attention(
            Painter(), None, None, batches, reporter, given
        )
    pictures = tmp_path / "pictures"
    assert drawn == [
        ((value, f"{key}, epoch {epoch}"), pictures / key / f"00{epoch}ep.png")
        for epoch in (1, 3, 6, 8)
        for key, value in (("a", 1.0), ("b", 2.0))
    ]
