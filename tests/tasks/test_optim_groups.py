import pytest
import torch
from torch import nn

from espnet2_avsep.errors import InputError
from espnet2_avsep.tasks.optim_groups import parameter_groups, split_by_optimizer


def model():
    return nn.ModuleDict(
        {
            "adapter": nn.ModuleDict({"net": nn.Linear(2, 2), "head": nn.Linear(2, 1)}),
            "separator": nn.Linear(3, 3),
        }
    )


def test_the_longest_prefix_counts_and_nothing_is_lost():
    net = model()
    net["separator"].bias.requires_grad_(False)
    groups = parameter_groups(
        net,
        [
            {"prefix": "adapter.", "lr": 0.1},
            {"prefix": "adapter.net.", "lr": 0.01, "weight_decay": 0.5},
        ],
    )
    names = {id(p): name for name, p in net.named_parameters()}
    found = [sorted(names[id(p)] for p in group["params"]) for group in groups]
    assert found == [
        ["separator.weight"],
        ["adapter.head.bias", "adapter.head.weight"],
        ["adapter.net.bias", "adapter.net.weight"],
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 0.1, 0.01]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0, 0, 0.5]


def test_groups_of_two_optimizers():
    entries = [
        {"prefix": "adapter.", "optimizer": 2, "lr": 0.1},
        {"prefix": "adapter.net.", "lr": 0.2},
    ]
    first, second = split_by_optimizer(parameter_groups(model(), entries))
    assert [group.get("lr") for group in first] == [None, 0.2]
    assert [group["lr"] for group in second] == [0.1]
    assert all("optimizer" not in group for group in (*first, *second))
    with pytest.raises(InputError, match="optimizer: 3"):
        split_by_optimizer([{"params": [], "optimizer": 3}])
    with pytest.raises(InputError, match="every parameter"):
        split_by_optimizer([{"params": [], "optimizer": 2}])


def test_what_is_frozen_belongs_to_neither():
    net = model()
    for parameter in net["separator"].parameters():
        parameter.requires_grad_(False)
    groups = parameter_groups(net, [{"prefix": "adapter.net.", "optimizer": 2}])
    first, second = split_by_optimizer(groups)
    assert [len(group["params"]) for group in (*first, *second)] == [2, 2]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"prefix": "adaptor.", "lr": 1}], "adapter, separator"),
        ([{"lr": 1}], "prefix"),
        ([{"prefix": "adapter."}], "setting"),
        ([{"prefix": "a", "lr": 1}, {"prefix": "a", "lr": 2}], "twice"),
        (["adapter"], "mapping"),
    ],
)
def test_bad_groups(entries, message):
    with pytest.raises(InputError, match=message):
        parameter_groups(model(), entries)
