"""The masks by the released weights' names: tests/sharing/test_released.py."""

import pytest
import torch

from espnet2_avsep.separator.co_separation_separator import CoSeparationSeparator


def build(**options):
    torch.manual_seed(0)
    return CoSeparationSeparator(6, 4, 3, **options).double()


def inputs(sources=3):
    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(2, 1, 16, 24, dtype=torch.float64, generator=generator)
    visual = torch.randn(2, sources, 6, dtype=torch.float64, generator=generator)
    return feature, visual


def test_the_size_of_the_released_network():
    count = sum(p.numel() for p in CoSeparationSeparator().parameters())
    assert count == pytest.approx(46.0e6, rel=1e-3)


def test_objects_of_a_batch_share_their_statistics():
    """The release passes every object as a mixture of its own, in one batch."""
    model, (feature, visual) = build(), inputs()
    logits, _ = model(feature, visual)
    repeated = feature.repeat_interleave(3, dim=0)
    each, _ = model(repeated, visual.flatten(0, 1)[:, None])
    torch.testing.assert_close(logits.flatten(0, 1), each[:, 0])
    apart = build(bn_statistics="per_source")(feature, visual)[0]
    for n in range(3):
        alone = build()(feature, visual[:, n : n + 1])[0]
        torch.testing.assert_close(apart[:, n], alone[:, 0])
    assert (apart - logits).abs().max() > 1e-4


def test_too_few_levels():
    with pytest.raises(ValueError, match="layers=1"):
        CoSeparationSeparator(6, 4, 1)
