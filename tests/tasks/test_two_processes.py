"""Two processes compute what one does with the whole batch, for every system.

Plain BatchNorm takes the statistics of one process: the result then depends on how many
there are. One pair of processes runs all systems at tiny size, in float64.
"""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import nn

from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from espnet2_avsep.loss.abs_criterion import SeparationOutput
from espnet2_avsep.loss.object_classification import ObjectClassification
from espnet2_avsep.tasks.choices import criterion_choices, visual_adapter_choices
from tests.separator.test_every_separator import SEPARATORS, build, inputs

BATCH = 5
PARTS = [slice(0, 2), slice(2, 5)]

PROCESS = """
import sys, torch
from tests.tasks.test_two_processes import run_all
folder, *names = sys.argv[1:]
torch.set_num_threads(1)
torch.save(run_all(1, folder, names), f"{folder}/1.pt")
"""


def separator(name):
    mixture, told = inputs(name, BATCH)
    given = {"mixture": mixture, **told}

    def compute(model, given):
        mixture = given.pop("mixture")
        return model(mixture, **given)[0]

    return build(name), compute, given


def adapter(name):
    """Pictures or embeddings into an adapter."""
    cls = visual_adapter_choices[name]
    visual = torch.randn(BATCH, 2, 3, 4)
    if cls.takes_frames:
        visual = torch.randint(256, (BATCH, 2, 1, 3, 64, 64)).byte()
    return cls(**cls.tiny), lambda model, given: model(**given), {"visual": visual}


def classifier():
    given = {
        "mask": torch.rand(BATCH, 2, 32, 32),
        "mixture": torch.rand(BATCH, 1, 32, 32),
        "reference": torch.rand(BATCH, 2, 32, 32),
        "labels": torch.randint(3, (BATCH, 2)),
    }

    def compute(model, given):
        rest = dict.fromkeys(SeparationOutput._fields)
        return model(SeparationOutput(**{**rest, **given}))

    return ObjectClassification(num_classes=4), compute, given


SYSTEMS = {
    **{name: lambda name=name: separator(name) for name in SEPARATORS},
    **{name: lambda name=name: adapter(name) for name in visual_adapter_choices},
    "object_classification": classifier,
}


def run(name, part):
    """Output, gradients and buffers of a training step on a part of the batch."""
    torch.manual_seed(0)
    model, compute, given = SYSTEMS[name]()
    model.double().train()
    given = {
        key: (value.double() if value.is_floating_point() else value)[part]
        for key, value in given.items()
    }
    output = compute(model, given)
    torch.manual_seed(1)
    weight = torch.randn(BATCH, *output.shape[1:], dtype=torch.float64)
    if output.requires_grad:
        (weight[part] * output).sum().backward()
    return {
        "output": output.detach(),
        "gradients": {
            key: parameter.grad
            for key, parameter in model.named_parameters()
            if parameter.grad is not None
        },
        "buffers": dict(model.named_buffers()),
    }


def run_all(rank, folder, names):
    """Run the systems on the part of one of two processes; return results by name."""
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/init",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=300),
    )
    try:
        return {name: run(name, PARTS[rank]) for name in names}
    finally:
        torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    """What each of two processes got, by system; this process is one of the two."""
    folder = tmp_path_factory.mktemp("processes")
    names = [
        item.callspec.params["name"]
        for item in request.session.items
        if getattr(item, "function", None) is test_two_processes_equal_one
    ]
    other = subprocess.Popen(
        [sys.executable, "-c", PROCESS, folder, *names], cwd=Path(__file__).parents[2]
    )
    try:
        here = run_all(0, folder, names)
        assert other.wait(timeout=300) == 0
    finally:
        other.kill()
    return [here, torch.load(folder / "1.pt")]


def test_no_classifier_is_left_out():
    trained = {
        name for name, criterion in criterion_choices.items() if criterion.needs_labels
    }
    assert trained == {"object_classification"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_two_processes_equal_one(name, results):
    parts = [result[name] for result in results]
    whole = run(name, slice(0, BATCH))
    close = {"atol": 1e-6, "rtol": 1e-6}
    output = torch.cat([part["output"] for part in parts])
    torch.testing.assert_close(output, whole["output"], **close)
    total = {  # which DistributedDataParallel adds up
        key: parts[0]["gradients"][key] + parts[1]["gradients"][key]
        for key in parts[0]["gradients"]
    }
    torch.testing.assert_close(total, whole["gradients"], **close)
    for part in parts:
        torch.testing.assert_close(part["buffers"], whole["buffers"], **close)


@pytest.mark.parametrize("name", SYSTEMS)
def test_there_is_one_class_of_batch_norm(name):
    model = SYSTEMS[name]()[0]
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)
    ]
    assert all(isinstance(m, SourceBatchNorm2d) and m.sync for m in norms)
