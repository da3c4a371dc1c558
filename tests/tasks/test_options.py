"""Wrong options of a training: one line that names option, value and expectation."""

import pickle

import pytest
import torch
import yaml
from espnet2.tasks.abs_task import scheduler_classes

from espnet2_avsep.bin.train.train import main
from espnet2_avsep.errors import InputError
from espnet2_avsep.tasks.avsep import AVSeparationTask
from espnet2_avsep.tasks.options import (
    OTHER_BATCHES,
    as_numbers,
    check_init_param,
    check_scheduler,
)
from tests.support.tiny_corpus import MODEL_OPTIONS, make_tiny_corpus, train_command


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def train(corpus, tmp_path):
    """Try a training; return its status."""

    def run(*words, text="", **changes):
        config = tmp_path / "train.yaml"
        options = {**MODEL_OPTIONS, "num_att_plot": 0, **changes}
        config.write_text(text + yaml.safe_dump(options))
        return main(train_command(corpus, config, tmp_path / "exp", *words))

    return run


@pytest.mark.parametrize(
    ("there", "wanted", "message"),
    [(0, 1, "finds 0 GPUs: give --ngpu 0 to train on the CPU"), (1, 2, "--ngpu 1, or")],
)
def test_more_gpus_than_there_are(train, capsys, monkeypatch, there, wanted, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    assert train("--ngpu", str(wanted)) == 2
    assert message in capsys.readouterr().err


def test_several_gpus_in_one_process_are_refused(train, capsys, monkeypatch):
    """ESPnet would use DataParallel, whose threads move one teacher between GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert train("--ngpu", "2") == 2
    message = "ngpu is 2: give --multiprocessing_distributed true"
    assert message in capsys.readouterr().err


def test_what_the_batches_ignore_has_espnets_default():
    """A configuration that ESPnet wrote, with all its defaults, is accepted."""
    parser = AVSeparationTask.get_parser()
    for name, value in OTHER_BATCHES.items():
        assert parser.get_default(name) in (value, None), name


def test_a_shortened_option_is_refused(capsys):
    """A training with --output had no record of what it is made from."""
    with pytest.raises(SystemExit):
        AVSeparationTask.get_parser().parse_args(["--output", "exp"])
    assert "unrecognized arguments: --output exp" in capsys.readouterr().err


def test_numbers_that_yaml_reads_as_text():
    assert as_numbers({"lr": "1e-3", "betas": [".9", "1E+2", "-2.5e3"]}) == {
        "lr": 0.001,
        "betas": [".9", 100.0, -2500.0],
    }
    for text in ("1e", "e5", "0x1e3", "vit-1e3", "1e-3.pth"):
        assert as_numbers(text) == text


@pytest.mark.parametrize("way", ["file", "words", "group"])
def test_lr_1e_3_is_a_number(train, tmp_path, way):
    quick = {"max_epoch": 1, "num_iters_per_epoch": 1, "use_matplotlib": False}
    if way == "file":
        assert train("--dry_run", "true", optim_conf={"lr": "1e-3"}, **quick) == 0
    elif way == "words":
        assert train("--dry_run", "true", "--optim_conf", "lr=1e-3", **quick) == 0
    else:
        groups = [{"prefix": "separator.", "lr": "1e-3"}]
        assert train(optim_groups=groups, optim_conf={"lr": 0.1}, **quick) == 0
    written = yaml.safe_load((tmp_path / "exp" / "config.yaml").read_text())
    where = written["optim_groups"][0] if way == "group" else written["optim_conf"]
    assert where["lr"] == 0.001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim": "adamx"}, "optim: 'adamx' is not known; choose from adam, "),
        ({"optim": 5}, "optim: 5 is not known"),
        ({"scheduler": "nope"}, "scheduler: 'nope' is not known"),
        ({"optim_conf": 5}, "optim_conf is 5; expected a mapping"),
        ({"optim_conf": {"lr": "fast"}}, "optim_conf.lr is 'fast'; expected a number"),
        ({"optim_conf": {"lr": True}}, "optim_conf.lr is True; expected a number"),
        ({"optim_conf": {"lr": -1.0}}, "optim_conf.lr is -1.0; expected a number abov"),
        ({"optim_conf": {"lr": 0}}, "optim_conf.lr is 0; expected a number above 0"),
        ({"optim_conf": {"lr": float("nan")}}, "optim_conf.lr is nan; expected"),
        ({"optim_conf": {"lr": float("inf")}}, "optim_conf.lr is inf; expected"),
        ({"optim_conf": {"betas": 3}}, "optim_conf.betas is 3; expected 2 numbers"),
        ({"optim_conf": {"amsgrad": 1}}, "optim_conf.amsgrad is 1; expected true or"),
        ({"optim_conf": {"rate": 1}}, "optim_conf: unknown key(s) rate for Adam; it"),
        (
            {"scheduler": "multisteplr", "scheduler_conf": {"milestone": [1]}},
            "milestone for MultiStepLR (did you mean milestones?); it takes mile",
        ),
        ({"scheduler": "multisteplr"}, "scheduler_conf, MultiStepLR: "),
        (
            {"scheduler": "multisteplr", "max_train_seconds": 60},
            "scheduler is multisteplr, but with max_train_seconds the used time",
        ),
        ({"max_train_seconds": 0}, "max_train_seconds is 0; at least 1 was expected"),
        (
            {"scheduler": "steplr", "scheduler_conf": {"step_size": 1, "gamma": "a"}},
            "scheduler_conf.gamma is 'a'; expected a number",
        ),
        ({"max_epoch": 1.5}, "max_epoch is 1.5; expected a whole number"),
        ({"max_epoch": 0}, "max_epoch is 0; at least 1 was expected"),
        ({"batch_size": [4]}, "batch_size is [4]; expected one value, no list"),
        ({"batch_size": 0}, "batch_size is 0; at least 1 was expected"),
        ({"grad_clip": "none"}, "grad_clip"),
        ({"grad_clip": -1}, "grad_clip is -1; expected a number above 0"),
        ({"grad_clip": 0.0}, "(grad_clip .inf: none is clipped)"),
        ({"grad_clip_type": float("nan")}, "grad_clip_type is nan; expected a number"),
        ({"log_interval": 0}, "log_interval is 0; at least 1 was expected"),
        ({"use_amp": 3}, "use_amp is 3; expected"),
        ({"criterions": {"name": "a"}}, "criterions is {'name': 'a'}; expected a list"),
        ({"best_model_criterion": ["valid", "loss", "min"]}, "best_model_criterion is"),
        ({"best_model_criterion": [["vaild", "loss", "min"]]}, "[train or valid, name"),
        (
            {"best_model_criterion": [["valid", "sisdr_i", "max"]], "max_epoch": 1},
            "[valid, sisdr_i, max], but valid has no sisdr_i (did you mean si_sdr_i?)",
        ),
        (
            {
                "patience": 1,
                "early_stopping_criterion": ["train", "los", "min"],
                "max_epoch": 1,
            },
            "early_stopping_criterion: [train, los, min], but train has no los",
        ),
        ({"use_adapter": True}, "use_adapter: this task does not offer it"),
        ({"iterator_type": "chunk"}, "iterator_type is 'chunk': this task does not"),
        ({"batch_type": "numel"}, "batch_type is 'numel': this task does not offer"),
        ({"fold_length": [800]}, "fold_length is [800]: this task does not offer it"),
        ({"sort_batch": "ascending"}, "batch_size mixtures of one length"),
        (
            {"nbest_averaging_interval": 1, "keep_nbest_models": [2, 3]},
            "nbest_averaging_interval is 1 with several",
        ),
        (
            {"separator_conf": {**MODEL_OPTIONS["separator_conf"], "visual_dim": 256}},
            "visual_spk1.scp: holds 4 values a row, which visual_adapter mean does not "
            "make into the 256 values of separator_conf.visual_dim",
        ),
        (
            {"visual_adapter": "standardise"},
            "visual_spk1.scp: holds 4 values a row, which visual_adapter standardise",
        ),
        (
            {
                "visual_adapter": "resnet18_dilated",
                "visual_adapter_conf": {"pretrained": "random"},
            },
            "holds 4 values a row, which visual_adapter resnet18_dilated does not",
        ),
    ],
)
def test_one_line_for_each_wrong_value(train, capsys, changes, message):
    try:
        status = train(**changes)
    except SystemExit as error:  # what ESPnet's parser has found
        status = error.code
    assert status == 2
    error = capsys.readouterr().err
    assert message in error
    last = error.strip().splitlines()[-1]
    assert last.startswith(("error: ", "avsep_train: error: ")), error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", "is not valid YAML"),
        ("separatr: hfra\n", "unrecognized arguments: separatr"),
        ("max_epochs: 3\n", "(did you mean max_epoch?)"),
        ("optim_conf: {}\nseed: 1\noptim_conf: {lr: 1}\n", "is in line 1 too"),
    ],
)
def test_broken_files_and_unknown_keys(train, capsys, text, message):
    try:
        status = train(text=text)
    except SystemExit as error:
        status = error.code
    assert status == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert any(message in line for line in lines)
    # The command line, which ESPnet prints, the usage in one line, and the error.
    assert len([line for line in lines if "rror" in line or "sage" in line]) <= 2


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("write", [torch.save, "legacy", "pickle"])
def test_init_param_runs_no_code(train, tmp_path, capsys, write):
    path, mark = tmp_path / "weights.pth", tmp_path / "MARK"
    if write == "pickle":
        path.write_bytes(pickle.dumps({"a": Touch(mark)}))
    else:
        zipped = write != "legacy"
        torch.save({"a": Touch(mark)}, path, _use_new_zipfile_serialization=zipped)
    quick = {"max_epoch": 1, "num_iters_per_epoch": 1, "use_matplotlib": False}
    assert train(init_param=[str(path)], **quick) == 2
    assert not mark.exists()
    assert f"{path}: cannot be read as a file of weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (":other", "0 of the 0 weights there fit"),
        (":a:b", "has no attribute `b`"),
        (":a:c:x:y", "expected <file>"),
        ("", "fit the model; for example, a.bias does not"),
        (":c", "0 of the 1 .* for example, weight does not"),
    ],
)
def test_init_param_that_fits_nothing_is_no_silent_start(tmp_path, parts, message):
    path = tmp_path / "weights.pth"
    torch.save(
        {
            **torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3)}).state_dict(),
            "c.weight": torch.zeros(9),
        },
        path,
    )
    model = torch.nn.ModuleDict(
        {"a": torch.nn.Linear(2, 2), "d": torch.nn.Linear(2, 3)}
    )
    with pytest.raises(InputError, match=message):
        check_init_param([f"{path}{parts}"], model)
    for parts in (":a:d", "::d:a.,c."):
        if parts == ":a:d":
            check_init_param([f"{path}{parts}"], model)
        else:
            with pytest.raises(InputError, match="0 of the 0"):
                check_init_param([f"{path}{parts}"], model)
    torch.save({"a.bias": torch.zeros(2), "x": torch.zeros(1)}, path)
    check_init_param([str(path)], model, ignore_mismatch=True)


@pytest.mark.parametrize(
    ("name", "conf", "same"),
    [
        ("piecewiselinearwarmuplr", {}, True),
        ("onecyclelr", {"max_lr": 1e-3, "total_steps": 9}, True),
        ("onecyclelr", {"max_lr": [1e-3, 1e-4], "total_steps": 9}, False),
        ("multisteplr", {"milestones": [2]}, False),
        ("warmuplr", {}, False),
        ("noamlr", {"model_size": 320}, False),
    ],
)
def test_schedulers_that_make_all_rates_the_same_are_told(name, conf, same, caplog):
    """ESPnet's piecewise rates and torch's cycles forget those of optim_groups."""
    parts = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parts[:1]}, {"params": parts[1:], "lr": 1e-4}]
    optimizer = torch.optim.Adam(groups, lr=1e-3)
    check_scheduler(scheduler_classes[name], conf, "scheduler_conf", optimizer)
    assert ("(0.0001, 0.001) have no effect" in caplog.text) == same
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-4]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, False),  # 2 epochs of 8 steps
        ({"max_epoch": 3}, True),
        ({"max_epoch": 3, "accum_grad": 2}, False),
        ({"num_iters_per_epoch": None, "max_epoch": 3}, False),
        ({"max_epoch": 3, "optim_conf": {"lr": 1e-4}}, False),
    ],
)
def test_a_rate_that_jumps_up_behind_its_list_is_told(train, caplog, changes, told):
    """The rate of ESPnet 202511 rises to optim_conf.lr there, at once."""
    conf = {"warmup_steps_list": [0, 4, 16], "warmup_lr_list": [0.0, 2e-3, 1e-4]}
    options = {"scheduler": "piecewiselinearwarmuplr", "scheduler_conf": conf}
    options.update({"optim_conf": {"lr": 2e-3}, **changes})
    assert train("--dry_run", "true", **options) == 0
    message = "ends at step 16, the training at step 24: from 16 on"
    assert (message in caplog.text) == told
