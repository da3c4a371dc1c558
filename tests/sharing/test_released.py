"""Released checkpoints: the masks of the converted model are those of the layout.

The reference computes from the tensors by their released names, with torch's functions
and no network of this package.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep import SeparateAV
from espnet2_avsep.bin import avsep_import_checkpoint
from espnet2_avsep.errors import InputError
from espnet2_avsep.separate import load_config
from espnet2_avsep.sharing import released
from espnet2_avsep.tasks.choices import build_model

CHANNELS, LEVELS, MAPS, DIM = 2, 6, 5, 7
WIDTHS = [min(2**n, 8) * CHANNELS for n in range(LEVELS)]


def random(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape)) / max(1, np.prod(shape[1:])) ** 0.5


def random_norm(rng, name, size):
    return {
        f"{name}.weight": 1 + random(rng, size) / 4,
        f"{name}.bias": random(rng, size),
        f"{name}.running_mean": random(rng, size),
        f"{name}.running_var": random(rng, size).square() + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(9),
    }


def block_names(layout, level):
    """Names of a block's convolutions and norms, of both kinds of U-Net."""
    if layout == "named":
        prefix = "submodule." * level
        return [prefix + part for part in ("downconv", "downnorm", "upconv", "upnorm")]
    prefix = "model.1." + "model.3." * (level - 1) if level else ""
    places = {0: (0, None, 4, None), LEVELS - 1: (1, None, 4, 5)}
    return [f"{prefix}model.{i}" for i in places.get(level, (1, 2, 6, 7))]


def random_unet(rng, layout, maps, condition=0):
    state = random_norm(rng, "bn0", 1)
    for level, width in enumerate(WIDTHS):
        down, down_norm, up, up_norm = (
            f"unet_block.{name}" for name in block_names(layout, level)
        )
        inside = WIDTHS[level - 1] if level else 1
        outside = WIDTHS[level - 1] if level else maps
        deepest = level == LEVELS - 1
        state[f"{down}.weight"] = random(rng, width, inside, 4, 4)
        if layout == "named" or 0 < level < LEVELS - 1:
            state.update(random_norm(rng, down_norm, width))
        below = width + condition if deepest else 2 * width
        state[f"{up}.weight"] = random(rng, outside, below, 3, 3)
        if level == 0:
            state[f"{up}.bias"] = random(rng, outside)
        else:
            state.update(random_norm(rng, up_norm, outside))
    return state


def norm(state, name, x):
    mean, var, weight, bias = (
        state[f"{name}.{key}"]
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-5)


def unet_maps(state, layout, x, condition=None, level=0):
    """The U-Net by its released names: maps of (B, 1, F, T)."""
    if level == 0:
        x = norm(state, "bn0", x)
    down, down_norm, up, up_norm = (
        f"unet_block.{name}" for name in block_names(layout, level)
    )
    y = x if level == 0 else F.leaky_relu(x, 0.2)
    y = F.conv2d(y, state[f"{down}.weight"], stride=2, padding=1)
    if level == LEVELS - 1:
        if condition is not None:
            tiled = condition[:, :, None, None].expand(-1, -1, *y.shape[2:])
            y = torch.cat([y, tiled], dim=1)
    else:
        y = norm(state, down_norm, y) if level else y
        y = torch.cat([y, unet_maps(state, layout, y, condition, level + 1)], dim=1)
    y = F.interpolate(y.relu(), scale_factor=2, mode="bilinear", align_corners=True)
    y = F.conv2d(y, state[f"{up}.weight"], state.get(f"{up}.bias"), padding=1)
    return norm(state, up_norm, y) if level else y


def part(state, name):
    return {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(name + ".")}


def join(**parts):
    return {f"{n}.{k}": v for n, state in parts.items() for k, v in state.items()}


def linear(rng, out, inner):
    return {"weight": 3 * random(rng, out, inner), "bias": random(rng, out)}


def inner_product(rng):
    return {"scale": random(rng, MAPS) + 1, "bias": random(rng, 1)}


def make(layout):
    """A checkpoint of random weights in float64."""
    rng = np.random.default_rng(3)
    if layout == "clipsep":
        return join(
            sound_net=random_unet(rng, "nested", MAPS),
            frame_net=linear(rng, MAPS, DIM),
            synth_net=inner_product(rng),
        )
    if layout == "clipsep_nit":
        heads = {
            f"{n}.{k}": v for n in "01" for k, v in linear(rng, MAPS, MAPS).items()
        }
        return {**make("clipsep"), **join(pit_nets=heads)}
    if layout == "clipsep_middle":
        return join(
            sound_net=random_unet(rng, "named", 1, condition=MAPS),
            frame_net=linear(rng, MAPS, DIM),
            synth_net=inner_product(rng),
        )
    return join(
        sound_net=random_unet(rng, "named", MAPS, condition=4),
        frame_net_mid=linear(rng, 4, DIM),
        frame_net_late=linear(rng, MAPS, DIM),
        synth_net=inner_product(rng),
    )


def project(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).sigmoid()


def weigh(state, name, query, maps):
    """Scaled inner product of queries (B, K) and maps, and one bias."""
    scaled = query * state[f"{name}.scale"]
    return torch.einsum("bk,bkft->bft", scaled, maps) + state[f"{name}.bias"]


def masks(layout, state, feature, visual, last_source=False):
    """Masks (B, N, F, T), one pass of the network per source."""
    unet = part(state, "sound_net")
    found = []
    for n in range(visual.size(1)):
        if layout == "clipsep_middle":
            condition = project(state, "frame_net", visual[:, n])
            logits = unet_maps(unet, "named", feature, condition)[:, 0]
        elif layout == "hfra":
            seen = visual[:, -1 if last_source else n]
            condition = project(state, "frame_net_mid", seen)
            maps = unet_maps(unet, "named", feature, condition)
            query = project(state, "frame_net_late", visual[:, n])
            logits = weigh(state, "synth_net", query, maps)
        else:
            query = project(state, "frame_net", visual[:, n])
            logits = weigh(
                state, "synth_net", query, unet_maps(unet, "nested", feature)
            )
        found.append(logits.sigmoid())
    return torch.stack(found, dim=1)


def build(converted, tmp_path, dtype):
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(converted.config))
    model = build_model(load_config(path), with_teacher=False).to(dtype).eval()
    model.load_state_dict(converted.state, strict=True)
    return model


INPUTS = {
    torch.float64: 1e-10,
    torch.float32: 2e-5,
}


@pytest.mark.parametrize(("dtype", "tolerance"), INPUTS.items())
@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("clipsep", {}),
        ("clipsep_nit", {}),
        ("clipsep_middle", {}),
        ("hfra", {}),
        ("hfra", {"condition": "last_source"}),
    ],
)
def test_same_masks(tmp_path, layout, options, dtype, tolerance):
    state = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in make(layout).items()
    }
    rng = np.random.default_rng(5)
    feature = torch.from_numpy(rng.normal(size=(2, 1, 64, 128)) * 3).to(dtype)
    visual = torch.from_numpy(rng.normal(size=(2, 3, DIM))).to(dtype)
    name = layout.removesuffix("_nit")
    expected = masks(name, state, feature, visual, last_source=bool(options))
    given = {f"module.{key}": value for key, value in state.items()}
    converted = released.convert(released.merge([given]), **options)
    assert converted.layout == name
    with torch.no_grad():
        model = build(converted, tmp_path, dtype)
        logits, _ = model.separator(feature, visual)
    assert expected.min() < 0.1 and expected.max() > 0.9
    # What the picture does to the bottleneck of a random network is little.
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 1e-3
    assert (logits.sigmoid() - expected).abs().max() <= tolerance


def test_what_is_not_used_is_named():
    unused = released.convert(make("clipsep_nit")).unused
    assert {name.split(".")[0] for name in unused} == {"pit_nets"} and len(unused) == 4
    unused = released.convert(make("clipsep_middle")).unused
    assert "synth_net.scale" in unused
    deepest = "sound_net.unet_block." + "submodule." * (LEVELS - 1) + "downnorm.bias"
    assert deepest in unused and len(unused) == 12


def sound_of_pixels(rng):
    """Its three files, and the frame network as torchvision has it."""
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None)
    for module in network.layer4.modules():
        if isinstance(module, torch.nn.Conv2d):
            if module.stride == (2, 2):
                module.stride = (1, 1)
            elif module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    features = torch.nn.Sequential(*list(network.children())[:-2]).eval()
    frame = {f"features.{k}": v for k, v in features.state_dict().items()}
    frame["fc.weight"] = random(rng, MAPS, 512, 3, 3).float()
    frame["fc.bias"] = random(rng, MAPS).float()
    sound = {k: v.float() for k, v in random_unet(rng, "nested", MAPS).items()}
    synthesizer = {k: v.float() for k, v in inner_product(rng).items()}
    return features, [sound, frame, synthesizer]


def test_sound_of_pixels(tmp_path):
    rng = np.random.default_rng(3)
    features, (sound, frame, synthesizer) = sound_of_pixels(rng)
    names = ("sound", "frame", "synthesizer")
    words = ["--output_dir", str(tmp_path / "model")]
    for name, state in zip(names, (sound, frame, synthesizer), strict=True):
        torch.save(
            state,
            tmp_path / f"{name}_best.pth",
            _use_new_zipfile_serialization=False,  # as they were written in 2019
        )
        words += ["--checkpoint", str(tmp_path / f"{name}_best.pth")]
    assert avsep_import_checkpoint.main(words) == 0
    separate = SeparateAV.from_pretrained(tmp_path / "model")
    assert separate.sample_rate == 11025 and separate.model.encoder.n_fft == 1022

    # From the waveform on: STFT, log frequency by grid_sample, logarithm, networks.
    wav = torch.from_numpy(rng.normal(size=(1, 256 * 63))).float()
    frames = torch.from_numpy(rng.integers(0, 256, (1, 2, 3, 3, 32, 32), np.uint8))
    separate.model.visual_adapter.size = 32  # smaller than 224, for the test's time
    spectrum = torch.stft(
        wav, 1022, 256, window=torch.hann_window(1022), return_complex=True
    )
    magnitude = spectrum.abs()[:, None] + 1e-10
    row = (21 ** (torch.linspace(0, 1, 256, dtype=torch.float64)) - 11) / 10
    grid = torch.stack(
        torch.broadcast_tensors(
            torch.linspace(-1, 1, 64, dtype=torch.float64), row[:, None]
        ),
        dim=-1,
    )[None].float()
    feature = F.grid_sample(magnitude, grid, align_corners=True).log()
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    with torch.no_grad():
        pictures = (frames / 255 - mean[:, None, None]) / std[:, None, None]
        maps = features(pictures.flatten(0, 2))
        maps = F.conv2d(maps, frame["fc.weight"], frame["fc.bias"], padding=1)
        visual = maps.unflatten(0, (2, 3)).amax(dim=(1, 3, 4))  # (N, K)
        state = join(s=synthesizer)
        sounds = unet_maps(sound, "nested", feature).expand(2, -1, -1, -1)
        expected = weigh(state, "s", visual.sigmoid(), sounds).sigmoid()
        _, found = separate.model.separate(wav, frames)
    assert expected.max() - expected.min() > 0.5
    # Logarithms of bins that are nearly empty magnify the rounding of two STFTs.
    assert (found[0] - expected).abs().max() <= 1e-4
    # The separator alone, on the same feature and embeddings.
    with torch.no_grad():
        found, _ = separate.model.separator(feature, visual[None])
        assert (found[0].sigmoid() - expected).abs().max() <= 2e-5
        double = {k: v.double() for k, v in {**sound, **state}.items()}
        maps = unet_maps(double, "nested", feature.double()).expand(2, -1, -1, -1)
        expected = weigh(double, "s", visual.double().sigmoid(), maps).sigmoid()
        separator = separate.model.separator.double()
        found, _ = separator(feature.double(), visual[None].double())
    assert (found[0].sigmoid() - expected).abs().max() <= 1e-10


def test_command(tmp_path, capsys):
    state = {k: v.float() if v.dim() else v for k, v in make("hfra").items()}
    path = tmp_path / "model_131.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    words = ["--checkpoint", str(path), "--output_dir", str(tmp_path / "model")]
    assert avsep_import_checkpoint.main([*words, "--sample_rate", "16000"]) == 0
    separate = SeparateAV.from_pretrained(tmp_path / "model")
    assert separate.sample_rate == 16000
    rng = np.random.default_rng(0)
    wav = torch.from_numpy(rng.normal(size=(1, 256 * 63))).float()
    visual = torch.from_numpy(rng.normal(size=(1, 2, 1, DIM))).float()
    _, found = separate.model.separate(wav, visual)
    # The same by the functions alone: the file says what convert() says.
    model = build(released.convert(state), tmp_path, torch.float32)
    torch.testing.assert_close(found, model.separate(wav, visual)[1], rtol=0, atol=0)
    # A picture would want CLIP: that its weights are not on record is no error.
    info = (tmp_path / "model" / "visual_info.yaml").read_text()
    assert "pretrained: openai" in info and "weights: null" in info

    assert avsep_import_checkpoint.main([*words, "--layout", "clipsep"]) == 2
    assert "the names are those of hfra" in capsys.readouterr().err
    assert avsep_import_checkpoint.main([*words, "--n_fft", "-1"]) == 2
    (tmp_path / "model" / "meta.yaml").unlink()
    assert avsep_import_checkpoint.main(words) == 2
    assert "holds an experiment" in capsys.readouterr().err


def refused(state, message, **options):
    with pytest.raises(InputError, match=message):
        released.convert(released.merge([state]), **options)


def test_unknown_layouts_are_refused_by_name():
    state = make("clipsep")
    refused({"backbone.x": torch.ones(1)}, "no known layout.*backbone.x.*early fusion")
    refused({**state, "attention.q": torch.ones(1)}, "layout clipsep: attention.q")
    refused(
        {**state, "sound_net.unet_block.model.0.bias": torch.ones(2)}, "model.0.bia"
    )
    key = "sound_net.unet_block.model.1.model.2.running_var"
    refused({k: v for k, v in state.items() if k != key}, f"has no '{key}'")
    key = "sound_net.unet_block.model.0.weight"
    refused({**state, key: torch.ones(3, 1, 4, 4)}, r"\[3, 4, 8, 16, 16, 16\] channels")
    refused({**state, "frame_net.weight": torch.ones(3)}, "expected .out, in.")
    middle = make("clipsep_middle")
    key = "sound_net.unet_block.upconv.weight"
    refused({**middle, key: torch.ones(2, 4, 3, 3)}, "2 output maps")
    refused(state, "has no such choice", condition="last_source")
    refused(state, "expected auto or one of", layout="iquery")
    refused({"state_dict": {"a": 1}, "epoch": 3}, "holds other things than tensors: a;")
    refused({**state, "epoch": 3}, "holds other things than tensors: epoch;")
    refused({"state_dict": {}, "epoch": 3}, "holds no tensors")
    refused({}, "holds no tensors")


def test_shapes_that_do_not_fit(tmp_path, capsys):
    state = {**make("clipsep"), "synth_net.scale": torch.ones(MAPS + 1)}
    torch.save(state, tmp_path / "a.pt")
    words = ["--checkpoint", str(tmp_path / "a.pt"), "--output_dir"]
    assert avsep_import_checkpoint.main([*words, str(tmp_path / "model")]) == 2
    assert "separator.late_scale is (6,), expected (5,)" in capsys.readouterr().err
    with pytest.raises(InputError):
        SeparateAV.from_pretrained(tmp_path / "model")


def test_files_of_sound_of_pixels_that_do_not_belong_together():
    rng = np.random.default_rng(0)
    sound = random_unet(rng, "nested", MAPS)
    with pytest.raises(InputError, match="two files are the part net_sound"):
        released.merge([sound, sound])
    with pytest.raises(InputError, match=r"begin with a\.b"):
        released.merge([sound, {"a.b": torch.ones(1)}])
    with pytest.raises(InputError, match="no known layout.*net_sound.bn0"):
        released.convert(released.merge([sound, inner_product(rng)]))


class Evil:
    def __reduce__(self):
        return (open, ("written", "w"))


def test_pickled_code_is_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, "a.pth", _use_new_zipfile_serialization=False)
    words = ["--checkpoint", "a.pth", "--output_dir", "model"]
    assert avsep_import_checkpoint.main(words) == 2
    assert "cannot be read as a file of weights" in capsys.readouterr().err
    assert not (tmp_path / "written").exists()


def test_the_last_source_needs_hierarchical_fusion():
    from espnet2_avsep.separator.hfra_separator import HFRASeparator

    with pytest.raises(ValueError, match="only hierarchical fusion"):
        HFRASeparator(fusion="middle", middle_condition="last_source")
    with pytest.raises(ValueError, match="expected one of"):
        HFRASeparator(middle_condition="first")


def test_the_command_offers_every_layout():
    assert ("auto", *released.LAYOUTS) == avsep_import_checkpoint.LAYOUTS
