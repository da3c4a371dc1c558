"""The masks by the released weights' names: tests/sharing/test_released.py."""

import pytest
import torch

from espnet2_avsep.layers.unet import make_shift_invariant
from espnet2_avsep.separator.predictive_coding_separator import (
    PredictiveCodingSeparator,
)


def build(**options):
    torch.manual_seed(0)
    conf = {"visual_dim": 6, "channels": 4, "layers": 3, "cycles": 3, "width": 2}
    model = PredictiveCodingSeparator(**{**conf, **options}).double()
    with torch.no_grad():
        for rate in [*model.rate_up, *model.rate_down]:
            rate.uniform_(-0.3, 1.0)
    return model


def inputs(sources=3):
    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(2, 1, 16, 24, dtype=torch.float64, generator=generator)
    visual = torch.randn(2, sources, 6, dtype=torch.float64, generator=generator)
    return feature, visual


def test_the_size_of_the_released_network():
    """PCNet-LR has 4.7 M parameters."""
    count = sum(p.numel() for p in PredictiveCodingSeparator().parameters())
    convolutions = 2 * (9 * (64 + 64**2 + 64 * 128 + 128**2 + 128 * 256 + 256**2))
    convolutions += 2 * (9 * 256 * 512 + 16 * 512)
    assert 4.6e6 < convolutions < count < 4.72e6


def test_training_equals_one_pass_per_source():
    model, (feature, visual) = build(), inputs()
    logits, _ = model(feature, visual)
    for n in range(3):
        alone, _ = model(feature, visual[:, n : n + 1])
        torch.testing.assert_close(logits[:, n], alone[:, 0])
    joint = build(bn_statistics="joint")
    assert (joint(feature, visual)[0] - logits).abs().max() > 1e-3


def test_the_start_runs_once_per_mixture():
    model, sizes = build(cycles=2), []
    model.down[0].register_forward_hook(lambda *args: sizes.append(len(args[2])))
    model.down[1].register_forward_hook(lambda *args: sizes.append(len(args[2])))
    model(*inputs())
    assert sizes == [2, 2, 6, 6]  # the spectrogram's convolution is not repeated


def test_visual_maps_are_taken_as_they_are_and_repeated_over_the_top():
    model = build(visual_dim=8)
    assert isinstance(model.condition, torch.nn.Identity)
    feature = torch.randn(1, 1, 16, 32, dtype=torch.float64)  # the top is 2 x 4
    visual = torch.arange(8, dtype=torch.float64)[None, None]
    seen = []
    model.visual_error.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.predict_visual.weight.data.zero_()
    model(feature, visual)
    expected = [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert seen[0].shape == (1, 2, 2, 4) and seen[0][0, 0].tolist() == expected


@pytest.mark.parametrize("option", [{"layers": 1}, {"cycles": 0}])
def test_bad_options(option):
    with pytest.raises(ValueError, match="at least"):
        build(**option)


def test_the_up_sampling_can_be_made_shift_invariant():
    """SeparateAV(shift_invariant=True) once changed nothing in this network."""
    model = build(cycles=1, visual_dim=8).eval()
    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(1, 1, 16, 520, dtype=torch.float64, generator=generator)
    # Columns of the visual maps are places in time: let them be equal.
    maps = torch.randn(1, 2, 4, 1, dtype=torch.float64, generator=generator)
    visual = maps.expand(-1, -1, -1, 2).flatten(2)

    def difference():
        early, _ = model(feature[..., :512], visual)
        late, _ = model(feature[..., 8:], visual)
        return (early[..., 208:312] - late[..., 200:304]).abs().max().item()

    assert difference() > 1e-3
    make_shift_invariant(model)
    assert difference() < 1e-12
