import argparse
import math

import pytest
import torch
from espnet2.enh.decoder.stft_decoder import STFTDecoder
from espnet2.enh.encoder.stft_encoder import STFTEncoder
from espnet2.torch_utils.recursive_op import recursive_average
from torch import nn

from espnet2_avsep.dsp.log_frequency import LogFrequencyWarp
from espnet2_avsep.errors import InputError
from espnet2_avsep.loss.alignment import AlignmentLoss
from espnet2_avsep.loss.binary_mask_bce import BinaryMaskBCE
from espnet2_avsep.loss.soft_snr import SoftSNR
from espnet2_avsep.loss.spectrogram_l1 import SpectrogramL1
from espnet2_avsep.metrics.si_sdr import si_sdr
from espnet2_avsep.model import espnet_model
from espnet2_avsep.model.espnet_model import (
    FLOOR_DB,
    ESPnetAVSeparationModel,
    WeightedCriterion,
    track_quality,
)
from espnet2_avsep.separator.abs_separator import AbsAVSeparator
from espnet2_avsep.separator.ccol_separator import CCoLSeparator
from espnet2_avsep.separator.hfra_separator import HFRASeparator
from espnet2_avsep.tasks.choices import build_model, check_taught
from espnet2_avsep.visual.adapter import MeanAdapter
from tests.support.tiny_corpus import MODEL_OPTIONS

FS, N_FFT, HOP, DIM = 2000, 128, 32, 4


class ConstantSeparator(AbsAVSeparator):
    """Masks that are one number per source, read from the visual input."""

    visual_dim = DIM

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    @property
    def bottleneck_dim(self):
        return 3

    def forward(self, feature, visual):
        logits = visual[..., :1, None].expand(-1, -1, *feature.shape[-2:])
        return logits + 0 * self.unused, feature.mean(dim=(1, 2, 3))[:, None].repeat(
            1, 3
        )


class FrozenTeacher(nn.Module):
    output_dim = 3

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.seen = []

    def forward(self, wav, fs, keys=None):
        self.seen.append((tuple(wav.shape), fs))
        return self.weight.detach().expand(len(wav), 3)


def build(separator=None, criterions=None, **kwargs):
    stft = {"n_fft": N_FFT, "hop_length": HOP, "default_fs": FS}
    options = {"sample_rate": FS, "num_log_bins": 48, **kwargs}
    return ESPnetAVSeparationModel(
        STFTEncoder(**stft),
        STFTDecoder(**stft),
        MeanAdapter(),
        separator or ConstantSeparator(),
        criterions or [WeightedCriterion("l1", SpectrogramL1(), 1.0)],
        **options,
    )


def batch_of(sources, visual=None):
    batch = {f"speech_ref{n}": s for n, s in enumerate(sources, 1)}
    for n in range(1, len(sources) + 1):
        batch[f"visual_ref{n}"] = (
            torch.zeros(len(sources[0]), 1, DIM) if visual is None else visual[n - 1]
        )
    return batch


@pytest.mark.parametrize("length", [31 * HOP, 31 * HOP + 7])
def test_masks_of_one_give_the_mixture_back(length):
    mixture = torch.randn(2, length)
    visual = torch.full((2, 3, 1, DIM), 50.0)
    tracks, mask = build().separate(mixture, visual)
    assert tracks.shape == (2, 3, length) and mask.shape[:3] == (2, 3, 48)
    for track in tracks.unbind(1):
        torch.testing.assert_close(track, mixture, atol=1e-4, rtol=1e-4)


def test_masks_scale_the_mixture():
    mixture = torch.randn(1, 31 * HOP)
    visual = torch.zeros(1, 2, 2, DIM)
    visual[:, 1] = math.log(0.25 / 0.75)
    tracks, _ = build().separate(mixture, visual)
    torch.testing.assert_close(tracks[:, 0], mixture / 2, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tracks[:, 1], mixture / 4, atol=1e-4, rtol=1e-4)
    tracks, _ = build().separate(mixture, visual, binary_mask=True, threshold=0.3)
    torch.testing.assert_close(tracks[:, 0], mixture, atol=1e-4, rtol=1e-4)
    assert tracks[:, 1].abs().max() < 1e-6
    tracks, _ = build(mask_max=5.0).separate(mixture, visual)
    torch.testing.assert_close(tracks[:, 0], 2.5 * mixture, atol=1e-3, rtol=1e-3)


class TurningSeparator(ConstantSeparator):
    """Complex masks: of magnitude 1, and a phase read from the visual input."""

    def forward(self, feature, visual):
        logits, bottleneck = super().forward(feature, visual)
        return torch.complex(torch.full_like(logits, 50.0), logits), bottleneck


def test_complex_masks_turn_the_phase():
    """Of a tone: by 90 degrees, from sine to cosine, and by 180, to its negative."""
    time = 2 * math.pi * torch.arange(64 * HOP) * 10 / N_FFT
    visual = torch.zeros(1, 3, 1, DIM)
    visual[:, 1], visual[:, 2] = math.pi / 2, math.pi
    model = build(TurningSeparator(), num_log_bins=None)
    tracks, mask = model.separate(time.sin()[None], visual)
    inner = slice(N_FFT, -N_FFT)
    expected = torch.stack([time.sin(), time.cos(), -time.sin()])
    torch.testing.assert_close(
        tracks[0, :, inner], expected[:, inner], atol=1e-3, rtol=0
    )
    torch.testing.assert_close(mask, torch.ones_like(mask))
    stereo = torch.stack([time.sin(), 0.5 * time.sin()])[None]
    both = model.separate_channels(stereo, visual)[0]
    torch.testing.assert_close(both[:, 0], tracks[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(both[:, 1], 0.5 * tracks[0], atol=1e-4, rtol=0)
    rounded, _ = model.separate(time.sin()[None], visual, binary_mask=True)
    torch.testing.assert_close(rounded[0, 2], time.sin(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("phase", [0.0, math.pi])
def test_losses_of_waveforms_see_the_tracks_of_masks(phase):
    """With the mixture as both tracks, the error of each is the other source."""
    criterion = WeightedCriterion("soft_snr", SoftSNR(), 1.0)
    model = build(TurningSeparator(), [criterion], num_log_bins=None)
    sources = torch.randn(2, 1, 31 * HOP) * torch.tensor([1.0, 0.5])[:, None, None]
    visual = torch.full((2, 1, 1, DIM), phase)
    loss, stats, _ = model(**batch_of(sources, visual))
    tracks = sources.sum(dim=0, keepdim=True) * math.cos(phase)
    floor = 1e-3 * sources.sum(dim=0).square().sum()
    error = (tracks - sources).square().sum(dim=(1, 2)) + floor
    level = sources.square().sum(dim=(1, 2)) + floor
    expected = 10 * (error / level).log10().mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-3)
    assert stats["soft_snr"].item() == pytest.approx(loss.item())
    assert stats["loss"] == loss


@pytest.mark.parametrize(
    ("training", "spectral", "signals"),
    [(True, False, 1), (False, False, 3), (True, True, 3)],
)
def test_sources_have_spectrograms_only_where_they_are_seen(
    training, spectral, signals
):
    criterions = [WeightedCriterion("soft_snr", SoftSNR(), 1.0)]
    if spectral:
        criterions.append(WeightedCriterion("spectrogram_l1", SpectrogramL1(), 1.0))
    model = build(TurningSeparator(), criterions, num_log_bins=None).train(training)
    heard = []
    model.encoder.register_forward_hook(lambda m, args, out: heard.append(args[0]))
    sources = torch.randn(2, 1, 31 * HOP)
    model(**batch_of(sources, torch.zeros(2, 1, 1, DIM)))
    assert len(heard[0]) == signals
    torch.testing.assert_close(heard[0][0], sources.sum(dim=0)[0])


def test_given_masks_see_the_sources_whatever_the_losses_see():
    criterions = [WeightedCriterion("soft_snr", SoftSNR(), 1.0)]
    model = build(TurningSeparator(), criterions).train()
    sources = torch.randn(2, 1, 31 * HOP)

    def ideal(mixture, reference):
        return reference / reference.sum(dim=1, keepdim=True)

    tracks = model.separate_by(ideal, sources.sum(dim=0), sources.transpose(0, 1))
    scores = si_sdr(sources.transpose(0, 1), tracks)
    assert tracks.shape == (1, 2, 31 * HOP) and scores.min() > 1


def test_power_compression():
    model = build(compression="power")
    magnitude = torch.tensor([0.0, 1.0, 1e-10, 32.0]).view(1, 1, 2, 2)
    given = model._prepare(magnitude, torch.zeros(1, 2, 1, DIM), {})["feature"]
    expected = torch.tensor([0.0, 1.0, 1e-3, 32**0.3]).view(1, 1, 2, 2)
    torch.testing.assert_close(given, expected)


class RampSeparator(ConstantSeparator):
    """Logits that rise with frequency and time, whatever the input."""

    def forward(self, feature, visual):
        rows, frames = feature.shape[-2:]
        ramp = torch.linspace(-3, 2, rows)[:, None] + torch.linspace(-1, 1, frames)
        return ramp.expand(*visual.shape[:2], -1, -1), feature.new_zeros(1, 3)


def tracks_by_hand(mixture, rounding, threshold=0.5, **stft):
    """Round log-frequency masks after ("linear") or before the inverse warp."""
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(mixture, N_FFT, HOP, window=window, return_complex=True)
    ramp = torch.linspace(-3, 2, 48)[:, None]
    mask = (ramp + torch.linspace(-1, 1, spectrum.size(-1))).sigmoid()
    rounded = (lambda m: (m > threshold).float()) if rounding else (lambda m: m)
    warp = LogFrequencyWarp(N_FFT // 2 + 1, 48)
    if rounding == "log":
        linear = warp.inverse(rounded(mask))
    else:
        linear = rounded(warp.inverse(mask))
    return torch.istft(
        spectrum * linear, N_FFT, HOP, window=window, length=mixture.size(-1)
    )


def test_binary_masks_are_rounded_after_the_return_to_linear_frequency():
    """As the programs of the published scores do; "log" rounds before."""
    torch.manual_seed(0)
    mixture, visual = torch.randn(1, 31 * HOP), torch.zeros(1, 2, 1, DIM)
    found = {}
    for rounding in ("linear", "log"):
        model = build(RampSeparator(), mask_rounding=rounding)
        tracks, mask = model.separate(mixture, visual, binary_mask=True)
        expected = tracks_by_hand(mixture[0], rounding)
        torch.testing.assert_close(tracks[0, 0], expected, atol=1e-5, rtol=0)
        assert mask.min() > 0.01 and mask.max() < 0.99  # as they were
        each = model.separate_channels(mixture[None], visual, binary_mask=True)
        torch.testing.assert_close(each[:, :, 0], tracks)
        found[rounding] = tracks
    assert (found["linear"] - found["log"]).abs().max() > 1e-2
    soft, _ = build(RampSeparator()).separate(mixture, visual)
    expected = tracks_by_hand(mixture[0], None)
    torch.testing.assert_close(soft[0, 0], expected, atol=1e-5, rtol=0)
    default, _ = build(RampSeparator()).separate(mixture, visual, binary_mask=True)
    torch.testing.assert_close(default, found["linear"], atol=0, rtol=0)


@pytest.mark.parametrize("n_fft", [N_FFT, N_FFT - 2])
@pytest.mark.parametrize("length", [31 * HOP, 31 * HOP + 7])
def test_stft_padding(n_fft, length):
    """CLIPSep and HFRA pad with zeros (librosa since 0.9), ESPnet's STFT reflects."""
    stft = {"n_fft": n_fft, "hop_length": HOP, "default_fs": FS}
    torch.manual_seed(0)
    wav = torch.randn(2, 1, length)
    spectra = {}
    for padding, pad_mode in (("zeros", "constant"), ("reflect", "reflect")):
        model = build(stft_padding=padding)
        model.encoder, model.decoder = STFTEncoder(**stft), STFTDecoder(**stft)
        spectra[padding] = model._spectrum(wav)
        expected = torch.stft(
            wav[:, 0],
            n_fft,
            HOP,
            window=torch.hann_window(n_fft),
            pad_mode=pad_mode,
            return_complex=True,
        )
        torch.testing.assert_close(spectra[padding][:, 0], expected)
    different = (spectra["zeros"] - spectra["reflect"]).abs().amax(dim=(0, 1, 2))
    assert different[[0, -1]].min() > 0.1 and different[3:-3].max() < 1e-4


def test_warp_without_aligned_corners_reaches_masks_and_features():
    torch.manual_seed(0)
    mixture, visual = torch.randn(1, 31 * HOP), torch.full((1, 1, 1, DIM), 30.0)
    model = build(warp_align_corners=False)
    assert not model.warp.align_corners
    tracks, _ = model.separate(mixture, visual)
    # A mask of ones loses half of its first and last row and frame on the way back.
    spectrum = model._spectrum(mixture[:, None])[0, 0]
    mask = torch.ones(48, spectrum.size(1))
    mask = LogFrequencyWarp(N_FFT // 2 + 1, 48, align_corners=False).inverse(mask)
    assert mask[:, 0].max() <= 0.5
    window = torch.hann_window(N_FFT)
    length = mixture.size(-1)
    expected = torch.istft(spectrum * mask, N_FFT, HOP, window=window, length=length)
    torch.testing.assert_close(tracks[0, 0], expected, atol=1e-5, rtol=0)


def test_masks_without_activation():
    visual = torch.tensor([[[[2.5] * DIM], [[-1.0] * DIM]]])
    mixture = torch.randn(1, 31 * HOP)
    tracks, mask = build(mask_activation="none").separate(mixture, visual)
    assert mask[0, 0].unique() == 2.5 and mask[0, 1].unique() == -1
    torch.testing.assert_close(tracks[:, 0], 2.5 * mixture, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "option", ["mask_activation", "mask_rounding", "stft_padding", "compression"]
)
def test_unknown_choices_name_the_option(option):
    with pytest.raises(ValueError, match=f"model_conf.{option}='x': expected one of"):
        build(**{option: "x"})


def test_loss_of_equal_sources_with_masks_of_one_half_is_zero():
    wav = torch.randn(2, 31 * HOP)
    loss, stats, weight = build()(**batch_of([wav / 2, wav / 2]))
    assert loss.item() == pytest.approx(0, abs=1e-5) and weight.item() == 2
    assert stats["l1"].item() == stats["loss"].item()


def test_the_mixture_is_the_sum_of_the_sources():
    model, sources = build(), [torch.randn(2, 31 * HOP) for _ in range(3)]
    batch = batch_of(sources)
    loss, _, _ = model(**batch)
    given, _, _ = model(**batch, speech_mix=sum(sources))
    assert loss.item() == pytest.approx(given.item(), rel=1e-5)


def test_loss_is_the_weighted_sum_of_its_terms():
    criterions = [
        WeightedCriterion("bce", BinaryMaskBCE(), 2.0),
        WeightedCriterion("l1", SpectrogramL1(), 0.5),
    ]
    model = build(criterions=criterions)
    loss, stats, _ = model(**batch_of([torch.randn(2, 31 * HOP) for _ in range(2)]))
    assert loss.item() == pytest.approx(
        2 * stats["bce"].item() + 0.5 * stats["l1"].item(), rel=1e-5
    )


def test_a_loss_that_is_nan_in_one_process_reaches_the_mean_over_all(monkeypatch):
    """ESPnet 202511 leaves NaN out of that mean; the training went on."""

    def gather(parts, own):
        parts[0].copy_(own)
        parts[1].fill_(2.0)  # of another process

    monkeypatch.setattr(torch.distributed, "all_gather", gather)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x, op: x.mul_(2))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(espnet_model, "several_processes", lambda: True)
    means = []
    for value in (0.0, math.nan):
        _, stats, weight = build()(**batch_of([torch.full((2, 31 * HOP), value)]))
        mean, _ = recursive_average(stats, weight, distributed=True)
        means.append(mean["loss"].item())
    assert means == [0.5, math.inf]  # (2 * 0 + 2) / (2 + 2)


def test_validation_reports_si_sdr():
    model = build().eval()
    wav = torch.randn(2, 31 * HOP)
    _, stats, _ = model(**batch_of([wav, torch.randn(2, 31 * HOP)]))
    # A mask that scales the mixture changes no SI-SDR.
    assert stats["si_sdr_i"].item() == pytest.approx(0, abs=1e-3)
    model.train()
    assert "si_sdr" not in model(**batch_of([wav, wav]))[1]


def test_validation_counts_silent_sources_instead_of_scoring_them():
    model = build().eval()
    sources = [torch.randn(3, 31 * HOP) for _ in range(2)]
    for wav in sources:
        wav[1] = 0
    sources[0][2] = 0
    _, stats, _ = model(**batch_of(sources))
    # A mask that scales the mixture changes no SI-SDR.
    assert stats["si_sdr_i"].item() == pytest.approx(0, abs=1e-3)
    # Two are silent in the second mixture, one in the third, where the other is alone.
    assert stats["sources_without_score"].item() == pytest.approx(4 / 3)


def test_quality_is_the_mean_over_sources():
    time = torch.arange(1000) / 100
    reference = torch.stack([torch.sin(7 * time), torch.cos(31 * time)])[None]
    noise = torch.randn(1, 2, 1000)
    noise -= (
        (noise * reference).sum(-1, keepdim=True)
        * reference
        / (reference.square().sum(-1, keepdim=True))
    )
    size = reference.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    tracks = reference + noise * size * torch.tensor([0.1, 0.01])[:, None]
    quality = track_quality(reference.sum(dim=1), reference, tracks)
    assert quality["si_sdr"].item() == pytest.approx((20 + 40) / 2, abs=1e-3)
    alone = si_sdr(reference, reference.sum(dim=1, keepdim=True)).mean()
    expected = 30 - alone.item()
    assert quality["si_sdr_i"].item() == pytest.approx(expected, abs=1e-3)
    assert quality["sources_without_score"].item() == 0


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_a_track_that_is_given_up_scores_the_floor(value):
    """Left out of the mean, a network that gives up a source would be the best one."""
    reference, tracks = torch.randn(2, 1, 2, 500)
    tracks[0, 1] = value
    mixture = reference.sum(dim=1)
    kept = track_quality(mixture, reference[:, :1], tracks[:, :1])
    both = track_quality(mixture, reference, tracks)
    expected = (kept["si_sdr"].item() + FLOOR_DB) / 2
    assert both["si_sdr"].item() == pytest.approx(expected)


def test_quality_without_any_source_is_nan():
    silence = torch.zeros(1, 2, 9)
    quality = track_quality(silence[:, 0], silence, silence)
    assert quality["si_sdr_i"].isnan() and quality["sources_without_score"] == 2


def test_teacher_is_used_and_stays_out_of_the_weights():
    teacher = FrozenTeacher()
    model = build(
        criterions=[
            WeightedCriterion("l1", SpectrogramL1(), 1.0),
            WeightedCriterion("alignment", AlignmentLoss(3, 3), 0.5),
        ],
        teacher=teacher,
    )
    assert not any("teacher" in name for name in model.state_dict())
    assert len(list(model.parameters())) == 1
    wav = torch.randn(2, 31 * HOP)
    loss, stats, _ = model(**batch_of([wav, wav]))
    assert teacher.seen == [((2, 31 * HOP), FS)]
    loss.backward()
    assert teacher.weight.grad is None
    # bottleneck (m, m, m) with m < 0 (log of small magnitudes) or > 0: cosine is +-1
    assert min(abs(stats["alignment"].item() - v) for v in (0, 2)) < 1e-5


def test_swapping_the_visual_inputs_swaps_the_tracks():
    torch.manual_seed(0)
    separator = HFRASeparator(visual_dim=DIM, channels=4, layers=3, width=4)
    model = build(separator).eval()
    mixture, visual = torch.randn(2, 31 * HOP), torch.randn(2, 2, 1, DIM)
    tracks, _ = model.separate(mixture, visual)
    swapped, _ = model.separate(mixture, visual.flip(1))
    torch.testing.assert_close(swapped, tracks.flip(1), atol=1e-5, rtol=1e-4)
    assert (tracks[:, 0] - tracks[:, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_overfits_four_mixtures(precision, fast_bfloat16):
    """Two tones per mixture, told apart by the visual input: SI-SDR beyond 15 dB."""
    torch.manual_seed(0)
    time = torch.arange(63 * HOP) / FS
    tones = [torch.sin(2 * math.pi * f * time) for f in (150, 310, 480, 700)]
    pairs = [(0, 2), (1, 3), (2, 1), (3, 0)]
    sources = [torch.stack([tones[p[n]] for p in pairs]) / 2 for n in range(2)]
    eye = 2 * torch.eye(DIM)
    visual = [torch.stack([eye[p[n]] for p in pairs])[:, None] for n in range(2)]
    model = build(
        HFRASeparator(visual_dim=DIM, channels=8, layers=4, width=8),
        precision=precision,
    )
    seen = []
    model.separator.encoder.convs[0].register_forward_hook(
        lambda *args: seen.append(args[2].dtype)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss, _, _ = model(**batch_of(sources, visual))
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert set(seen) == {getattr(torch, precision)}
    model.eval()
    _, stats, _ = model(**batch_of(sources, visual))
    assert stats["si_sdr_i"].item() > 15


def test_unknown_precision():
    with pytest.raises(ValueError, match="precision='half'.*bfloat16"):
        build(precision="half")


def test_float32_where_bfloat16_is_slow(slow_bfloat16):
    batch = batch_of([torch.randn(2, 31 * HOP) for _ in range(2)])
    losses = []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        separator = HFRASeparator(visual_dim=DIM, channels=8, layers=4, width=8)
        losses.append(build(separator, precision=precision)(**batch)[0])
    assert torch.equal(*losses)


def test_alignment_in_bfloat16(fast_bfloat16):
    model = build(
        HFRASeparator(visual_dim=DIM, channels=8, layers=4, width=8),
        [WeightedCriterion("alignment", AlignmentLoss(64, 3), 1.0)],
        teacher=FrozenTeacher(),
        precision="bfloat16",
    )
    loss, _, _ = model(**batch_of([torch.randn(2, 31 * HOP) for _ in range(2)]))
    loss.backward()
    assert model.separator.encoder.convs[-1].weight.grad.abs().max() > 0


def test_panels():
    """Masks of 1/2 and 1/4; the mixture is the one that is given, where one is."""
    sources = torch.randn(2, 2, 31 * HOP)
    visual = torch.zeros(2, 2, 1, DIM)
    visual[1] = math.log(0.25 / 0.75)
    window = torch.hann_window(N_FFT)

    def magnitude(wav):
        stft = {"window": window, "return_complex": True, "pad_mode": "reflect"}
        spectrum = torch.stft(wav, N_FFT, HOP, **stft)
        return LogFrequencyWarp(N_FFT // 2 + 1, 48)(spectrum.abs())

    given = torch.randn(2, 31 * HOP)
    batch = batch_of(sources, visual)
    for mixture, panels in (
        (sources.sum(dim=0), build().panels(**batch)),
        (given, build().panels(**batch, speech_mix=given)),
    ):
        shown = magnitude(mixture)
        torch.testing.assert_close(panels["mixture"], shown)
        for n, mask in enumerate((0.5, 0.25)):
            torch.testing.assert_close(panels["reference"][:, n], magnitude(sources[n]))
            torch.testing.assert_close(
                panels["mask"][:, n], torch.full((2, 48, 32), mask)
            )
            torch.testing.assert_close(panels["estimate"][:, n], mask * shown)


def test_silent_redraws_are_reported_in_training_only():
    batch = batch_of([torch.randn(2, 31 * HOP) for _ in range(2)])
    batch["silent_redraws"] = torch.tensor([1, 4])
    assert build().train()(**batch)[1]["silent_redraws"] == 2.5
    assert "silent_redraws" not in build().eval()(**batch)[1]


def test_bad_compression():
    with pytest.raises(ValueError, match="log1p"):
        build(compression="cube")


def test_sources_and_visual_inputs_must_agree():
    batch = batch_of([torch.randn(1, 31 * HOP)] * 2)
    del batch["visual_ref2"]
    with pytest.raises(ValueError, match="visual_ref"):
        build()(**batch)


CCOL = {
    "separator": "ccol",
    "separator_conf": {
        "visual_dim": 4,
        "maps": 3,
        "channels": 4,
        "layers": 3,
        "grounding_channels": 2,
    },
    "criterions": [{"name": "co_learning"}],
    "model_conf": {"num_log_bins": 48, "compression": "log1p"},
}


def ccol_model(**changes):
    torch.manual_seed(0)
    config = {
        **MODEL_OPTIONS,
        "encoder": "stft",
        "decoder": "stft",
        "visual_adapter": "mean",
        "visual_adapter_conf": {},
        "teacher": None,
        **CCOL,
        **changes,
    }
    return build_model(argparse.Namespace(**config))


def ccol_batch():
    generator = torch.Generator().manual_seed(1)
    batch = {}
    for n in range(1, 5):
        wave = torch.randn(2, 31 * 32, generator=generator) / 4
        batch[f"speech_ref{n}"] = wave * (n % 2)
        batch[f"visual_ref{n}"] = torch.randn(2, 1, 4, generator=generator)
    return batch


@pytest.mark.parametrize(
    ("phase", "learns"),
    [("grounding", "g"), ("co_learning", "gs"), ("cyclic", "gs")],
)
def test_phases_of_ccol_teach_what_they_should(phase, learns):
    """The masks are made only where something learns from them."""
    model = ccol_model()
    model.set_phase(phase)
    loss, stats, _ = model(**ccol_batch())
    loss.backward()
    assert loss.isfinite() and "si_sdr_i" not in stats
    for name, parameter in model.named_parameters():
        part = "g" if name.startswith("separator.grounding") else "s"
        has = parameter.grad is not None and bool(parameter.grad.any())
        if has or part == "g":
            assert part in learns and parameter.grad.isfinite().all(), name
    assert any(
        p.grad is not None and p.grad.any()
        for n, p in model.named_parameters()
        if n.startswith("separator.decoder")
    ) == ("s" in learns)


@pytest.mark.parametrize("phase", ["grounding", "co_learning", "cyclic"])
def test_solo_sounds_alone_are_heard_in_the_phase_of_grounding(phase):
    """Else the mixture would enter the statistics of its BatchNorm."""
    model, logits = ccol_model(), []
    model.set_phase(phase)
    model.criterions["co_learning"].register_forward_pre_hook(
        lambda module, args: logits.append(args[0].grounding.logits)
    )
    model(**ccol_batch())
    # The mixture, and four sources of which the second and the fourth are silent.
    heard = [phase != "grounding", True, False, True, False]
    found = logits[0].isfinite().all(dim=-1).all(dim=-1)
    assert found.tolist() == [heard] * 2


def test_ccol_validates_on_silent_sources_and_without():
    """Their zero references leave no NaN; they have no SI-SDR and are counted."""
    model = ccol_model().eval()
    batch = ccol_batch()
    _, stats, _ = model(**batch)
    assert all(torch.isfinite(value).all() for value in stats.values())
    assert stats["sources_without_score"] == 2
    assert 0 <= stats["grounding_accuracy"] <= 1
    two = {k: v for k, v in batch.items() if k[-1] in "13"}
    two = {k.replace("3", "2"): v for k, v in two.items()}
    _, stats, _ = model(**two)
    assert all(torch.isfinite(value).all() for value in stats.values())
    assert stats["sources_without_score"] == 0


def test_gate_of_ccol_shuts_what_does_not_sound():
    batch = ccol_batch()
    mixture, visual = batch["speech_ref1"], torch.randn(2, 3, 1, 4)
    plain = ccol_model().eval()
    gated = ccol_model(
        separator_conf={**CCOL["separator_conf"], "gate": "round"}
    ).eval()
    difference = plain.ground(mixture, visual).logit().mean()
    with torch.no_grad():
        for network in (plain, gated):  # so that some sound, and some do not
            network.separator.grounding.pairs[-1].bias[0] -= difference / 2
    sounds = plain.ground(mixture, visual).round().bool()
    assert sounds.any() and not sounds.all()
    _, mask = plain.separate(mixture, visual)
    _, shut = gated.separate(mixture, visual)
    torch.testing.assert_close(shut[sounds], mask[sounds])
    assert shut[~sounds].max() < 1e-12


def test_co_learning_needs_a_separator_that_grounds():
    with pytest.raises(InputError, match="does not learn to tell what sounds"):
        ccol_model(separator="hfra", separator_conf={"visual_dim": 4, "layers": 3})


class FormerCCoLSeparator(CCoLSeparator):
    """As a separator written for version 0.1 declares itself."""

    learns_grounding = False


def test_co_learning_takes_separators_of_version_0_1():
    model = ccol_model(separator=f"{__name__}:FormerCCoLSeparator")
    assert isinstance(model.separator, FormerCCoLSeparator)


def test_presence_learns_from_absent_queries_and_needs_a_separator_that_tells():
    criterions = [{"name": "presence_bce"}]
    with pytest.raises(InputError, match="separator_conf.presence"):
        ccol_model(criterions=criterions)
    conf = {"visual_dim": 4, "num_bins": 32, "channels": [4, 8], "blocks": 1}
    torch.manual_seed(0)
    model = ccol_model(
        criterions=criterions,
        separator="tfc_tdf",
        separator_conf={**conf, "patch": 4, "width": 4, "presence": 4},
        model_conf={"num_log_bins": None, "compression": "power"},
    )
    # A low and a high tone, in turn; the query of the other one is absent.
    time = torch.arange(2048)
    low, high = ((time * k / 3).sin() for k in (0.3, 3.0))
    batch = {
        "speech_ref1": torch.stack([low, high]),
        "speech_ref2": torch.zeros(2, 2048),
        "visual_ref1": torch.eye(4)[[0, 1], None],
        "visual_ref2": torch.eye(4)[[1, 0], None],
    }
    model.train()(**batch)[0].backward()
    for name, parameter in model.separator.named_parameters():
        assert (parameter.grad is not None) == name.startswith("presence_"), name
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(40):
        loss, stats, _ = model.train()(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert stats["presence_bce"] == loss.detach() < 0.1
    visual = torch.stack([batch["visual_ref1"], batch["visual_ref2"]], dim=1)
    sounds = model.eval().ground(batch["speech_ref1"], visual)
    assert sounds[:, 0].min() > 0.8 and sounds[:, 1].max() < 0.2
    tracks, _ = model.separate(batch["speech_ref1"], visual)
    level = tracks.square().mean(dim=-1)
    assert (level[:, 1] < 0.1 * level[:, 0]).all()


def test_presence_that_no_criterion_teaches_would_halve_the_masks():
    conf = {"visual_dim": 4, "num_bins": 32, "channels": [4, 8], "blocks": 1}
    given = {
        "separator": "tfc_tdf",
        "separator_conf": {**conf, "patch": 4, "width": 4, "presence": 4},
        "model_conf": {"num_log_bins": None, "compression": "power"},
    }
    mask = {"name": "spectrogram_l1"}
    check_taught(ccol_model(criterions=[mask, {"name": "presence_bce"}], **given))
    with pytest.raises(InputError, match="Add the criterion presence_bce"):
        check_taught(ccol_model(criterions=[mask], **given))


def test_grounding_that_no_criterion_teaches_is_told(caplog):
    check_taught(ccol_model())
    assert not caplog.records
    check_taught(ccol_model(criterions=[{"name": "ratio_mask_l1"}]))
    assert "choose co_learning" in caplog.text
