"""The released iQuery and DGFNet, against their equations, from the shipped YAMLs."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.layers.query_transformer import QueryTransformer
from espnet2_avsep.separator.query_separator import QuerySeparator
from espnet2_avsep.visual.adapter import MeanAdapter
from tests.benchmarks.plain_released import make_plain
from tests.separator import released_queries

TUNING = Path(__file__).resolve().parents[2] / "conf" / "tuning"
HEADS, LEVELS = 4, 7
# In the YAMLs the map in the middle has as many channels as the transformer.
SMALL = {
    "channels": 8,
    "dim": 32,
    "heads": HEADS,
    "feedforward_dim": 24,
    "width": 8,
    "visual_dim": 6,
    "motion_dim": 5,
    "num_queries": 4,
}


def options(name):
    path = TUNING / f"train_avsep_{name}_released.yaml"
    return read_config(path)["separator_conf"]


def build(name, **changes):
    """The network of the YAML, small, with random weights and statistics."""
    torch.manual_seed(0)
    conf = {**options(name), **SMALL, "initialisation": None, **changes}
    model = QuerySeparator(**conf).double().eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif "norm" in key and value.is_floating_point():
                value.add_(0.2 * torch.randn_like(value))
        model.mask_head[-1].weight.mul_(20)  # masks far from 0.5
    return model


def inputs():
    generator = torch.Generator().manual_seed(1)
    draw = {"generator": generator, "dtype": torch.float64}
    feature = torch.randn(2, 1, 128, 256, **draw)
    return feature, {
        "visual": torch.rand(2, 2, 6, **draw),
        "motion": torch.randn(2, 2, 7, 5, **draw),
        "labels": torch.tensor([[0, 2], [3, 1]]),
    }


def found(model, feature, told):
    embeddings = []
    hook = model.mask_head.register_forward_hook(
        lambda module, given, output: embeddings.append(output)
    )
    with torch.no_grad():
        logits, _ = model(feature, **told)
    hook.remove()
    return embeddings[0].unflatten(0, (2, 2)).transpose(0, 1), logits.sigmoid()


ATTENDED = {"iquery": (), "dgfnet": (6, 5, 4, 3, 2, 1)}


def expected(name, model, feature, told):
    return released_queries.masks(
        model.state_dict(),
        feature,
        **told,
        levels=LEVELS,
        middle=3,
        heads=HEADS,
        attended=ATTENDED[name],
    )


@pytest.mark.parametrize("name", ["iquery", "dgfnet"])
def test_equals_the_released_structure(name):
    model = build(name)
    feature, told = inputs()
    names = ("embeddings", "masks")
    ours = found(model, feature, told)
    theirs = expected(name, model, feature, told)
    for what, one, other in zip(names, ours, theirs, strict=True):
        assert other.std() > 0.02, what
        assert (one - other).abs().max() < 1e-10, what
    assert not [key for key in model.state_dict() if key.endswith("last.conv.bias")]
    assert "encoder.convs.0.bias" not in model.state_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"positions": "index"},
        {"positions_in_values": True},
        {"query_positions": False},
        {"motion_positions": False},
        {"final_norm": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_option_of_the_transformer_changes_the_embeddings(change):
    model = build("iquery")
    feature, told = inputs()
    state = model.state_dict()
    other = build("iquery", **change)
    other.load_state_dict(
        {key: value for key, value in state.items() if key in other.state_dict()}
    )
    theirs, _ = expected("iquery", model, feature, told)
    ours, _ = found(other, feature, told)
    assert (ours - theirs).abs().max() > 1e-6


@pytest.mark.parametrize(
    "change",
    [
        {"audio_attention": "inner"},
        {"audio_attention": "every"},
        {"attention_place": "after_norm"},
        {"fused_map": "network"},
        {"gate": "none"},
    ],
    ids=lambda change: "-".join(map(str, *change.items())),
)
def test_each_option_of_dgfnet_changes_the_masks(change):
    model = build("dgfnet")
    feature, told = inputs()
    other = build("dgfnet", **change)
    other.load_state_dict(model.state_dict(), strict=False)
    _, theirs = expected("dgfnet", model, feature, told)
    _, ours = found(other, feature, told)
    assert (ours - theirs).abs().max() > 1e-6


def test_initial_weights_of_the_transformer():
    """Of iQuery's program: uniform within sqrt(6 / (inputs + outputs)), no biases."""
    torch.manual_seed(0)
    plain = QueryTransformer(16, 9, 16, 2, 32)
    torch.manual_seed(0)
    xavier = QueryTransformer(16, 9, 16, 2, 32, initialisation="xavier")
    changed = 0
    for (name, one), other in zip(
        plain.named_parameters(), xavier.parameters(), strict=True
    ):
        in_a_layer = name.startswith(("encoder.", "motion_layer.", "layers."))
        if one.dim() < 2 or not in_a_layer:
            assert torch.equal(one, other), name
            continue
        bound = math.sqrt(6 / sum(other.shape))
        assert 0.9 * bound < other.abs().max() <= bound, name
        assert other.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1), name
        changed += 1
    assert changed == 4 + 4 + 3 * 6
    with pytest.raises(ValueError, match="transformer_initialisation='he'"):
        QueryTransformer(16, 9, 16, 2, 32, initialisation="he")


def test_the_u_net_runs_once_where_only_the_transformer_sees_the_fused_map():
    model = build("dgfnet")
    sizes = []
    for block in [*model.decoder.blocks, model.decoder.last]:
        block.register_forward_hook(lambda m, given, _: sizes.append(len(given[0])))
    feature, told = inputs()
    model(feature, **told)
    assert sizes == [2] * LEVELS
    told = {**told, "visual": told["visual"] + 1.0}
    other = build("dgfnet", fused_map="network")
    sizes = []
    other.decoder.last.register_forward_hook(lambda m, x, _: sizes.append(len(x[0])))
    other(feature, **told)
    assert sizes == [4]


@pytest.mark.parametrize("name", ["iquery", "dgfnet"])
def test_yardstick_of_the_benchmark_equals_ours_in_training(name):
    """bench_released.py compares times of the same function and gradient."""
    model = build(name).train()
    feature, told = inputs()
    told["motion_lengths"] = torch.tensor([[7, 4], [5, 7]])
    plain = copy.deepcopy(model)
    make_plain(SimpleNamespace(separator=plain, visual_adapter=MeanAdapter()))
    results = []
    for network in (model, plain):
        logits, bottleneck = network(feature, **told)
        (logits.square().mean() + bottleneck.square().mean()).backward()
        gradients = {n: p.grad for n, p in network.named_parameters()}
        results.append((logits.detach(), gradients))
    (ours, our_gradients), (theirs, their_gradients) = results
    assert ours.std() > 0.02
    assert (ours - theirs).abs().max() < 1e-10
    for key, gradient in our_gradients.items():
        other = their_gradients[key]
        assert (gradient - other).abs().max() < 1e-9, key
