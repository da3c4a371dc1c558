import math
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from espnet2_avsep.bin.train.baseline import main
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.untrained import UntrainedAV, best_order
from espnet2_avsep.metrics.si_sdr import si_sdr
from tests.support.tiny_corpus import FS, HOP, N_FFT, SEGMENT, make_tiny_corpus

TUNING = Path(__file__).resolve().parents[2] / "conf" / "tuning"
CONFIGS = sorted(TUNING.glob("untrained_*.yaml"))
STFT = {"n_fft": N_FFT, "hop_length": HOP}


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        config = {
            "trained": False,
            "baseline": "ideal_ratio_mask",
            "sample_rate": FS,
            "encoder_conf": STFT,
            "decoder_conf": STFT,
            "model_conf": {"num_log_bins": 48},
            **changes,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def sources():
    time = torch.arange(SEGMENT) / FS
    tones = [torch.sin(2 * math.pi * f * time) for f in (180.0, 560.0)]
    return torch.stack(tones)[None] / 4


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_separate_two_tones(path, tmp_path):
    config = yaml.safe_load(path.read_text())
    config["sample_rate"] = FS
    config["encoder_conf"] = config["decoder_conf"] = STFT
    if config["model_conf"]["num_log_bins"] is not None:
        config["model_conf"]["num_log_bins"] = 48
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    reference = sources()
    system = UntrainedAV(tmp_path / "config.yaml")
    tracks = system.separate_batch(reference.sum(dim=1), reference)
    assert tracks.shape == reference.shape and tracks.isfinite().all()
    # Steady tones have neither timbre nor sparsity for the others to go by.
    if config["baseline"].startswith("ideal"):
        assert si_sdr(reference, tracks).min() > 12


@pytest.mark.parametrize("num_sources", [1, 3, 4])
@pytest.mark.parametrize("baseline", ["ideal_binary_mask", "ideal_ratio_mask"])
def test_ideal_masks_of_other_numbers_of_sources(write, baseline, num_sources):
    """Tones far apart come apart, each in its source's place, in any order."""
    time = torch.arange(SEGMENT) / FS
    tones = (130.0, 270.0, 480.0, 800.0)[:num_sources]
    reference = torch.stack([torch.sin(2 * math.pi * f * time) for f in tones])
    reference = reference[None] / num_sources
    system = UntrainedAV(write(baseline=baseline))
    tracks = system.separate_batch(reference.sum(dim=1), reference)
    assert tracks.shape == reference.shape
    assert si_sdr(reference, tracks).min() > 12
    order = list(range(1, num_sources)) + [0]
    other = system.separate_batch(reference.sum(dim=1), reference[:, order])
    torch.testing.assert_close(other, tracks[:, order], atol=1e-6, rtol=1e-5)


def test_a_ratio_mask_of_equal_sources_halves_the_mixture(write):
    half = torch.randn(1, 1, SEGMENT) / 10
    reference = half.expand(1, 2, SEGMENT)
    tracks = UntrainedAV(write()).separate_batch(2 * half[:, 0], reference)
    torch.testing.assert_close(tracks, reference, atol=1e-4, rtol=1e-3)


def test_stft_and_resynthesis_are_those_of_trained_models(write):
    """A network whose masks are the ideal ones would give these tracks."""
    from espnet2_avsep.inference.untrained import load_untrained_config
    from espnet2_avsep.separator.abs_separator import AbsAVSeparator
    from espnet2_avsep.tasks.choices import build_untrained

    model, baseline = build_untrained(load_untrained_config(write()))
    reference = torch.randn(1, 2, SEGMENT) / 10
    mixture = reference.sum(dim=1)
    spectra = model._spectrum(torch.cat([mixture[:, None], reference], dim=1))
    magnitude = model.warp(spectra.abs())
    mask = torch.from_numpy(
        baseline.masks(magnitude[0, 0].numpy(), 2, FS, magnitude[0, 1:].numpy())
    )[None]

    class Ideal(AbsAVSeparator):
        bottleneck_dim = 1

        def forward(self, feature, visual):
            return torch.logit(mask / 5, eps=1e-7), feature

    model.separator, model.mask_max = Ideal(), 5.0
    model.separator.weight = torch.nn.Parameter(torch.zeros(1))
    expected, _ = model.separate(mixture, torch.zeros(1, 2, 1, 4))
    tracks = UntrainedAV(write()).separate_batch(mixture, reference)
    torch.testing.assert_close(tracks, expected, atol=1e-4, rtol=1e-3)


def test_best_order():
    reference = torch.randn(3, 100)
    tracks = reference[[2, 0, 1]] + 0.1 * torch.randn(3, 100)
    torch.testing.assert_close(best_order(tracks, reference), tracks[[1, 2, 0]])
    reference[1] = 0  # silent: the others decide
    assert torch.equal(best_order(tracks, reference)[0], tracks[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trained": True}, "avsep_inference"),
        ({"bassline": 1}, "unknown key.*bassline"),
        ({"baseline": "pca"}, "ideal_binary_mask"),
        ({"baseline_conf": {"threshhold": 1}}, "unknown key.*threshhold"),
        ({"assignment": "oracle"}, "an order of their own"),
        ({"baseline": "nmf_mfcc"}, "'order'.*'oracle'"),
    ],
)
def test_bad_configs(write, changes, message):
    with pytest.raises(InputError, match=message):
        UntrainedAV(write(**changes))


def test_three_sources_are_too_many_for_rpca(write):
    system = UntrainedAV(write(baseline="rpca", assignment="order"))
    with pytest.raises(InputError, match="3 sources"):
        system.separate_batch(torch.randn(1, SEGMENT), torch.randn(1, 3, SEGMENT))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_tiny_corpus(tmp_path_factory.mktemp("corpus"))


def command(corpus, config, output_dir, *more):
    argv = ["--config", str(config), "--output_dir", str(output_dir)]
    for path, name in [
        ("wav.scp", "speech_mix"),
        ("spk1.scp", "speech_ref1"),
        ("spk2.scp", "speech_ref2"),
    ]:
        triple = f"{corpus / 'valid' / path},{name},any"
        argv += ["--data_path_and_name_and_type", triple]
    return [*argv, *more]


def test_the_command_and_its_second_run(corpus, write, tmp_path, capsys):
    out = tmp_path / "out"
    config = write()
    assert main(command(corpus, config, out, "--fs", str(FS))) == 0
    references = read_scp(corpus / "valid" / "spk2.scp")
    for key, path in read_scp(out / "spk2.scp").items():
        track, fs = soundfile.read(path, dtype="float32")
        reference, _ = soundfile.read(references[key], dtype="float32")
        assert fs == FS and len(track) == len(reference)
        value = si_sdr(reference[None], track[None])
        assert value.item() > 12
    kept = out / "wavs" / "spk1" / "mix00001.wav"
    time = kept.stat().st_mtime_ns
    assert main(command(corpus, config, out, "--fs", str(FS))) == 0
    assert kept.stat().st_mtime_ns == time
    config = write(baseline="ideal_binary_mask")
    assert main(command(corpus, config, out, "--fs", str(FS))) == 0
    assert kept.stat().st_mtime_ns != time
    keys = tmp_path / "keys"
    keys.write_text("mix00002 x\n")
    one = tmp_path / "one"
    assert main(command(corpus, config, one, "--key_file", str(keys))) == 0
    assert list(read_scp(one / "spk1.scp")) == ["mix00002"]
    assert main(command(corpus, config, tmp_path / "x", "--fs", "16000")) == 2
    assert "16000" in capsys.readouterr().err
