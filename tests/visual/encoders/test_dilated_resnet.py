import pytest
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.encoders.dilated_resnet import DilatedResNet18
from espnet2_avsep.visual.encoders.resnet_encoder import build_resnet18


@pytest.fixture(scope="module")
def frames():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 2, 3, 3, 64, 64), generator=generator).byte()


def build(**options):
    torch.manual_seed(0)
    options = {"embedding_dim": 5, "size": 64, "pretrained": "random", **options}
    return DilatedResNet18(**options).eval()


def test_dilation_keeps_the_resolution_and_the_values_of_torchvisions_network():
    """At every other position the dilated maps are those of the strided network."""
    import torchvision

    torch.manual_seed(0)
    reference = torchvision.models.resnet18(weights=None).eval()
    model = build()
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    model.features.load_state_dict(state, strict=True)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
            x = getattr(reference, name)(x)
        expected = reference.layer4(x)
        maps = model.features.layer4(x)
    assert maps.shape[-2:] == (4, 6) and expected.shape[-2:] == (2, 3)
    torch.testing.assert_close(maps[..., ::2, ::2], expected, atol=1e-5, rtol=1e-5)
    plain = build(dilate=False)
    plain.features.load_state_dict(state, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(plain.features.layer4(x), expected)


def test_maximum_over_space_and_time(frames):
    model = build()
    with torch.no_grad():
        embedding = model(frames)
        x = (frames.float() / 255).flatten(0, 2)
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        x = (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        maps = model.projection(model._features(x))
    assert embedding.shape == (2, 2, 5) and maps.shape == (12, 5, 4, 4)
    expected = maps.unflatten(0, (2, 2, 3)).amax(dim=(2, 4, 5))
    torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)
    # Floats of the same values are the same pictures.
    with torch.no_grad():
        torch.testing.assert_close(model(frames.float()), embedding)


def test_object_features_are_a_linear_layer_and_a_maximum(frames):
    """Without dilation, at each position of the plain network's last maps."""
    model = build(dilate=False, projection_kernel=1)
    weight = model.projection.weight[:, :, 0, 0]
    with torch.no_grad():
        x = (frames.float() - model.mean) / model.std
        maps = model._features(x.flatten(0, 2))
        assert maps.shape == (12, 512, 2, 2) and weight.shape == (5, 512)
        values = torch.einsum("kc,mchw->mhwk", weight, maps) + model.projection.bias
        expected = values.unflatten(0, (2, 2, 3)).amax(dim=(2, 3, 4))
        torch.testing.assert_close(model(frames), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="projection_kernel=2"):
        build(projection_kernel=2)


def test_a_repeated_frame_changes_nothing(frames):
    model = build()
    with torch.no_grad():
        once, twice = model(frames), model(torch.cat([frames, frames[:, :, :1]], 2))
    torch.testing.assert_close(once, twice)


def test_larger_frames_are_scaled():
    grey = torch.full((1, 1, 1, 3, 80, 80), 77).byte()
    with torch.no_grad():
        expected = build()(grey[..., :64, :64])
        torch.testing.assert_close(build()(grey), expected, atol=1e-4, rtol=1e-4)


def test_weights_are_loaded_when_asked_for(tmp_path):
    network, _ = build_resnet18("random", seed=3)
    path = tmp_path / "resnet18.pt"
    torch.save(network.state_dict(), path)
    model = build(pretrained=str(path))
    name = "layer3.1.conv2.weight"
    assert not torch.equal(
        model.features.state_dict()[name], network.state_dict()[name]
    )
    model.load_pretrained()
    for key, value in model.features.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key
    with pytest.raises(InputError, match=r"visual_adapter_conf\.pretrained: nothing"):
        build(pretrained="nothing").load_pretrained()


def test_every_parameter_learns(frames):
    model = build().train()
    # Every map must be the maximum somewhere; the square of the sum does not vanish.
    model(frames).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_only_the_projection_learns_where_the_features_are_frozen(frames):
    """As in iQuery's and DGFNet's released code: 512 * 5 * 9 weights and 5 biases."""
    model = build(train_features=False).train()
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning == ["projection.weight", "projection.bias"]
    assert sum(p.numel() for p in model.projection.parameters()) == 23045
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(frames).square().sum().backward()
    assert all(p.grad is None for p in model.features.parameters())
    assert model.projection.weight.grad.abs().max() > 0
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    # In training and in evaluation it is the same function.
    with torch.no_grad():
        torch.testing.assert_close(model(frames), model.eval()(frames))


def test_statistics_of_a_frozen_network(frames):
    """iQuery's program stops the gradients, and leaves the network in training mode."""
    model = build(train_features=False, frozen_statistics="batch").train()
    model.features.eval()  # as ESPnetAVSeparationModel.train() does
    before = model.features.bn1.running_mean.clone()
    torch.manual_seed(0)
    learning = build(train_features=True)
    learning.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(frames), learning.train()(frames))
        found, expected = model.features.bn1, learning.features.bn1
        torch.testing.assert_close(found.running_mean, expected.running_mean)
        assert (found.running_mean - before).abs().max() > 1e-3
        # In evaluation it uses what it has collected.
        state = {k: v.clone() for k, v in model.state_dict().items()}
        torch.testing.assert_close(model.eval()(frames), learning.eval()(frames))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="frozen_statistics='none'"):
        build(frozen_statistics="none")


def test_a_network_frozen_from_outside_keeps_its_statistics(frames):
    """By freeze_param: ESPnetAVSeparationModel.train() sets the mode."""
    frozen = build(train_features=False, frozen_statistics="batch").train()
    frozen.requires_grad_(False)  # by a phase of the training
    model = build().train()
    model.features.requires_grad_(False).eval()
    for network in (model, frozen):
        before = network.features.bn1.running_mean.clone()
        network(frames)
        assert torch.equal(network.features.bn1.running_mean, before)
        assert not network.features.bn1.training


def test_sigmoid_of_the_embedding(frames):
    with torch.no_grad():
        expected = build()(frames).sigmoid()
        torch.testing.assert_close(build(activation="sigmoid")(frames), expected)
    with pytest.raises(ValueError, match="activation='tanh'"):
        build(activation="tanh")


def test_embeddings_are_refused():
    with pytest.raises(ValueError, match="--visual_encoder frames"):
        build()(torch.zeros(2, 2, 1, 512))
