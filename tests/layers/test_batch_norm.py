import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from espnet2_avsep.layers.batch_norm import FoldedSequential, SourceBatchNorm2d

# What each of two processes does: its half of the batch, and gradients added up.
PROCESS = """
import sys, torch
from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from tests.layers.test_batch_norm import run
rank, folder, sync = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "sync"
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2
)
result = run([slice(0, 3), slice(3, 8)][rank], sync)
torch.distributed.destroy_process_group()
torch.save(result, f"{folder}/{rank}.pt")
"""


def run(part, sync=True):
    """Output, gradients and running statistics for a part of a batch of 8."""
    torch.manual_seed(0)
    norm = SourceBatchNorm2d(3, sync=sync).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 8, 3, 4, 5, dtype=torch.float64) * 3 + 100
    weight = torch.randn_like(x)
    x = x[:, part].flatten(0, 1).requires_grad_()
    y = norm(x, num_sources=2)
    (weight[:, part].flatten(0, 1) * y).sum().backward()
    return {
        "y": y.detach().unflatten(0, (2, -1)),
        "grad": x.grad.unflatten(0, (2, -1)),
        "weight": norm.weight.grad,
        "bias": norm.bias.grad,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
        "num_batches_tracked": norm.num_batches_tracked,
    }


@pytest.mark.parametrize("statistics", ["per_source", "joint"])
def test_statistics_of_sources(statistics):
    norm = SourceBatchNorm2d(3, statistics)
    plain = nn.BatchNorm2d(3)
    x = torch.randn(6, 3, 4, 5) * torch.arange(1, 7).view(6, 1, 1, 1)
    result = norm(x, num_sources=2)
    if statistics == "joint":
        torch.testing.assert_close(result, plain(x))
    else:
        expected = torch.cat([plain(x[:3]), plain(x[3:])])
        torch.testing.assert_close(result, expected)
    torch.testing.assert_close(norm.running_var, plain.running_var)


@pytest.mark.parametrize("size", [(5, 6, 7, 1), (5, 6, 1, 7), (1, 6, 7, 8)])
@pytest.mark.parametrize("order", [(0, 2, 3, 1), (2, 0, 3, 1), (0, 2, 1, 3)])
def test_gradients_whatever_the_strides_of_the_result_s_gradient(size, order):
    """torch 2.11 on a CPU: F.batch_norm's are wrong for a map of one row or column."""
    norm = SourceBatchNorm2d(6).double()
    nn.init.normal_(norm.weight)
    x = torch.randn(size, dtype=torch.float64, requires_grad=True)
    grad = torch.randn([size[axis] for axis in order], dtype=torch.float64)
    grad = grad.permute([order.index(axis) for axis in range(4)])
    var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
    z = (x - mean) / (var + norm.eps).sqrt()
    expected = z * norm.weight[:, None, None] + norm.bias[:, None, None]
    inputs = [x, norm.weight, norm.bias]
    torch.testing.assert_close(
        torch.autograd.grad(norm(x), inputs, grad),
        torch.autograd.grad(expected, inputs, grad),
    )
    torch.testing.assert_close(norm.running_mean, 0.1 * mean.flatten())


def test_unknown_statistics():
    with pytest.raises(ValueError, match="bn_statistics='none'.*per_source"):
        SourceBatchNorm2d(3, "none")


@pytest.mark.parametrize("sync", [True, False])
def test_two_processes_with_unequal_parts(tmp_path, sync):
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROCESS,
                str(rank),
                tmp_path,
                "sync" if sync else "",
            ],
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    if not sync:
        alone = [run(slice(0, 3)), run(slice(3, 8))]
        for part, expected in zip(parts, alone, strict=True):
            torch.testing.assert_close(part, expected)
        return
    whole = run(slice(0, 8))
    for name in ("y", "grad"):
        joined = torch.cat([part[name] for part in parts], dim=1)
        torch.testing.assert_close(joined, whole[name], atol=1e-9, rtol=1e-9)
    for name in ("weight", "bias"):  # which DistributedDataParallel adds up
        total = parts[0][name] + parts[1][name]
        torch.testing.assert_close(total, whole[name], atol=1e-9, rtol=1e-9)
    for part in parts:
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(part[name], whole[name])


def layers():
    """Convolution, BatchNorm, ReLU, transposed convolution, BatchNorm, ReLU."""
    torch.manual_seed(0)
    found = [
        nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False),
        SourceBatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(3, 4, 2, stride=2, bias=False),
        SourceBatchNorm2d(4),
        nn.ReLU(inplace=True),
    ]
    for norm in (found[1], found[4]):
        for values in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(values)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return found


@pytest.mark.parametrize("training", [False, True])
def test_folded_layers_equal_one_after_the_other(training):
    plain = nn.Sequential(*layers()).double().train(training)
    folded = FoldedSequential(*layers()).double().train(training)
    x = torch.randn(2, 2, 6, 8, dtype=torch.float64)
    for _ in range(2):  # the second time with the statistics that the first one left
        torch.testing.assert_close(folded(x), plain(x))
    assert plain.state_dict().keys() == folded.state_dict().keys()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(folded.state_dict()[name], value)


def test_folded_weights_are_never_out_of_date():
    plain = nn.Sequential(*layers()).double().eval()
    folded = FoldedSequential(*layers()).double().eval()
    x = torch.randn(2, 2, 6, 8, dtype=torch.float64)
    before = folded(x)
    for model in (plain, folded):
        model.train()(x)  # new statistics
        model.eval()
    assert not torch.allclose(folded(x), before)
    torch.testing.assert_close(folded(x), plain(x))
    changed = {name: value + 0.5 for name, value in plain.state_dict().items()}
    for model in (plain, folded):
        model.load_state_dict(changed)
    torch.testing.assert_close(folded(x), plain(x))


def test_frozen_statistics_in_training_are_folded_too():
    """Fine-tuning with ``freeze_param`` keeps a BatchNorm in evaluation."""
    plain, folded = (
        kind(*layers()).double() for kind in (nn.Sequential, FoldedSequential)
    )
    x = torch.randn(2, 2, 6, 8, dtype=torch.float64)
    gradients = []
    for model in (plain, folded):
        model[1].eval()
        model(x).square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters()])
    torch.testing.assert_close(*gradients)
