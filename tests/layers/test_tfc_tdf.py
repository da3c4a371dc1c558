import torch
from torch.nn import functional as F

from espnet2_avsep.layers.tfc_tdf import TFCTDFBlock


def block(**options):
    torch.manual_seed(0)
    return TFCTDFBlock(3, 16, **options).double().eval()


def test_equals_the_equations():
    model = block(convs=2, reduction=2)
    with torch.no_grad():
        for buffer in model.buffers():
            if buffer.dtype == torch.float64:
                buffer.uniform_(0.5, 1.5)
    given = torch.randn(2, 3, 5, 16, dtype=torch.float64)

    def norm(x, layer):
        scale = (layer.running_var + layer.eps).rsqrt() * layer.weight
        shift = layer.bias - layer.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    y = given
    for conv, bn in ((0, 1), (3, 4)):
        y = F.conv2d(y, model.convs[conv].weight, padding=1)
        y = norm(y, model.convs[bn]).relu()
    x = given + y
    y = torch.einsum("bctf,gf->bctg", x, model.narrow.weight)
    assert y.size(-1) == 8
    y = norm(y, model.narrow_norm).relu()
    y = torch.einsum("bctg,fg->bctf", y, model.wide.weight)
    expected = x + norm(y, model.wide_norm).relu()
    torch.testing.assert_close(model(given), expected)


def test_training_normalises_by_the_batch():
    """Whatever the memory layout: the products are the same, the norms' are not."""
    model = block().train()
    given = torch.randn(2, 3, 5, 16, dtype=torch.float64)
    own = {"training": True, "momentum": 0.0, "eps": 1e-5}

    def norm(x):
        return F.batch_norm(x, torch.zeros(3).double(), torch.ones(3).double(), **own)

    x = given + norm(F.conv2d(given, model.convs[0].weight, padding=1)).relu()
    y = norm(torch.einsum("bctf,gf->bctg", x, model.narrow.weight)).relu()
    y = norm(torch.einsum("bctg,fg->bctf", y, model.wide.weight)).relu()
    expected = x + y
    torch.testing.assert_close(model(given), expected)
    given = given.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(given), expected)


def test_all_rows_of_a_frame_are_joined_and_other_frames_are_not():
    model = block()
    with torch.no_grad():
        model.convs[0].weight.zero_()
        for layer in (model.narrow, model.wide):
            layer.weight.abs_()  # no ReLU is closed
    x = torch.rand(1, 3, 4, 16, dtype=torch.float64, requires_grad=True)
    model(x)[0, :, 2, 0].sum().backward()
    assert (x.grad[0, :, 2] != 0).all()
    assert (x.grad[0, :, [0, 1, 3]] == 0).all()
