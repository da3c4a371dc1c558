import argparse

import pytest
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.model.espnet_wave_model import ESPnetAVWaveModel
from espnet2_avsep.tasks.choices import build_model
from tests.support.tiny_corpus import DIM, FS, HOP, N_FFT, SEGMENT


def build(criterions=("wave_l1",), separator="wave_unet"):
    torch.manual_seed(0)
    conf = {"visual_dim": DIM, "channels": 4, "layers": 2}
    if separator == "wave_unet":
        conf["condition_dim"] = 4
    stft = {"n_fft": N_FFT, "hop_length": HOP}
    args = {
        "sample_rate": FS,
        "encoder": "stft",
        "encoder_conf": stft,
        "decoder": "stft",
        "decoder_conf": dict(stft),
        "visual_adapter": "mean",
        "visual_adapter_conf": {},
        "separator": separator,
        "separator_conf": conf,
        "criterions": [{"name": name} for name in criterions],
        "model_conf": {"num_log_bins": 48},
        "teacher": None,
    }
    return build_model(argparse.Namespace(**args), with_teacher=False)


def batch():
    torch.manual_seed(1)
    batch = {f"speech_ref{n}": torch.randn(3, SEGMENT) / 10 for n in (1, 2)}
    return {**batch, **{f"visual_ref{n}": torch.randn(3, 1, DIM) for n in (1, 2)}}


def test_loss_is_the_mean_difference_of_the_samples():
    model, data = build().eval(), batch()
    assert isinstance(model, ESPnetAVWaveModel)
    loss, stats, weight = model(**data)
    sources = torch.stack([data["speech_ref1"], data["speech_ref2"]], dim=1)
    visual = torch.stack([data["visual_ref1"], data["visual_ref2"]], dim=1)
    tracks, mask = model.separate(sources.sum(dim=1), visual)
    assert loss.item() == pytest.approx((tracks - sources).abs().mean().item(), 1e-5)
    assert weight == 3 and {"si_sdr", "si_sdr_i", "wave_l1"} <= set(stats)
    assert tracks.shape == sources.shape and mask.shape == (3, 2, 48, 32)


def test_mask_times_mixture_is_the_tracks_magnitude():
    model, data = build(("wave_l1", "spectrogram_l1")).eval(), batch()
    panels = model.panels(**dict(data))
    visual = torch.stack([data["visual_ref1"], data["visual_ref2"]], dim=1)
    mixture = data["speech_ref1"] + data["speech_ref2"]
    tracks, _ = model.separate(mixture, visual)
    expected = model.warp(model._spectrum(tracks).abs())
    torch.testing.assert_close(panels["estimate"], expected, atol=1e-4, rtol=1e-4)
    _, stats, _ = model(**data)
    gap = (panels["estimate"] - panels["reference"]).abs().mean(dim=(-2, -1)).sum(-1)
    assert stats["spectrogram_l1"].item() == pytest.approx(gap.mean().item(), 1e-4)


@pytest.mark.parametrize("more", [(), ("spectrogram_l1",)])
def test_no_spectrogram_in_training_where_no_criterion_needs_it(more, monkeypatch):
    """The loss is that of evaluation: the network has no dropout, no BatchNorm."""
    model, data = build(("wave_l1", *more)), batch()
    expected, _, _ = model.eval()(**data)
    calls = []
    spectrum = model._spectrum

    def counted(wav):
        calls.append(wav.shape)
        return spectrum(wav)

    monkeypatch.setattr(model, "_spectrum", counted)
    loss, _, _ = model.train()(**data)
    assert len(calls) == len(more)
    assert loss.item() == pytest.approx(expected.item(), 1e-6)


def test_what_does_not_go_together():
    with pytest.raises(InputError, match="binary_mask_bce.*waveforms"):
        build(("binary_mask_bce",))
    assert set(build(separator="hfra").criterions) == {"wave_l1"}  # masks have tracks
    visual = torch.zeros(1, 2, 1, DIM)
    with pytest.raises(InputError, match="binary_mask"):
        build().separate(torch.randn(1, SEGMENT), visual, binary_mask=True)


def test_channels_are_separated_one_by_one():
    model = build().eval()
    stereo, visual = torch.randn(1, 2, SEGMENT) / 10, torch.randn(1, 3, 1, DIM)
    tracks = model.separate_channels(stereo, visual)
    assert tracks.shape == (1, 3, 2, SEGMENT)
    for channel in (0, 1):
        expected, _ = model.separate(stereo[:, channel], visual)
        torch.testing.assert_close(tracks[:, :, channel], expected)
