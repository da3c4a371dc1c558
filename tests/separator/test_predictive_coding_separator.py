import pytest
import torch
from torch.nn import functional as F

from espnet2_avsep.separator.predictive_coding_separator import (
    PredictiveCodingSeparator,
)


def build(**options):
    torch.manual_seed(0)
    conf = {"visual_dim": 6, "channels": 8, "layers": 3, "cycles": 3, "width": 4}
    model = PredictiveCodingSeparator(**{**conf, **options}).double()
    with torch.no_grad():
        for rate in [*model.rate_up, *model.rate_down]:
            rate.normal_()
    return model


def one_source(model, feature, visual):
    """The equations of the class, written out for one source of one mixture."""
    act = lambda level, x: F.leaky_relu(model.norms[level](x), 0.2)  # noqa: E731
    r = [model.stem(feature)]
    for n, up in enumerate(model.up):
        r.append(act(n, model.rate_up[n] * up(r[n])))
    for cycle in range(model.cycles):
        r[-1] = r[-1] + model.condition(visual)[:, :, None, None]
        p = [None] * len(model.up)
        for n in range(len(model.up) - 1, -1, -1):
            p[n] = model.down[n](r[n + 1])
            if n > 0:
                b = torch.sigmoid(model.rate_down[n - 1])
                r[n] = (1 - b) * r[n] + b * p[n]
        if cycle == model.cycles - 1:
            return model.head(torch.cat([p[0], r[0]], dim=1))[:, 0]
        for n, up in enumerate(model.up):
            r[n + 1] = act(n, r[n + 1] + model.rate_up[n] * up(r[n] - p[n]))
    return None


@pytest.mark.parametrize("cycles", [1, 2, 4])
def test_equals_the_equations_source_by_source(cycles):
    model = build(cycles=cycles)
    feature = torch.randn(2, 1, 16, 24, dtype=torch.float64)
    visual = torch.randn(2, 3, 6, dtype=torch.float64)
    logits, _ = model(feature, visual)
    for b in range(2):
        for n in range(3):
            expected = one_source(model, feature[b : b + 1], visual[b : b + 1, n])
            torch.testing.assert_close(logits[b : b + 1, n], expected)


def test_the_first_way_up_runs_once_per_mixture():
    model, sizes = build(cycles=2), []
    model.up[0].register_forward_hook(lambda *args: sizes.append(len(args[2])))
    feature = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    model(feature, torch.randn(2, 3, 6, dtype=torch.float64))
    assert sizes == [2, 6]


@pytest.mark.parametrize("option", [{"layers": 1}, {"cycles": 0}])
def test_bad_options(option):
    with pytest.raises(ValueError, match="at least"):
        build(**option)
