"""Checkpoints with iQuery's names, and DGFNet's: tracks equal their equations.

DGFNet's names are derived; see espnet2_avsep/sharing/released.py.
"""

import pytest
import torch
from released_layouts import maps_of, resnet18, tracks_of
from torch.nn import functional as F

from espnet2_avsep import SeparateAV
from espnet2_avsep.bin import avsep_import_checkpoint
from espnet2_avsep.corpus.music import INSTRUMENTS
from espnet2_avsep.data.tables.class_labels import class_numbers
from espnet2_avsep.errors import InputError
from espnet2_avsep.sharing import released
from tests.separator import released_queries

LEVELS, CHANNELS, MAPS, SEEN, MOTION, QUERIES, DIM = 5, 8, 8, 6, 7, 4, 32
WIDTHS = [CHANNELS * min(2**n, 8) for n in range(LEVELS)]
ATTENDED = {"iquery": (), "dgfnet": (4, 3, 2, 1)}
DECODER_PARTS = (
    *("self_attn", "norm1", "multihead_attn", "norm2"),
    *("cross_attn_motion", "norm4"),
)


def normal(*shape):
    return torch.randn(shape) / max(1, torch.tensor(shape[1:]).prod()) ** 0.5


def norm(size):
    return {
        "weight": 1 + torch.randn(size) / 4,
        "bias": torch.randn(size) / 4,
        "running_mean": torch.randn(size) / 4,
        "running_var": torch.rand(size) + 0.5,
        "num_batches_tracked": torch.tensor(3),
    }


def affine(out, inside):
    return {"weight": normal(out, inside), "bias": torch.randn(out) / 8}


def layer_norm(size):
    return {"weight": 1 + torch.randn(size) / 4, "bias": torch.randn(size) / 4}


def attention(dim):
    return {
        "in_proj_weight": normal(3 * dim, dim),
        "in_proj_bias": torch.randn(3 * dim) / 4,
        "out_proj.weight": normal(dim, dim),
        "out_proj.bias": torch.randn(dim) / 4,
    }


def parts(layout):
    """Name in the file, name for the equations, weights; of each part of a network."""
    sound = [("bn0", "encoder.input_norm", norm(1))]
    for n, width in enumerate(WIDTHS):
        level = n + 1
        inside = WIDTHS[n - 1] if n else 1
        weight = {"weight": normal(width, inside, 4, 4)}
        sound.append((f"downconv{level}", f"encoder.convs.{n}", weight))
        if 1 < level < LEVELS:
            sound.append((f"downnorm{level}", f"encoder.norms.{n}", norm(width)))
        place = LEVELS - 1 - n
        block = f"decoder.blocks.{place}" if n else "decoder.last"
        out = WIDTHS[n - 1] if n else MAPS
        below = width if n == LEVELS - 1 else 2 * width
        weight = {"weight": 2 * normal(out, below, 3, 3)}
        sound.append((f"upconv{level}", f"{block}.conv", weight))
        if level in ATTENDED[layout]:
            ours, c = f"decoder.attentions.{place}", out // 8
            name = f"attention{level}"
            maps = {"weight": normal(c, c, 1, 1), "bias": torch.randn(c)}
            sound.append((f"{name}.conv1x1", f"{ours}.axes", maps))
            sound.append((f"{name}.gn", f"{ours}.norm", layer_norm(c)))
            weight = {"weight": normal(c, c, 3, 3)}
            sound.append((f"{name}.conv3x3.0", f"{ours}.local", weight))
            sound.append((f"{name}.conv3x3.1", f"{ours}.local_norm", norm(c)))
        if n:
            sound.append((f"upnorm{level}", f"{block}.norm", norm(out)))
    if layout == "dgfnet":
        sound.append(("fuse", "fusion.projection", affine(WIDTHS[2], SEEN)))
    queries = [
        ("query_embed", "queries", {"weight": torch.randn(QUERIES, DIM)}),
        ("upobj", "queries.projection", affine(DIM, SEEN)),
        ("down", "transformer.motion_projection", affine(DIM, MOTION)),
        ("transformer.decoder.norm", "transformer.final_norm", layer_norm(DIM)),
    ]
    for n, out in enumerate((DIM, DIM, MAPS)):
        part = (f"mask_embed.layers.{n}", f"mask_head.{2 * n}", affine(out, DIM))
        queries.append(part)
    inner = ("linear1", "linear2")
    theirs, ours = "transformer.encoder.layers.0", "transformer.encoder.0"
    queries.append((f"{theirs}.self_attn", f"{ours}.self_attn", attention(DIM)))
    for name in inner:
        sizes = (24, DIM) if name == "linear1" else (DIM, 24)
        queries.append((f"{theirs}.{name}", f"{ours}.{name}", affine(*sizes)))
    for name in ("norm1", "norm2"):
        queries.append((f"{theirs}.{name}", f"{ours}.{name}", layer_norm(DIM)))
    for n in range(4):
        theirs = f"transformer.decoder.layers.{n}"
        ours = f"transformer.layers.{n - 1}" if n else "transformer.motion_layer"
        targets = dict.fromkeys(DECODER_PARTS)  # None: there, but not used
        if n:
            targets.update(self_attn="self_attention", norm1="self_norm")
            targets.update(multihead_attn="cross_attention", norm2="cross_norm")
        else:
            targets.update(cross_attn_motion="cross_attention", norm4="cross_norm")
        for name, target in targets.items():
            part = layer_norm(DIM) if name.startswith("norm") else attention(DIM)
            target = target and f"{ours}.{target}"
            queries.append((f"{theirs}.{name}", target, part))
        for name, number in zip(inner, (0, 2), strict=True):
            sizes = (24, DIM) if name == "linear1" else (DIM, 24)
            target = f"{ours}.feedforward.{number}"
            queries.append((f"{theirs}.{name}", target, affine(*sizes)))
        target = f"{ours}.feedforward_norm"
        queries.append((f"{theirs}.norm3", target, layer_norm(DIM)))
    return sound, queries


def checkpoint(layout):
    """Three files, the weights for the equations, and the frame network."""
    torch.manual_seed(5)  # masks are neither near 1/2 nor 0 or 1
    sound, queries = parts(layout)
    files = [
        {f"{name}.{k}": v for name, _, part in found for k, v in part.items()}
        for found in (sound, queries)
    ]
    for name in ("upobj.weight", "down.weight"):  # convolutions of kernel 1
        files[1][name] = files[1][name][:, :, None]
    weights = {
        f"{name}.{k}": v
        for _, name, part in sound + queries
        if name
        for k, v in part.items()
    }
    weights["queries.base"] = weights.pop("queries.weight")
    features = resnet18(dilate=True)
    frame = {f"features.{k}": v for k, v in features.state_dict().items()}
    frame["fc.weight"] = normal(SEEN, 512, 3, 3)
    frame["fc.bias"] = torch.randn(SEEN)
    if layout == "dgfnet":
        for name in ("gate_a", "gate_b"):  # computed there, without effect
            files[0][f"{name}.weight"] = normal(1, WIDTHS[2], 1, 1)
            files[0][f"{name}.bias"] = torch.randn(1)
    return [files[0], frame, files[1]], weights, features


def command(tmp_path, files):
    words = ["--output_dir", str(tmp_path / "model")]
    for n, state in enumerate(files):
        torch.save(state, tmp_path / f"{n}.pth")
        words += ["--checkpoint", str(tmp_path / f"{n}.pth")]
    return words


@pytest.mark.parametrize("layout", ["iquery", "dgfnet"])
@torch.no_grad()
def test_same_tracks_from_the_waveform_on(tmp_path, layout):
    files, weights, features = checkpoint(layout)
    assert avsep_import_checkpoint.main(command(tmp_path, files)) == 0
    separate = SeparateAV.from_pretrained(tmp_path / "model")
    model = separate.model
    model.visual_adapter.size = 32  # smaller than 224, for the test's time
    assert separate.sample_rate == 11025 and list(separate.classes) == list("0123")

    pictures = torch.randint(256, (1, 2, 3, 3, 32, 32)).byte()
    maps = F.conv2d(
        maps_of(features, pictures), files[1]["fc.weight"], files[1]["fc.bias"], 1, 1
    )
    visual = maps.unflatten(0, (1, 2, 3)).amax(dim=(2, 4, 5)).sigmoid()
    motion, labels = torch.randn(1, 2, 9, MOTION), torch.tensor([[3, 1]])

    def masks(feature):
        double = {k: v.double() for k, v in weights.items()}
        return released_queries.masks(
            double,
            feature.double(),
            visual.double(),
            motion.double(),
            labels,
            levels=LEVELS,
            middle=3,
            heads=8,
            attended=ATTENDED[layout],
        )[1].float()

    wav = torch.randn(1, 256 * 63) / 4
    stft = (1022, "constant", layout == "dgfnet")
    expected = tracks_of(masks, wav, *stft, False, torch.log1p)
    told = {"motion": motion, "labels": labels}
    found, mask = model.separate(wav, pictures, **told)
    assert mask.std() > 0.03 and (mask[:, 0] - mask[:, 1]).abs().max() > 1e-3
    error = (found - expected).square().sum() / expected.square().sum()
    assert 10 * error.log10() < -80


def test_a_bias_before_the_attentions_norm_moves_its_mean():
    files, _, _ = checkpoint("dgfnet")
    name = "attention1.conv3x3"
    files[0][f"{name}.0.bias"] = torch.tensor([0.5])
    target = "separator.decoder.attentions.4.local_norm.running_mean"
    mean = released.convert(released.merge(files)).state[target]
    torch.testing.assert_close(mean, files[0][f"{name}.1.running_mean"] - 0.5)


def test_what_is_missing_or_left_over_is_named():
    files, _, _ = checkpoint("iquery")
    sound, frame, queries = files
    found = released.convert(released.merge(files))
    assert found.layout == "iquery"
    idle = {0: DECODER_PARTS[:4], **dict.fromkeys((1, 2, 3), DECODER_PARTS[4:])}
    prefixes = tuple(
        f"transformer.decoder.layers.{n}.{part}." for n in idle for part in idle[n]
    )
    expected = {f"net_maskformer.{k}" for k in queries if k.startswith(prefixes)}
    assert set(found.unused) == expected and len(expected) == 12 + 3 * 6
    dgfnet = released.convert(released.merge(checkpoint("dgfnet")[0]))
    assert dgfnet.layout == "dgfnet"
    assert len(dgfnet.unused) == len(found.unused) + 4
    name = "transformer.decoder.layers.2.self_attn.in_proj_bias"
    motion = "transformer.decoder.layers.0.cross_attn_motion.in_proj_weight"
    for change, message in (
        ({**queries, "class_embed.x": torch.ones(3)}, "part of .*y: .*class_embed.x"),
        ({**queries, "fuse.weight": torch.ones(3, SEEN)}, "part of .*y: .*fuse.weight"),
        *(
            ({k: v for k, v in queries.items() if k != n}, f"has no 'net_.*{n}'")
            for n in (name, motion, "down.weight", "upobj.weight")
        ),
        (
            {**queries, "down.weight": torch.ones(DIM, MOTION, 3)},
            r"3.; expected .out, in",
        ),
    ):
        with pytest.raises(InputError, match=message):
            released.convert(released.merge([sound, frame, change]))
    # The names of Sound of Pixels' U-Net, and a linear layer that only DGFNet has.
    nested = {"bn0.weight": torch.ones(1), "unet_block.model.0.weight": torch.ones(1)}
    with pytest.raises(InputError, match="no known layout.*iquery .*downconv1"):
        released.convert(released.merge([nested, frame, queries]))
    fused = {**sound, "fuse.weight": torch.ones(3, SEEN)}
    with pytest.raises(InputError, match="layout iquery: net_sound.fuse.weight"):
        released.convert(released.merge([fused, frame, queries]))


@pytest.mark.parametrize("name", ["attention", "x.attention4", "attention9"])
def test_an_attention_without_its_level_is_refused(name):
    sound, frame, queries = checkpoint("dgfnet")[0]
    sound = {
        f"{name}.{k[11:]}" if k.startswith("attention1.") else k: v
        for k, v in sound.items()
    }
    with pytest.raises(InputError, match=r"attention\d?: .* end in the number of"):
        released.convert(released.merge([sound, frame, queries]))


def test_twelve_queries_are_the_classes_of_music_in_alphabetical_order(caplog):
    caplog.set_level("INFO")
    sound, frame, queries = checkpoint("iquery")[0]
    found = released.convert(released.merge([sound, frame, queries])).config
    assert found["classes"] == ["0", "1", "2", "3"]
    assert '4 queries: their classes are named "0" to "3"' in caplog.text
    queries = {**queries, "query_embed.weight": torch.ones(12, DIM)}
    found = released.convert(released.merge([sound, frame, queries])).config
    assert found["separator_conf"]["num_queries"] == 12
    assert "the classes of MUSIC" in caplog.text
    numbers = class_numbers(found["classes"])
    assert list(numbers) == sorted(numbers) and set(numbers) < INSTRUMENTS
    assert (numbers["accordion"], numbers["tuba"], numbers["xylophone"]) == (0, 8, 10)
    assert len(numbers) == 11 and found["classes"][11] is None
