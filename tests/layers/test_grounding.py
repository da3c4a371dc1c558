import math

import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.layers.grounding import GroundingNetwork, grounding_accuracy
from espnet2_avsep.layers.rounding import straight_through_round


def network(**options):
    torch.manual_seed(0)
    return GroundingNetwork(**{"visual_dim": 5, "channels": 4, **options}).eval()


@torch.no_grad()
def test_it_is_the_stated_network_applied_to_each_pair():
    """Convolutions 1 | 2 | 4, 4 | 8, 8 times C, perceptron of the concatenation."""
    model = network()
    feature = torch.randn(3, 1, 32, 48)
    x = feature
    weights = iter([m for m in model.audio if isinstance(m, torch.nn.Conv2d)])
    for group in (1, 1, 2, 2):
        for _ in range(group):
            conv = next(weights)
            x = F.relu(F.conv2d(x, conv.weight, conv.bias, padding=1))
        x = F.max_pool2d(x, 2)
    audio = x.flatten(2).max(dim=-1).values
    torch.testing.assert_close(model.embed(feature), audio)
    assert audio.shape == (3, 32)

    visual = torch.randn(1, 2, 5)
    found = model(audio[None], visual)
    assert found.shape == (1, 3, 2, 2)
    layers = [m for m in model.pairs if isinstance(m, torch.nn.Linear)]
    assert [layer.out_features for layer in layers] == [32, 8, 2]
    for m in range(3):
        for n in range(2):
            x = torch.cat([audio[m], visual[0, n]])
            for layer in layers[:-1]:
                x = layer(x).relu()
            torch.testing.assert_close(found[0, m, n], 2 * layers[-1](x))


def test_released_size_and_initial_weights():
    model = network(visual_dim=512, channels=64, initialisation="sound_of_pixels")
    sizes = [m.weight.shape for m in model.pairs if isinstance(m, torch.nn.Linear)]
    assert sizes == [(512, 1024), (128, 512), (2, 128)]
    assert model.pairs[0].weight.std().item() == pytest.approx(1e-4, rel=0.05)


def test_sizes_that_do_not_halve_four_times():
    assert network().embed(torch.randn(2, 1, 1, 5)).shape == (2, 32)


def test_straight_through_rounding():
    x = torch.tensor([0.2, 0.5, 0.8, 1.0], requires_grad=True)
    rounded = straight_through_round(x)
    assert rounded.tolist() == [0, 0, 1, 1]
    (rounded * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [1, 2, 3, 4]


def test_accuracy():
    """Sound 1: own picture right, 1 of 3 others wrong. Sound 3: own wrong, 1 of 3."""
    reference = torch.ones(1, 4, 1, 1)
    reference[0, [1, 3]] = 0
    silent = [math.nan] * 4
    rows = [[0.8, 0.4, 0.3, 0.9], [0.9, 0.7, 0.2, 0.1], silent]
    rows += [[0.1, 0.9, 0.4, 0.2], silent]
    p = torch.tensor(rows)[None]
    logits = torch.stack([p.log(), (1 - p).log()], dim=-1)
    found = grounding_accuracy(logits, reference)
    assert found.item() == pytest.approx((1 / 2 + 4 / 6) / 2)
