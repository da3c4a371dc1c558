"""Phases of a training: what learns, where a killed one continues, the best epoch."""

import copy
import itertools
import os
import types

import pytest
import torch
import yaml
from espnet2.tasks.abs_task import scheduler_classes

from espnet2_avsep.bin.train.train import main
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.separate import load_config, load_weights
from espnet2_avsep.model import checkpoints, timed_batches, trainer
from espnet2_avsep.model.phases import Phase, parse_phases, restarted
from espnet2_avsep.tasks.choices import build_model
from tests.support.tiny_corpus import (
    DIM,
    MODEL_OPTIONS,
    make_tiny_corpus,
    train_command,
)

PHASES = [
    {"name": "minus", "epochs": 2, "freeze": ["separator.plus."], "lr_factor": 2.0},
    {"name": "plus", "epochs": 1, "freeze": ["separator.minus."], "lr_factor": 0.5},
    {"name": "both"},
]
OPTIONS = {
    **MODEL_OPTIONS,
    "separator": "mp_net",
    "separator_conf": {"visual_dim": DIM, "channels": 4, "layers": 3, "width": 4},
    "criterions": [{"name": "recursive_mask"}],
    "scheduler": "steplr",
    "scheduler_conf": {"step_size": 1, "gamma": 0.1},
    "num_iters_per_epoch": 2,
    "max_epoch": 5,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "phases": PHASES,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_tiny_corpus(tmp_path_factory.mktemp("corpus"))


def train(corpus, folder, **changes) -> int:
    folder.mkdir(exist_ok=True)
    config = folder / "train.yaml"
    config.write_text(yaml.safe_dump({**OPTIONS, **changes}))
    return main(train_command(corpus, config, folder / "exp", "--resume", "true"))


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """A training never interrupted: its folder, and the weights of each epoch.

    And, at the start of each epoch, its learning rate and the numbers of steps that
    the optimizer has made with its parameters.
    """
    folder = tmp_path_factory.mktemp("whole")
    weights, starts = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        before = trainer.AVSeparationTrainer.validate_one_epoch.__func__

        def validate(cls, model, iterator, reporter, options, distributed_option):
            epoch = reporter.get_epoch()
            weights[epoch] = {k: v.clone() for k, v in model.state_dict().items()}
            before(cls, model, iterator, reporter, options, distributed_option)

        name = "validate_one_epoch"
        patch.setattr(trainer.AVSeparationTrainer, name, classmethod(validate))
        train_one = trainer.AVSeparationTrainer.train_one_epoch.__func__

        def train_one_epoch(cls, iterator, optimizers, reporter, *args, **kwargs):
            (group,) = optimizers[0].param_groups
            steps = {int(state["step"]) for state in optimizers[0].state.values()}
            starts[reporter.get_epoch()] = (group["lr"], steps)
            return train_one(cls, iterator, optimizers, reporter, *args, **kwargs)

        name = "train_one_epoch"
        patch.setattr(trainer.AVSeparationTrainer, name, classmethod(train_one_epoch))
        assert train(corpus, folder) == 0
    return folder / "exp", weights, starts


def changed(before, after, part):
    """Whether any weight or statistic of a part is another one."""
    names = [name for name in before if name.startswith(f"separator.{part}.")]
    return any(not torch.equal(before[name], after[name]) for name in names)


def test_what_learns_in_each_phase(whole):
    """A frozen stage keeps its weights, and the statistics of its norms too."""
    _, weights, _ = whole
    for epoch, minus, plus in ((2, True, False), (3, False, True), (4, True, True)):
        before, after = weights[epoch - 1], weights[epoch]
        assert changed(before, after, "minus") == minus, epoch
        assert changed(before, after, "plus") == plus, epoch
    assert [int(weights[n]["separator.uses_plus"]) for n in range(1, 6)] == [
        *(0, 0),
        *(1, 1, 1),
    ]


def test_learning_rates_start_again_in_each_phase(whole):
    """Times lr_factor, in the first one, too; StepLR takes a tenth after each epoch."""
    _, _, starts = whole
    expected = {1: 1e-2, 2: 1e-3, 3: 2.5e-3, 4: 5e-3, 5: 5e-4}
    assert {epoch: rate for epoch, (rate, _) in starts.items()} == (
        pytest.approx(expected)
    )


def test_moments_of_a_phase_are_not_those_of_the_next(whole):
    """Each phase has an optimizer of its own, as CCoL's programs have."""
    _, _, starts = whole
    steps = {epoch: steps for epoch, (_, steps) in starts.items()}
    assert steps == {1: set(), 2: {2}, 3: set(), 4: set(), 5: {2}}


def test_an_optimizer_that_starts_with_sums_has_them_in_each_phase():
    """Adagrad's step fails without the sums that its constructor makes."""
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adagrad([weight], initial_accumulator_value=0.5)
    start = copy.deepcopy(optimizer.state_dict())
    weight.grad = torch.ones(1)
    optimizer.step()
    before = {"reporter": {}, "optimizers": [optimizer.state_dict()]}
    states = restarted(before, Phase("a", 1, 2), [start], [])
    optimizer.load_state_dict(states["optimizers"][0])
    assert optimizer.state[weight]["sum"] == 0.5
    optimizer.step()
    assert optimizer.state[weight]["sum"] == 1.5


def test_the_best_epoch_is_one_of_the_last_phase(whole):
    """Whatever the losses of earlier phases, which measure something else."""
    exp, _, _ = whole
    states = checkpoints.read_checkpoint(exp / "checkpoint.pth")
    stats = states["reporter"]["stats"]
    assert sorted(stats) == [4, 5]
    assert [stats[n]["train"]["phase"] for n in (4, 5)] == [3, 3]
    best = max(stats, key=lambda n: stats[n]["valid"]["si_sdr_i"])
    assert os.readlink(exp / "valid.si_sdr_i.best.pth") == f"{best}epoch.pth"
    model = build_model(load_config(exp / "config.yaml"), with_teacher=False)
    load_weights(model, exp / "valid.si_sdr_i.best.pth")
    assert model.separator.uses_plus == 1


class Killed(RuntimeError):
    pass


@pytest.mark.parametrize("place", ["in epoch 2", "between phases", "in epoch 3"])
def test_a_killed_training_continues_in_its_phase(
    corpus, whole, tmp_path, monkeypatch, caplog, place
):
    exp, _, _ = whole
    with monkeypatch.context() as patch:
        if place == "between phases":
            start = trainer._start_phase

            def start_phase(folder, phase, *more):
                start(folder, phase, *more)
                if phase.name == "plus":
                    raise Killed

            patch.setattr(trainer, "_start_phase", start_phase)
        else:
            call = trainer.AVSeparationTrainer.train_one_epoch.__func__

            def train_one_epoch(cls, iterator, optimizers, reporter, *args, **kwargs):
                if reporter.get_epoch() == int(place[-1]):
                    raise Killed
                return call(cls, iterator, optimizers, reporter, *args, **kwargs)

            name, method = "train_one_epoch", classmethod(train_one_epoch)
            patch.setattr(trainer.AVSeparationTrainer, name, method)
        with pytest.raises(Killed):
            train(corpus, tmp_path)
    caplog.set_level("INFO")
    assert train(corpus, tmp_path) == 0
    found, expected = (
        torch.load(path / "5epoch.pth", weights_only=True)
        for path in (tmp_path / "exp", exp)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    first = next(r.message for r in caplog.records if r.message.startswith("phase "))
    assert first.startswith(
        {
            "in epoch 2": "phase 1 of 3: minus, epochs 1 to 2, 1 of them",
            "between phases": "phase 2 of 3: plus, epochs 3 to 3, 2 of them",
            "in epoch 3": "phase 2 of 3: plus, epochs 3 to 3, 2 of them",
        }[place]
    )


def test_the_cpu_time_is_shared_by_the_epochs_of_all_phases(
    corpus, tmp_path, monkeypatch
):
    """And lr_factor holds: the rates fall over the time, from those of each phase."""
    clock = itertools.count()  # each look at it takes an eighth of a second
    fake = types.SimpleNamespace(process_time=lambda: next(clock) / 8)
    monkeypatch.setattr(timed_batches, "time", fake)
    rates = {}
    call = trainer.AVSeparationTrainer.train_one_epoch.__func__

    def train_one_epoch(cls, iterator, optimizers, reporter, *args, **kwargs):
        call(cls, iterator, optimizers, reporter, *args, **kwargs)
        (group,) = optimizers[0].param_groups
        rates[reporter.get_epoch()] = group["initial_lr"]

    name, method = "train_one_epoch", classmethod(train_one_epoch)
    monkeypatch.setattr(trainer.AVSeparationTrainer, name, method)
    changes = {"max_epoch": 4, "num_iters_per_epoch": 1000, "max_train_seconds": 4}
    changes.update(scheduler=None, scheduler_conf={})
    assert train(corpus, tmp_path, **changes) == 0
    states = checkpoints.read_checkpoint(tmp_path / "exp" / "checkpoint.pth")
    (epoch, stats), *more = states["reporter"]["stats"].items()
    assert epoch == 4 and not more
    assert stats["train"]["cpu_seconds"] == 4.0
    assert rates == pytest.approx({1: 1e-2, 2: 1e-2, 3: 2.5e-3, 4: 5e-3})


@pytest.mark.parametrize(
    "name, conf",
    [
        ("steplr", {"step_size": 1}),
        ("piecewiselinearwarmuplr", {}),
        ("onecyclelr", {"max_lr": 0.1, "total_steps": 9}),
        ("cycliclr", {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": 3}),
        ("cosineannealingwarmuprestarts", {"first_cycle_steps": 9, "warmup_steps": 3}),
        ("cosineannealinglr", {"T_max": 9, "eta_min": 0.01}),
        ("warmuplr", {"warmup_steps": 3}),
        ("noamlr", {"warmup_steps": 3}),
        ("warmupsteplr", {"warmup_steps": 3, "steps_per_epoch": 2}),
        ("warmupreducelronplateau", {"warmup_steps": 3}),
        ("tristagelr", {"max_steps": 9}),
        ("exponentialdecaywarmup", {"max_lr": 1.0, "min_lr": 0.1, "total_steps": 9}),
        ("cosineannealingwarmrestarts", {"T_0": 3, "eta_min": 0.01}),
    ],
)
def test_the_factor_holds_for_schedulers_with_rates_of_their_own(name, conf):
    def rates(factor):
        weights = [torch.nn.Parameter(torch.zeros(1))]
        optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
        scheduler = scheduler_classes[name](optimizer, **conf)
        start = copy.deepcopy(optimizer.state_dict())
        schedule = copy.deepcopy(scheduler.state_dict())
        phase = Phase("a", 1, 2, (), factor)
        trainer._begin(phase, [optimizer], [start], [scheduler], [schedule])
        found = []
        for _ in range(6):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    assert rates(0.25) == pytest.approx([0.25 * rate for rate in rates(1.0)])


@pytest.mark.parametrize(
    "phases, message",
    [
        (["minus"], "entry 1: 'minus'; expected a mapping"),
        ([{"name": "first"}], "name is 'first'; expected one of minus, plus, both"),
        ([{"name": "minus", "epoch": 3}], r"unknown key\(s\) epoch; expected name"),
        ([{"name": "both", "epochs": 3}], "the last phase lasts until max_epoch"),
        (
            [{"name": "minus"}, {"name": "both"}],
            "entry 1: epochs is None; expected a whole number",
        ),
        (
            [{"name": "minus", "epochs": 10}, {"name": "both"}],
            "entry 1: 10 epochs of max_epoch are left for it and the phases after it",
        ),
        ([{"name": "both", "freeze": "minus"}], "expected a list of prefixes"),
        (
            [{"name": "both", "freeze": ["minus."]}],
            "begins with 'minus.'; the model's parts are s.minus, s.plus",
        ),
        ([{"name": "both", "freeze": ["s."]}], "leaves no parameter that learns"),
        ([{"name": "both", "lr_factor": 0}], "expected a number above 0"),
    ],
)
def test_bad_phases(phases, message):
    with pytest.raises(InputError, match=message):
        parse_phases(phases, 10, ("minus", "plus", "both"), ["s.minus.a", "s.plus.b"])


def test_phases_of_a_list():
    found = parse_phases(
        PHASES,
        9,
        ("minus", "plus", "both"),
        ["separator.plus.b"] * 1 + ["separator.minus.a"],
    )
    assert found == [
        Phase("minus", 1, 2, ("separator.plus.",), 2.0),
        Phase("plus", 3, 3, ("separator.minus.",), 0.5),
        Phase("both", 4, 9),
    ]
    assert found[0].learns("separator.minus.a")
    assert not found[0].learns("separator.plus.b")
    assert found[2].learns("separator.plus.b")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"patience": 3}, "patience is 3 with phases"),
        (
            {
                "separator": "sound_of_pixels",
                "criterions": [{"name": "spectrogram_l1"}],
                "separator_conf": {"visual_dim": DIM, "channels": 4, "layers": 3},
            },
            "this separator has no phases",
        ),
        (
            {
                "separator": "sound_of_pixels",
                "phases": [],
                "separator_conf": {"visual_dim": DIM, "channels": 4, "layers": 3},
            },
            "recursive_mask does not go with this separator",
        ),
        ({"model_conf": {"mask_max": 5.0}}, "model_conf.mask_max is 5.0"),
        ({"separator_conf": {"visual_dim": DIM + 1}}, "separator_conf.visual_dim"),
    ],
)
def test_what_does_not_go_together(corpus, tmp_path, capsys, changes, message):
    assert train(corpus, tmp_path, **changes) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_weights_that_do_not_fit(corpus, whole, tmp_path, capsys):
    """A checkpoint of a network with another width, and its weights in a model."""
    exp, _, _ = whole
    config = load_config(exp / "config.yaml")
    config.separator_conf = {**config.separator_conf, "width": 5}
    with pytest.raises(InputError, match=r"separator\.minus\.projection"):
        load_weights(
            build_model(config, with_teacher=False), exp / "valid.si_sdr_i.best.pth"
        )
