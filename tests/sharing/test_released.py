"""Released checkpoints: the masks of the converted model are those of the layout.

The reference computes from the tensors by their released names, with torch's functions
and no network of this package.
"""

import copy

import numpy as np
import pytest
import torch
from released_layouts import (
    DIM,
    LEVELS,
    MAPS,
    avpc,
    avpc_maps,
    avpc_masks,
    co_separation,
    co_separation_embedding,
    co_separation_masks,
    floats,
    inner_product,
    make,
    random_unet,
    released_masks,
    sound_of_pixels,
    sound_of_pixels_masks,
    sound_of_pixels_query,
    tracks_of,
)

from espnet2_avsep import SeparateAV
from espnet2_avsep.bin import avsep_import_checkpoint
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.separate import load_config
from espnet2_avsep.sharing import released
from espnet2_avsep.tasks.choices import build_model


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
    expected = released_masks(name, state, feature, visual, last_source=bool(options))
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


def training_masks(layout, states, feature, visual):
    """Masks of a training step, one pass of the network per source."""
    if layout == "sound_of_pixels":
        return sound_of_pixels_masks(*states, feature, visual.sigmoid())
    if layout == "avpc":
        maps = visual.unflatten(-1, (-1, 2, 2))
        return avpc_masks(*states, feature, maps)
    if layout == "co_separation":  # all objects of a batch are one batch
        repeated = feature.repeat_interleave(visual.size(1), dim=0)
        objects = visual.flatten(0, 1)[:, None]
        return co_separation_masks(*states, repeated, objects).view(
            *visual.shape[:2], *feature.shape[2:]
        )
    return released_masks(layout, *states, feature, visual)


# iQuery and DGFNet need more than pictures: test_released_query_layouts.py.
PICTURES_ONLY = [n for n in released.LAYOUTS if n not in ("iquery", "dgfnet")]


@pytest.mark.parametrize("layout", PICTURES_ONLY)
def test_same_masks_and_gradients_in_a_training_step(tmp_path, layout):
    """BatchNorm by the statistics of the batch, of each source or of all objects."""
    several = {"sound_of_pixels": (sound_of_pixels, (0, 2)), "avpc": (avpc, (0,))}
    several["co_separation"] = (co_separation, (0,))
    if layout in several:
        make_files, kept = several[layout]
        files = make_files()[1]
        states = [files[n] for n in kept]
    else:
        files = states = [floats(make(layout))]
    model = build(released.convert(released.merge(files)), tmp_path, torch.float64)
    separator = model.separator.train()
    doubles = [
        {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
        for state in states
    ]
    if layout in ("hfra", "clipsep", "clipsep_middle"):
        doubles[0]["sound_net.training"] = torch.ones(1)
    else:
        doubles[0]["training"] = torch.ones(1)
    rng = np.random.default_rng(5)
    frames = 256 if layout == "avpc" else 64
    feature = torch.from_numpy(rng.normal(size=(2, 1, frames, frames)))
    visual = torch.from_numpy(rng.normal(size=(2, 3, separator.visual_dim)))
    weight = torch.from_numpy(rng.normal(size=(2, 3, frames, frames)))
    found, gradients = [], []
    for compute in (
        lambda x: separator(x, visual)[0].sigmoid(),
        lambda x: training_masks(layout, doubles, x, visual),
    ):
        x = feature.clone().requires_grad_()
        found.append(compute(x))
        gradients.append(torch.autograd.grad((found[-1] * weight).sum(), x)[0])
    assert (found[1][:, 0] - found[1][:, 1]).abs().max() > 1e-3
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-10)
    size = gradients[1].abs().max()
    assert (gradients[0] - gradients[1]).abs().max() < 1e-8 * size


def test_what_is_not_used_is_named():
    unused = released.convert(make("clipsep_nit")).unused
    assert {name.split(".")[0] for name in unused} == {"pit_nets"} and len(unused) == 4
    unused = released.convert(make("clipsep_middle")).unused
    assert "synth_net.scale" in unused
    deepest = "sound_net.unet_block." + "submodule." * (LEVELS - 1) + "downnorm.bias"
    assert deepest in unused and len(unused) == 12


def released_system(layout):
    """Files of a layout, its visual input, its masks, its STFT, its samples."""
    rng = np.random.default_rng(7)
    size, frames = (32, 2) if layout == "sound_of_pixels" else (64, 2)
    shape = (1, 2, 1 if layout == "co_separation" else frames, 3, size, size)
    pictures = torch.from_numpy(rng.integers(0, 256, shape, np.uint8))
    samples = 256 * (255 if layout == "avpc" else 63)
    if layout == "sound_of_pixels":
        features, files = sound_of_pixels()
        query = sound_of_pixels_query(features, files[1], pictures)

        def masks(feature, double=lambda x: x):
            parts = [{k: double(v) for k, v in files[n].items()} for n in (0, 2)]
            return sound_of_pixels_masks(*parts, double(feature), double(query))

        return files, pictures, query.logit(), masks, (1022, "reflect", True), samples
    if layout == "co_separation":
        features, files = co_separation()
        embedding = co_separation_embedding(features, files[1], pictures)

        def masks(feature, double=lambda x: x):
            unet = {k: double(v) for k, v in files[0].items()}
            return co_separation_masks(unet, double(feature), double(embedding))

        return files, pictures, embedding, masks, (1022, "reflect", True), samples
    if layout == "avpc":
        features, files = avpc()
        maps = avpc_maps(features, files[1], pictures)

        def masks(feature, double=lambda x: x):
            sound = {k: double(v) for k, v in files[0].items()}
            return avpc_masks(sound, double(feature), double(maps))

        embedding = maps.flatten(2)
        return files, pictures, embedding, masks, (1022, "constant", False), samples
    state = floats(make(layout))
    visual = torch.from_numpy(rng.normal(size=(1, 2, DIM))).float()

    def masks(feature, double=lambda x: x):
        given = {k: double(v) for k, v in state.items()}
        return released_masks(layout, given, double(feature), double(visual))

    return [state], visual[:, :, None], visual, masks, (1024, "constant", True), samples


@pytest.mark.parametrize("layout", PICTURES_ONLY)
@torch.no_grad()
def test_same_tracks_from_the_waveform_on(tmp_path, layout):
    files, given, embedding, masks, stft, samples = released_system(layout)
    words = ["--output_dir", str(tmp_path / "model")]
    for n, state in enumerate(files):
        torch.save(
            state,
            tmp_path / f"{n}.pth",
            _use_new_zipfile_serialization=False,  # as they were written in 2019
        )
        words += ["--checkpoint", str(tmp_path / f"{n}.pth")]
    assert avsep_import_checkpoint.main(words) == 0
    separate = SeparateAV.from_pretrained(tmp_path / "model")
    model = separate.model
    if layout == "sound_of_pixels":
        model.visual_adapter.size = 32  # smaller than 224, for the test's time
    assert model.encoder.n_fft == stft[0]

    # The separator in float64, on the same feature.
    rng = np.random.default_rng(3)
    feature = torch.from_numpy(rng.normal(size=(1, 1, 256, samples // 256 + 1))).float()
    expected = masks(feature, torch.Tensor.double)
    assert expected.max() - expected.min() > 0.3
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 1e-3
    network = copy.deepcopy(model.separator).double()
    logits, _ = network(feature.double(), embedding.double())
    # A sigmoid of float32 values has no exact inverse.
    tolerance = 1e-6 if layout == "sound_of_pixels" else 1e-10
    assert (logits.sigmoid() - expected).abs().max() <= tolerance

    # From waveform and pictures (or embeddings) to waveforms.
    wav = torch.from_numpy(rng.normal(size=(1, samples))).float() / 4
    for rounded in (False, True):
        expected = tracks_of(masks, wav, *stft, rounded)
        found, _ = model.separate(wav, given, binary_mask=rounded)
        error = (found - expected).square().sum() / expected.square().sum()
        # Where a mask is close to 1/2, rounding it may fall to either side.
        assert 10 * error.log10() < (-45 if rounded else -70), rounded


@torch.no_grad()
def test_the_warp_and_the_padding_can_be_chosen(tmp_path, caplog):
    """Weights that a program without align_corners trained with torch 1.3 or later."""
    caplog.set_level("INFO")
    files, given, _, masks, _, samples = released_system("co_separation")
    words = ["--output_dir", str(tmp_path / "model")]
    for n, state in enumerate(files[:2]):
        torch.save(state, tmp_path / f"{n}.pth")
        words += ["--checkpoint", str(tmp_path / f"{n}.pth")]
    words += ["--warp_align_corners", "false", "--stft_padding", "zeros"]
    assert avsep_import_checkpoint.main(words) == 0
    assert "warp_align_corners: False" in caplog.text
    assert "stft_padding: zeros" in caplog.text
    model = SeparateAV.from_pretrained(tmp_path / "model").model
    wav = torch.from_numpy(np.random.default_rng(3).normal(size=(1, samples))).float()
    expected = tracks_of(masks, wav, 1022, "constant", False, False)
    found, _ = model.separate(wav, given)
    error = (found - expected).square().sum() / expected.square().sum()
    assert 10 * error.log10() < -70
    other = tracks_of(masks, wav, 1022, "reflect", True, False)
    assert (found - other).square().sum() / other.square().sum() > 1e-3


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
    refused(state, "expected auto or one of", layout="other")
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
