import math

import pytest
import torch

from espnet2_avsep.loss.abs_criterion import SeparationOutput, energy_weight
from espnet2_avsep.loss.alignment import AlignmentLoss
from espnet2_avsep.loss.binary_mask_bce import BinaryMaskBCE
from espnet2_avsep.loss.presence_bce import PresenceBCE
from espnet2_avsep.loss.ratio_mask_l1 import RatioMaskL1
from espnet2_avsep.loss.soft_snr import SoftSNR
from espnet2_avsep.loss.spectrogram_l1 import SpectrogramL1


def output(logits, mixture, reference, **kwargs):
    def tensor(x):
        return torch.tensor(x, dtype=torch.float64).view(1, -1, 1, 2)

    logits = tensor(logits)
    fields = {
        "logits": logits,
        "mask": logits.sigmoid(),
        "mixture": tensor(mixture),
        "reference": tensor(reference),
        "bottleneck": torch.ones(1, 4),
        **kwargs,
    }
    return SeparationOutput(**fields)


def test_spectrogram_l1_by_hand():
    # masks 0.5; sources (1, 3) and (0, 1) of the mixture (2, 4)
    loss = SpectrogramL1()(output([0, 0, 0, 0], [2, 4], [1, 3, 0, 1]))
    assert loss.item() == pytest.approx((0 + 1) / 2 + (1 + 1) / 2)


def test_spectrogram_l1_is_zero_for_the_true_mask():
    mask = torch.tensor([0.25, 0.5, 0.75, 0.5]).view(1, 2, 1, 2)
    mixture = torch.tensor([4.0, 2.0]).view(1, 1, 1, 2)
    out = SeparationOutput(mask.logit(), mask, mixture, mask * mixture, None)
    assert SpectrogramL1()(out).item() == pytest.approx(0, abs=1e-6)


def test_binary_mask_bce_by_hand():
    # targets: 1.5 > 1 -> 1, 0.5 > 1 -> 0
    out = output([2.0, -1.0], [2.0, 2.0], [1.5, 0.5])
    softplus = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(-1.0))]
    assert BinaryMaskBCE(weighted=False)(out).item() == pytest.approx(sum(softplus) / 2)
    assert BinaryMaskBCE()(out).item() == pytest.approx(
        sum(softplus) / 2 * math.log1p(2.0)
    )


def test_presence_bce_by_hand():
    # The second source is silent; sigmoid(2), 1 - sigmoid(-1)
    presence = torch.tensor([[2.0, -1.0]])
    out = output([0, 0, 0, 0], [1, 1], [1, 1, 0, 0], presence=presence)
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0))) / 2
    assert PresenceBCE()(out).item() == pytest.approx(expected)


def test_ratio_mask_l1_clamps_the_target():
    # ratios 0.5 and 100 -> 5; masks 0.5
    out = output([0, 0], [2.0, 0.01], [1.0, 1.0])
    loss = RatioMaskL1(weighted=False)(out)
    assert loss.item() == pytest.approx((0 + 4.5) / 2)
    assert RatioMaskL1(weighted=False)(output([0, 0], [0, 0], [0, 0])).isfinite()


def test_energy_weight_bounds():
    weight = energy_weight(torch.tensor([0.0, 1.0, 1e9]))
    torch.testing.assert_close(weight, torch.tensor([1e-3, math.log(2), 10.0]))


@pytest.mark.parametrize(
    ("teacher", "expected"), [([1.0] * 4, 0), ([-1.0] * 4, 2), ([1.0, -1, 1, -1], 1)]
)
def test_alignment_is_one_minus_cosine(teacher, expected):
    out = output([0, 0], [1, 1], [1, 1], teacher=torch.tensor([teacher]))
    assert AlignmentLoss(4, 4)(out).item() == pytest.approx(expected, abs=1e-6)


def test_alignment_projects_only_where_sizes_differ():
    assert not list(AlignmentLoss(512).parameters())
    assert AlignmentLoss(4).projection.out_features == 512


def test_alignment_without_teacher():
    with pytest.raises(ValueError, match="teacher: clap"):
        AlignmentLoss(4, 4)(output([0, 0], [1, 1], [1, 1]))


def soft_snr(tracks, sources, **options):
    out = output([0, 0], [1, 1], [1, 1])._replace(
        tracks=torch.tensor([tracks], dtype=torch.float64),
        sources=torch.tensor([sources], dtype=torch.float64),
    )
    return SoftSNR(**options)(out)


def test_soft_snr_by_hand():
    # Sources of energy 1 and 4, mixture of energy 5; t |x|^2 = 0.5. Errors 0.25 and 4.
    sources = [[1.0, 0.0], [0.0, 2.0]]
    loss = soft_snr([[1.0, 0.5], [0.0, 0.0]], sources, max_db=10.0)
    expected = 5 * (math.log10(0.75 / 1.5) + math.log10(4.5 / 4.5))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_soft_snr_of_true_tracks_has_a_limit():
    """A source that is the whole mixture gains max_db, and a silent one nothing."""
    sources = [[3.0, 4.0], [0.0, 0.0]]
    loss = soft_snr(sources, sources, max_db=20.0)
    assert loss.item() == pytest.approx(
        (10 * math.log10(0.01 / 1.01) + 0) / 2, abs=1e-6
    )


def test_soft_snr_of_a_silent_source_pushes_towards_silence():
    sources = [[3.0, 4.0], [0.0, 0.0]]
    losses = [
        soft_snr([sources[0], [level, 0.0]], sources).item()
        for level in (5.0, 0.5, 0.05, 0.0)
    ]
    assert losses == sorted(losses, reverse=True)
    # The mixture itself as its track costs half of max_db more than silence.
    assert losses[0] - losses[-1] == pytest.approx(15, abs=0.01)


def test_soft_snr_weighs_silent_sources_by_themselves():
    # Energies of the sources 4 and 0, of the mixture 4, of the errors 1 and 0.25.
    sources, tracks = [[2.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.5, 0.0]]
    options = {"max_db": 10.0, "silent_db": 20.0, "silent_weight": 0.5}
    sounding = 10 * math.log10(1.4 / 4.4)
    silent = 10 * math.log10(0.29 / 0.04)
    found = soft_snr(tracks, sources, **options).item()
    assert found == pytest.approx((sounding + 0.5 * silent) / 2, abs=1e-6)


def test_soft_snr_in_silence_is_finite():
    tracks = torch.zeros(1, 2, 4, requires_grad=True)
    out = output([0, 0], [1, 1], [1, 1])
    loss = SoftSNR()(out._replace(tracks=tracks, sources=torch.zeros(1, 2, 4)))
    loss.sum().backward()
    assert loss.item() == 0 and tracks.grad.isfinite().all()
    for name, value in (("max_db", 0), ("silent_db", 0), ("silent_weight", -1)):
        with pytest.raises(ValueError, match=f"{name}={value}"):
            SoftSNR(**{name: value})
