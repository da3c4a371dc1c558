import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.loss.abs_criterion import SeparationOutput
from espnet2_avsep.loss.object_classification import ObjectClassification


def output(labels=None):
    torch.manual_seed(0)
    mask = torch.rand(2, 3, 32, 32)
    return SeparationOutput(
        logits=mask,
        mask=mask,
        mixture=5 * torch.rand(2, 1, 32, 32),
        reference=mask,
        bottleneck=torch.zeros(2, 1),
        labels=labels,
    )


@pytest.mark.parametrize(
    ("options", "compress", "pool"),
    [
        ({}, lambda x: (x + 1e-10).log(), torch.nn.AdaptiveMaxPool2d(1)),
        (
            {"compression": "log1p", "pooling": "average"},
            torch.log1p,
            torch.nn.AdaptiveAvgPool2d(1),
        ),
    ],
)
def test_it_is_torchvisions_network_on_the_separated_spectrograms(
    options, compress, pool
):
    import torchvision

    torch.manual_seed(1)
    criterion = ObjectClassification(5, **options).eval()
    reference = torchvision.models.resnet18(num_classes=5).eval()
    reference.avgpool = pool
    reference.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    reference.load_state_dict(criterion.network.state_dict())
    labels = torch.tensor([[0, 4, 2], [1, 1, 3]])
    out = output(labels)
    found = criterion(out)
    for n in range(2):
        spectra = compress(out.mask[n] * out.mixture[n])[:, None]
        expected = F.cross_entropy(reference(spectra), labels[n])
        assert found[n].item() == pytest.approx(expected.item(), rel=1e-4)


def test_width_of_the_classifier():
    """Every layer has an eighth of ResNet-18's channels: that is all that differs."""
    full, narrow = (
        dict(ObjectClassification(5, width=width).named_parameters())
        for width in (64, 8)
    )
    assert list(full) == list(narrow)
    for name, weight in full.items():
        expected = [n // 8 for n in weight.shape[:2]]
        if name.startswith("network.fc"):
            expected[0] = 5  # classes
        if name == "network.conv1.weight":
            expected[1] = 1  # the spectrogram
        assert list(narrow[name].shape[:2]) == expected, name
    with pytest.raises(ValueError, match="width=0"):
        ObjectClassification(5, width=0)


@pytest.mark.parametrize("width", [64, 8])
def test_its_gradient_reaches_the_masks(width):
    criterion = ObjectClassification(4, width=width)
    out = output(torch.ones(2, 3).long())
    out.mask.requires_grad_()
    criterion(out).sum().backward()
    assert out.mask.grad.abs().max() > 0
    for name, parameter in criterion.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("option", ["compression", "pooling"])
def test_unknown_choices(option):
    with pytest.raises(ValueError, match=f"{option}='x': expected one of"):
        ObjectClassification(4, **{option: "x"})


def test_without_labels():
    with pytest.raises(ValueError, match="dataset_conf.labels"):
        ObjectClassification(4)(output())


def test_silent_source_is_of_no_class():
    """Its label is that of its picture, but its track should sound like none."""
    torch.manual_seed(1)
    criterion = ObjectClassification(5).eval()
    out = output(torch.tensor([[0, 3, 2], [1, 1, 3]]))
    reference = out.reference.clone()
    reference[0, 1] = 0
    found = criterion(out._replace(reference=reference))
    expected = criterion(out._replace(labels=torch.tensor([[0, 4, 2], [1, 1, 3]])))
    torch.testing.assert_close(found, expected)
