import pytest
import torch

from espnet2_avsep.separator.decoupled_resunet_separator import (
    DecoupledResUNetSeparator,
    decouple,
)
from espnet2_avsep.separator.wave_unet_separator import WaveUNetSeparator


def wave_unet(**options):
    torch.manual_seed(0)
    conf = {"visual_dim": 6, "channels": 8, "layers": 2, "condition_dim": 8}
    return WaveUNetSeparator(**{**conf, **options}).eval()


def resunet(**options):
    torch.manual_seed(0)
    conf = {"visual_dim": 6, "channels": (8, 8), "window": 64, "hop": 16}
    return DecoupledResUNetSeparator(condition_dim=8, **{**conf, **options}).eval()


def test_the_input_reaches_the_last_layer_unchanged():
    model = wave_unet()
    with torch.no_grad():
        model.last.weight.zero_()
        model.last.weight[0, -1] = 1
        model.last.bias.zero_()
    mixture = torch.randn(2, 301)
    tracks, _ = model(mixture, torch.randn(2, 3, 6))
    torch.testing.assert_close(tracks, mixture[:, None].expand(-1, 3, -1))


@pytest.mark.parametrize("build", [wave_unet, resunet])
def test_the_encoder_runs_once_per_mixture(build):
    model, sizes = build(), {"down": [], "up": []}
    for name in sizes:
        layers = getattr(model, name)
        layer = layers[0] if name == "down" or build is wave_unet else None
        layer = layer if layer is not None else layers[0]["blocks"]
        layer.register_forward_hook(
            lambda module, inputs, output, name=name: sizes[name].append(len(output))
        )
    model(torch.randn(2, 320), torch.randn(2, 3, 6))
    assert sizes == {"down": [2], "up": [6]}


def test_decoupling_equations():
    torch.manual_seed(1)
    spectrum = torch.randn(2, 5, 7, dtype=torch.complex128)
    maps = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    m, real, imaginary, q = maps.unbind(1)
    magnitude = (m.sigmoid() * spectrum.abs() + q).clamp(min=0)
    phase = spectrum.angle() + torch.atan2(imaginary, real)
    torch.testing.assert_close(
        decouple(spectrum, maps), torch.polar(magnitude, phase), atol=1e-5, rtol=1e-5
    )


def test_a_mask_of_one_gives_the_mixture_back():
    model = resunet()
    maps = torch.zeros(1, 2, 4, 32, 26)
    maps[:, :, 0], maps[:, :, 1] = 50.0, 1.0
    model._network = lambda magnitude, visual: (maps, magnitude)
    time = torch.arange(400) / 400
    mixture = torch.sin(6.28 * 30 * time)[None]  # nothing at the Nyquist frequency
    tracks, _ = model(mixture, torch.randn(1, 2, 6))
    torch.testing.assert_close(
        tracks, mixture[:, None].expand(-1, 2, -1), atol=1e-2, rtol=0
    )


def test_gradients_are_finite_in_silence():
    model = resunet().train()
    tracks, _ = model(torch.zeros(2, 300), torch.randn(2, 2, 6))
    tracks.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_bad_options():
    with pytest.raises(ValueError, match="odd"):
        wave_unet(kernel_size=4)
    with pytest.raises(ValueError, match="2 \\*\\* 2"):
        resunet(window=60)
    with pytest.raises(ValueError, match="hop=48"):
        resunet(hop=48)
