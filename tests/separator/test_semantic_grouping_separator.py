import pytest
import torch

from espnet2_avsep.separator.semantic_grouping_separator import (
    SemanticGroupingSeparator,
)


def build(**options):
    torch.manual_seed(0)
    conf = {"visual_dim": 6, "channels": 4, "layers": 3, "heads": 2, "num_classes": 3}
    return SemanticGroupingSeparator(**{**conf, **options}).double().eval()


def test_grouping_follows_its_equation():
    model = build(blocks=0)
    positions = torch.randn(2, 7, 16, dtype=torch.float64)
    found = model._gather(positions)
    for b in range(2):
        shares = []
        for p in range(7):
            q = model.query(positions[b, p])
            logits = [q @ model.key(g) / 4 for g in model.tokens]  # sqrt(16)
            shares.append(torch.softmax(torch.stack(logits), dim=0))
        for c in range(3):
            weights = torch.stack([share[c] for share in shares])
            mean = (weights[:, None] * positions[b]).sum(dim=0) / weights.sum()
            expected = model.tokens[c] + model.value(mean)
            torch.testing.assert_close(found[b, c], expected, atol=1e-5, rtol=1e-5)


def test_the_picture_chooses_among_what_is_heard():
    """A pointer that is sure of one token gives that token's finding as condition."""
    model, seen = build(), {}
    with torch.no_grad():
        model.pointer.weight.zero_()
        model.pointer.weight[:, 0] = 1e4 * model.tokens[2]
        model.pointer.bias.zero_()
        model.tokens[0] = -model.tokens[2]
        model.tokens[1] = -model.tokens[2]
    decode = model.decoder.forward
    model.decoder.forward = lambda features, condition: (
        seen.update(condition=condition) or decode(features, condition)
    )
    visual = torch.zeros(1, 1, 6, dtype=torch.float64)
    visual[..., 0] = 1
    feature = torch.randn(1, 1, 16, 16, dtype=torch.float64)
    model(feature, visual)
    features = model.encoder(feature)
    tokens = model._gather(features[-1].flatten(2).transpose(1, 2))
    torch.testing.assert_close(seen["condition"][0], tokens[:, 2])


@pytest.mark.parametrize("option", [{"layers": 1}, {"heads": 3}])
def test_bad_options(option):
    with pytest.raises(ValueError, match="layers|heads"):
        build(**option)
