"""The separator's equations written straightforwardly: the oracle and the yardstick.

The whole network runs once per source; maps are up-sampled, concatenated and then
convolved; the inner product of late fusion is a step of its own. The parameters are
those of an HFRASeparator.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def _norm(x: Tensor, norm: torch.nn.BatchNorm2d) -> Tensor:
    return F.batch_norm(
        x,
        norm.running_mean.clone(),
        norm.running_var.clone(),
        norm.weight,
        norm.bias,
        training=norm.training,
    )


def separate_one(model, feature: Tensor, visual: Tensor) -> Tensor:
    """Mask logits of one source.

    Args:
        model: HFRASeparator.
        feature: (B, 1, F, T), both axes multiples of 2 ** levels.
        visual: (B, D).

    Returns:
        (B, F, T).
    """
    encoder, decoder = model.encoder, model.decoder
    x = _norm(feature, encoder.input_norm)
    skips = []
    for level, (conv, norm) in enumerate(
        zip(encoder.convs, encoder.norms, strict=True)
    ):
        x = conv(F.leaky_relu(x, 0.2) if level else x)
        if isinstance(norm, torch.nn.BatchNorm2d):
            x = _norm(x, norm)
        skips.append(x)
    x = skips.pop()
    if model.middle_projection is not None:
        condition = model.middle_projection(visual)[:, :, None, None]
        x = torch.cat([x, condition.expand(-1, -1, *x.shape[-2:])], dim=1)
    for index, block in enumerate(decoder.blocks):
        if index > 0:
            x = torch.cat([skips.pop(), x], dim=1)
        x = F.interpolate(
            F.relu(x), scale_factor=2, mode="bilinear", align_corners=True
        )
        x = F.conv2d(x, block.conv.weight, block.conv.bias, padding=1)
        norm = getattr(block, "norm", None)
        if norm is not None:
            x = _norm(x, norm)
    if model.late_projection is None:
        return x[:, 0]
    query = model.late_projection(visual) * model.late_scale
    return (query[:, :, None, None] * x).sum(dim=1) + model.late_bias


def separate(model, feature: Tensor, visual: Tensor) -> Tensor:
    """Mask logits (B, N, F, T) of visual inputs (B, N, D), one pass per source."""
    return torch.stack(
        [separate_one(model, feature, e) for e in visual.unbind(dim=1)], dim=1
    )


class PlainHFRASeparator(torch.nn.Module):
    """The plain network as a module, in PyTorch's default memory format.

    Args:
        model: HFRASeparator, whose parameters it takes over.
    """

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model.to(memory_format=torch.contiguous_format)

    def forward(self, feature: Tensor, visual: Tensor):
        """Return the mask logits (B, N, F, T), and no bottleneck."""
        return separate(self.model, feature, visual), feature.new_zeros(())
