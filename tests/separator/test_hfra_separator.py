import pytest
import torch

from espnet2_avsep.separator.hfra_separator import HFRASeparator
from tests.benchmarks.reference_network import separate

FUSIONS = ["middle", "late", "hierarchical"]


def small(fusion="hierarchical", **kwargs):
    torch.manual_seed(1)
    options = {"visual_dim": 6, "channels": 4, "layers": 3, "width": 5, **kwargs}
    return HFRASeparator(fusion=fusion, **options)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("num_sources", [1, 2, 3])
@pytest.mark.parametrize("training", [False, True])
def test_equals_one_pass_per_source(fusion, num_sources, training):
    model = small(fusion).double().train(training)
    feature = torch.randn(3, 1, 16, 24, dtype=torch.float64)
    visual = torch.randn(3, num_sources, 6, dtype=torch.float64)
    logits, bottleneck = model(feature, visual)
    assert logits.shape == (3, num_sources, 16, 24) and bottleneck.shape == (3, 16)
    torch.testing.assert_close(
        logits, separate(model, feature, visual), atol=1e-10, rtol=1e-10
    )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_equal_one_pass_per_source(fusion):
    model = small(fusion).double()
    feature = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    visual = torch.randn(2, 2, 6, dtype=torch.float64)
    weight = torch.randn(2, 2, 16, 16, dtype=torch.float64)
    parameters = list(model.parameters())
    ours = torch.autograd.grad((model(feature, visual)[0] * weight).sum(), parameters)
    theirs = torch.autograd.grad(
        (separate(model, feature, visual) * weight).sum(), parameters
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_swapping_visual_inputs_swaps_masks(fusion, training):
    """Each mask depends on its own condition, not on that of the last source."""
    model = small(fusion).train(training)
    feature, visual = torch.randn(2, 1, 16, 16), torch.randn(2, 3, 6)
    order = torch.tensor([2, 0, 1])
    logits, _ = model(feature, visual)
    swapped, _ = model(feature, visual[:, order])
    torch.testing.assert_close(swapped, logits[:, order], atol=1e-5, rtol=1e-5)
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_source_is_blind_to_the_other_conditions(fusion):
    model = small(fusion).eval()
    feature, visual = torch.randn(1, 1, 16, 16), torch.randn(1, 2, 6)
    changed = visual.clone()
    changed[:, 1] = torch.randn(6)
    a, b = model(feature, visual)[0], model(feature, changed)[0]
    torch.testing.assert_close(a[:, 0], b[:, 0])
    assert (a[:, 1] - b[:, 1]).abs().max() > 1e-3


def test_encoder_runs_once_per_mixture():
    model = small().eval()
    sizes = []
    model.encoder.convs[0].register_forward_hook(
        lambda module, inputs, output: sizes.append(len(output))
    )
    model(torch.randn(2, 1, 16, 16), torch.randn(2, 3, 6))
    assert sizes == [2]


def test_equation_5_with_weights_set_by_hand():
    """Proj1(e) . Dec(...) with constant maps: the mask is known in closed form."""
    model = small(width=2).eval()
    last = model.decoder.blocks[-1].conv
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([3.0, -1.0]))
        model.late_projection[0].weight.zero_()
        model.late_projection[0].weight[0, 0] = 1
        model.late_projection[0].weight[1, 1] = 2
        model.late_projection[0].bias.zero_()
        model.late_scale.copy_(torch.tensor([0.5, 1.0]))
        model.late_bias.fill_(0.25)
    visual = torch.zeros(1, 2, 6)
    visual[0, 0, 0], visual[0, 1, 1] = 4.0, 5.0
    logits, _ = model(torch.randn(1, 1, 16, 16), visual)
    torch.testing.assert_close(logits[0, 0], torch.full((16, 16), 3 * 0.5 * 4 + 0.25))
    torch.testing.assert_close(logits[0, 1], torch.full((16, 16), -1 * 2 * 5 + 0.25))


@pytest.mark.parametrize("size", [(16, 16), (13, 21), (1, 1), (17, 5)])
def test_any_size(size):
    logits, _ = small().eval()(torch.randn(2, 1, *size), torch.randn(2, 2, 6))
    assert logits.shape == (2, 2, *size)


def test_full_size_in_float32_equals_one_pass_per_source():
    torch.manual_seed(0)
    model = HFRASeparator().eval()
    feature, visual = torch.randn(1, 1, 256, 128), torch.randn(1, 2, 512)
    with torch.no_grad():
        masks = model(feature, visual)[0].sigmoid()
        expected = separate(model, feature, visual).sigmoid()
    torch.testing.assert_close(masks, expected, atol=2e-5, rtol=0)


def test_number_of_parameters_of_the_paper():
    model = HFRASeparator()
    count = sum(p.numel() for p in model.parameters())
    assert 32.0e6 < count < 34.0e6
    assert model.bottleneck_dim == 512


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_learns(fusion):
    model = small(fusion)
    model(torch.randn(2, 1, 16, 16), torch.randn(2, 2, 6))[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_projection_activation():
    plain, sigmoid = small(), small(projection_activation="sigmoid")
    assert plain.middle_projection(torch.full((1, 6), -50.0)).abs().max() > 2
    projected = sigmoid.middle_projection(torch.randn(4, 6) * 50)
    assert projected.min() >= 0 and projected.max() <= 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"fusion": "early"}, "hierarchical"),
        ({"projection_activation": "tanh"}, "sigmoid"),
        ({"layers": 1}, "at least 2"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(ValueError, match=message):
        small(**option)


def test_wrong_embedding_width():
    with pytest.raises(ValueError, match="visual_dim"):
        small()(torch.randn(1, 1, 16, 16), torch.randn(1, 2, 7))
