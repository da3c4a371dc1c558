import ast
import dataclasses
import importlib
import json
import logging
import math
import sys
import typing
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
import torch.nn.functional as F
import torchaudio
import torchvision
from torchlibrosa.stft import LogmelFilterBank, Spectrogram

from espnet2_avsep.errors import InputError
from espnet2_avsep.teacher.abs_teacher import AbsTeacher
from espnet2_avsep.teacher.clap_teacher import ClapTeacher
from espnet2_avsep.teacher.htsat import build_htsat, import_htsat

TINY = {"embed_dim": 24, "depths": [1, 1, 1, 2], "num_heads": [1, 2, 4, 8]}
TYPES = ("Callable", "Optional", "Tuple", "Union")
AUDIO_CFG = {
    "sample_rate": 48000,
    "window_size": 1024,
    "hop_size": 480,
    "fmin": 50,
    "fmax": 14000,
}


def tiny(**kwargs) -> ClapTeacher:
    return ClapTeacher(**{"checkpoint": "random", "htsat_conf": TINY, **kwargs})


def laion_source(path: str, names: str, **space) -> dict:
    """Run some definitions of a file of laion_clap that is too heavy to import."""
    folder = Path(find_spec("laion_clap").submodule_search_locations[0])
    tree = ast.parse((folder / path).read_text(encoding="utf-8"))
    wanted = names.split()
    tree.body = [node for node in tree.body if getattr(node, "name", "") in wanted]
    assert len(tree.body) == len(wanted)
    space.update({"np": np, "torch": torch, "F": F, "__name__": __name__})
    exec(compile(tree, path, "exec"), space)
    return space


def laion_features(wav: np.ndarray, truncating: str) -> dict:
    """What laion_clap's ``get_audio_embedding_from_data`` feeds to its model."""
    laion = laion_source(
        "training/data.py",
        "int16_to_float32 float32_to_int16 get_mel get_audio_features",
        torchaudio=torchaudio,
        torchvision=torchvision,
    )
    wav = laion["int16_to_float32"](laion["float32_to_int16"](wav))
    return laion["get_audio_features"](
        {}, torch.from_numpy(wav), 480000, truncating, "repeatpad", AUDIO_CFG
    )


def noise(*shape: int, seed: int = 0, scale: float = 0.1) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def teacher() -> ClapTeacher:
    return tiny()


def test_importing_htsat_leaves_laion_clap_alone():
    before = {name for name in sys.modules if name.split(".")[0] == "laion_clap"}
    path = list(sys.path)
    module = import_htsat()
    assert module is import_htsat()
    after = {name for name in sys.modules if name.split(".")[0] == "laion_clap"}
    assert after == before
    assert sys.path == path
    assert "clap_module" not in sys.modules


def test_missing_laion_clap_is_named(monkeypatch):
    htsat = importlib.import_module("espnet2_avsep.teacher.htsat")
    monkeypatch.setattr(htsat, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install laion_clap"):
        import_htsat()


@pytest.mark.parametrize(
    "wav",
    [
        noise(1, 480000),
        torch.sin(2 * math.pi * 440 / 48000 * torch.arange(480000))[None],
        torch.zeros(1, 480000),
    ],
    ids=["noise", "tone", "silence"],
)
def test_logmel_equals_torchlibrosa(teacher, wav):
    spectrogram = Spectrogram(n_fft=1024, hop_length=480, win_length=1024)
    logmel = LogmelFilterBank(
        sr=48000, n_fft=1024, n_mels=64, fmin=50, fmax=14000, amin=1e-10, top_db=None
    )
    expected = logmel(spectrogram(wav))
    found = teacher.logmel(wav)
    assert found.shape == (1, 1, 1001, 64)
    # Two float32 sums of 1024 products each; a pure tone shows their rounding.
    loud = expected > expected.max() - 60
    torch.testing.assert_close(found[loud], expected[loud], atol=1e-3, rtol=0)
    torch.testing.assert_close(found, expected, atol=0.3, rtol=0)


def test_embedding_equals_laion_clap_forward():
    teacher = tiny(seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        oracle = build_htsat("HTSAT-tiny", htsat_conf=TINY).eval()
    wav = noise(2, 100000, scale=0.4)
    batch = torch.stack(
        [laion_features(w, "rand_trunc")["waveform"] for w in wav.numpy()]
    )
    torch.testing.assert_close(teacher.prepare(wav, 48000), batch, atol=0, rtol=0)
    with torch.no_grad():
        expected = oracle({"waveform": batch}, device="cpu")["embedding"]
        expected = F.normalize(teacher.projection(expected), dim=-1)
    found = teacher(wav, 48000)
    assert found.shape == (2, teacher.output_dim) == (2, 512)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert (found[0] - found[1]).abs().max() > 20 * 2e-5


def test_fusion_embedding_equals_laion_clap_forward():
    teacher = tiny(seed=3, enable_fusion=True)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        oracle = build_htsat("HTSAT-tiny", True, TINY).eval()
    wav = noise(2, 200000, scale=0.4)
    features = [laion_features(w, "fusion") for w in wav.numpy()]
    batch = {
        "mel_fusion": torch.stack([f["mel_fusion"] for f in features]),
        "longer": torch.stack([f["longer"] for f in features]),
    }
    with torch.no_grad():
        expected = oracle(batch, device="cpu")["embedding"]
        expected = F.normalize(teacher.projection(expected), dim=-1)
    torch.testing.assert_close(teacher(wav, 48000), expected, atol=2e-5, rtol=0)


def laion_clap_model() -> torch.nn.Module:
    """laion_clap's own CLAP, full size, with its smallest text tower."""
    htsat = import_htsat()
    space = laion_source(
        "clap_module/model.py",
        "MLPLayers LayerNorm QuickGELU ResidualAttentionBlock Transformer CLAPTextCfg "
        "CLAPAudioCfp CLAP",
        nn=torch.nn,
        OrderedDict=OrderedDict,
        dataclass=dataclasses.dataclass,
        create_htsat_model=htsat.create_htsat_model,
        **{name: getattr(typing, name) for name in TYPES},
    )
    folder = Path(find_spec("laion_clap").submodule_search_locations[0])
    config = folder / "clap_module" / "model_configs" / "HTSAT-tiny.json"
    config = json.loads(config.read_text(encoding="utf-8"))
    config["text_cfg"].update(model_type="transformer", layers=1)
    return space["CLAP"](**config).eval()


def test_checkpoint_of_laion_clap_gives_its_embeddings(tmp_path, caplog):
    """The whole path at full size: their model, their checkpoint, their embeddings."""
    oracle = laion_clap_model()
    wav = noise(1, 300000, scale=0.3)
    expected = oracle.get_audio_embedding(
        [laion_features(wav[0].numpy(), "rand_trunc")]
    )
    state = {f"module.{key}": value for key, value in oracle.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "clap.pt")
    with caplog.at_level(logging.INFO):
        teacher = ClapTeacher(str(tmp_path / "clap.pt"))
    audio = sum("audio_branch" in k or "audio_projection" in k for k in state)
    assert f"{audio} tensors of the audio branch loaded" in caplog.text
    assert "6 others ignored" in caplog.text  # audio_transform and the logit scales
    found = teacher(wav, 48000)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 100000, 239999, 240000, 269544, 480000])
def test_prepare_fills_as_laion_clap(teacher, length):
    wav = noise(1, length, scale=0.6)  # some samples beyond 1
    expected = laion_features(wav[0].numpy(), "rand_trunc")["waveform"]
    torch.testing.assert_close(teacher.prepare(wav, 48000)[0], expected, atol=0, rtol=0)


def test_prepare_takes_the_middle_of_a_long_clip(teacher):
    wav = torch.arange(480010) / 500000
    expected = (wav[5:480005] * 32767).trunc() / 32767
    torch.testing.assert_close(teacher.prepare(wav[None], 48000)[0], expected)


def test_resampling_leaves_no_images(teacher):
    """A tone at 5 kHz of 11625 Hz has its image at 6625 Hz."""
    t = torch.arange(65280, dtype=torch.float64) / 11625
    tone = (0.5 * torch.sin(2 * math.pi * 5000 * t)).float()[None]
    wav = teacher._resampler(11625)(tone)
    assert wav.shape == (1, math.ceil(65280 * 48000 / 11625))
    inner = wav[0, 20000:-20000].double()
    inner = inner * torch.hann_window(len(inner), dtype=torch.float64)
    power = torch.fft.rfft(inner).abs().square()
    hertz = torch.fft.rfftfreq(len(inner), 1 / 48000)
    images = power[hertz > 5900].sum() / power.sum()
    assert 10 * images.log10() < -90


def test_resampling_is_close_to_librosa_in_the_log_mel(teacher):
    wav = noise(65280)
    expected = torch.from_numpy(soxr.resample(wav.numpy(), 11625, 48000, "HQ"))
    found = teacher.prepare(wav[None], 11625)
    expected = teacher.prepare(expected[None], 48000)
    length = 269000 // 480
    difference = teacher.logmel(found) - teacher.logmel(expected)
    assert difference[:, :, :length].abs().mean() < 0.5


def test_resampling_does_without_tf32(teacher, monkeypatch):
    seen = []
    resampler = teacher._resampler(16000)
    forward = resampler.forward

    def watch(wav):
        seen.append(torch.backends.cudnn.allow_tf32)
        return forward(wav)

    monkeypatch.setattr(resampler, "forward", watch)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    teacher.prepare(noise(1, 1600), 16000)
    assert seen == [False]
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)


def test_teacher_is_frozen(teacher):
    assert isinstance(teacher, AbsTeacher)
    assert not any(p.requires_grad for p in teacher.parameters())
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    wav = noise(1, 11625).requires_grad_()
    assert not teacher(wav, 11625).requires_grad


def test_output_can_stand_in_a_loss(teacher):
    """Not an inference tensor, which autograd refuses to keep."""
    z = torch.randn(1, 512, requires_grad=True)
    (1 - F.cosine_similarity(z, teacher(noise(1, 11625), 11625))).sum().backward()
    assert z.grad.isfinite().all()


def test_rows_do_not_depend_on_their_batch(teacher):
    wav = noise(3, 30000)
    alone = torch.cat([teacher(w[None], 11625) for w in wav])
    torch.testing.assert_close(teacher(wav, 11625), alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(alone.norm(dim=1), torch.ones(3))


def test_autocast_around_the_teacher_changes_nothing(teacher):
    wav = noise(1, 30000)
    expected = teacher(wav, 11625)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = teacher(wav.bfloat16().float(), 11625)
        same = teacher(wav, 11625)
    assert found.dtype == same.dtype == torch.float32
    assert torch.equal(same, expected)


def test_bfloat16_is_close(teacher, fast_bfloat16):
    wav = noise(2, 30000)
    half = tiny(dtype="bfloat16")
    found = half(wav, 11625)
    assert half.htsat.layers[0].blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found, teacher(wav, 11625)).min() > 0.999


def test_float32_where_bfloat16_is_slow(teacher, slow_bfloat16):
    wav = noise(2, 30000)
    assert torch.equal(tiny(dtype="bfloat16")(wav, 11625), teacher(wav, 11625))


def test_silence_has_an_embedding(teacher):
    found = teacher(torch.zeros(1, 65280), 11625)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1))


def test_random_weights_follow_the_seed_and_leave_the_generator_alone(caplog):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with caplog.at_level(logging.WARNING):
        first, again, other = tiny(seed=7), tiny(seed=7), tiny(seed=8)
    assert torch.equal(torch.rand(3), expected)
    assert "random, seed 7" in caplog.text
    assert first.description == "HTSAT-tiny, random, seed 7"
    wav = noise(1, 11625)
    assert torch.equal(first(wav, 11625), again(wav, 11625))
    assert not torch.allclose(first(wav, 11625), other(wav, 11625), atol=1e-3)


def test_moving_keeps_the_tensors(teacher):
    pointers = [p.data_ptr() for p in teacher.parameters()]
    assert teacher.to("cpu") is teacher
    assert pointers == [p.data_ptr() for p in teacher.parameters()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_teacher_follows_its_input_to_the_device(teacher):
    wav = noise(2, 65280)
    expected = teacher(wav, 11625)
    moved = tiny()
    found = moved(wav.cuda(), 11625)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "HTSAT-huge"}, "HTSAT-huge.*choose one of HTSAT-tiny"),
        ({"dtype": "int8"}, "int8.*float32, bfloat16"),
        ({"htsat_conf": {"width": 3}}, r"unknown keys \['width'\]"),
    ],
)
def test_unknown_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        tiny(**options)


def test_bad_input_is_named(teacher):
    with pytest.raises(ValueError, match=r"\(B, L\)"):
        teacher(torch.zeros(100), 48000)
    with pytest.raises(ValueError, match=r"\(2, 0\)"):
        teacher(torch.zeros(2, 0), 48000)
    for fs in (47999, 0, -1):
        with pytest.raises(InputError, match=f"sampling rate {fs} Hz"):
            teacher(torch.zeros(1, 100), fs)
