"""The only BatchNorm of the project: over several sources and several processes.

Every network that trains uses it, so that a training over several processes computes
what one process with the whole batch does.
"""

from typing import Any, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STATISTICS = ("per_source", "joint")


class _Normalise(torch.autograd.Function):
    """Normalise by the statistics of this process, or of all processes.

    With n the values of a channel in all processes, their mean m and variance v,

        y = w (x - m) / sqrt(v + eps) + b,

    and, with z = (x - m) / sqrt(v + eps) and g = dL/dy,

        dL/dx = w / sqrt(v + eps) (g - sum(g) / n - z sum(g z) / n)

    where the sums run over all processes that share the statistics. dL/dw and dL/db are
    this process' part: DistributedDataParallel adds them up as it does for all other
    weights.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, sync: bool
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        var, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        count = values.numel() // values.size(1)
        total = mean.new_tensor(count)
        if sync:
            mean, var, total = pooled_moments(mean, var, count)
        ctx.sync = sync
        scale = (var + eps).rsqrt()
        z = (values - mean[:, None, None]) * scale[:, None, None]
        ctx.save_for_backward(z, weight, scale, total)
        y = z * weight[:, None, None] + bias[:, None, None]
        ctx.mark_non_differentiable(mean, var, total)
        return y.to(x.dtype), mean, var, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> Tuple:
        z, weight, scale, total = ctx.saved_tensors
        values = grad.to(z.dtype)
        own = torch.stack([values.sum(dim=(0, 2, 3)), (values * z).sum(dim=(0, 2, 3))])
        sums = own.clone()
        if ctx.sync:
            torch.distributed.all_reduce(sums)
        mean_g, mean_gz = (sums / total)[..., None, None]
        grad_x = (values - mean_g - z * mean_gz) * (weight * scale)[:, None, None]
        return grad_x.to(grad.dtype), own[1], own[0], None, None


def pooled_moments(
    mean: Tensor, var: Tensor, count: int
) -> Tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of the values of all processes, from those of each.

    Args:
        mean: Mean of this process' values, (C,).
        var: Their variance, (C,), not corrected for the degree of freedom.
        count: Their number.

    Returns:
        Mean and variance over all processes, (C,) each, and the number of values, ().
    """
    own = torch.cat([mean, var, mean.new_full((1,), count)])
    if not several_processes():
        return mean, var, own[-1]
    parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, own)
    table = torch.stack(parts)  # (processes, 2 C + 1)
    means, variances = table[:, :-1].chunk(2, dim=1)
    total = table[:, -1].sum()
    share = table[:, -1:] / total
    mean = (share * means).sum(dim=0)
    # About each process' own mean, then moved: large means lose no digits.
    return mean, (share * (variances + (means - mean).square())).sum(dim=0), total


def several_processes() -> bool:
    """Whether this process trains together with others."""
    distributed = torch.distributed
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


class SourceBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over maps of several sources stacked along the batch axis.

    Args:
        num_features: Channels.
        statistics: "per_source" takes the statistics of one source at a time, which
            equals one pass of the decoder per source; "joint" takes them over all
            sources together (faster, other masks in training). In evaluation both are
            the same function.
        sync: In training over several processes (DistributedDataParallel), take the
            statistics over all of them, so that the result is that of one process with
            the whole batch; else each process has its own.
    """

    def __init__(
        self, num_features: int, statistics: str = "per_source", sync: bool = True
    ):
        super().__init__(num_features)
        if statistics not in STATISTICS:
            raise ValueError(
                f"bn_statistics={statistics!r}: expected one of {STATISTICS}."
            )
        self.statistics = statistics
        self.sync = sync

    def forward(
        self, x: Tensor, num_sources: int = 1, counted: Optional[Tensor] = None
    ) -> Tensor:
        """Normalise (N * B, C, H, W), stacked source by source.

        Args:
            x: The maps.
            num_sources: N.
            counted: Which maps are no padding, (N * B,). In training the statistics
                are of these, and the others become zero.
        """
        if not self.training:
            return self._normalise(x)
        number = 1 if self.statistics == "joint" else num_sources
        parts = list(x.chunk(number))
        if counted is None or counted.all():
            parts = [self._normalise(part) for part in parts]
        else:
            for n, kept in enumerate(counted.chunk(number)):
                y = self._normalise(parts[n][kept])
                parts[n] = torch.zeros_like(parts[n]).index_put((kept,), y)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def scale_and_shift(self) -> Tuple[Tensor, Tensor]:
        """Evaluation is y = scale x + shift; return both, (C,) each."""
        # bfloat16 has too few digits for what is in between.
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        scale = self.weight.to(dtype) * (self.running_var.to(dtype) + self.eps).rsqrt()
        shift = self.bias.to(dtype) - self.running_mean.to(dtype) * scale
        return scale.to(self.weight.dtype), shift.to(self.weight.dtype)

    def _normalise(self, x: Tensor) -> Tensor:
        sync = self.sync and several_processes()
        if not (self.training and (sync or _ambiguous_layout(x))):
            return super().forward(x)
        y, mean, var, total = _Normalise.apply(
            x, self.weight, self.bias, self.eps, sync
        )
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            unbiased = var * (total / (total - 1).clamp(min=1))
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        return y


class FoldedSequential(nn.Sequential):
    """Convolutions, each followed by its BatchNorm, and other layers.

    In evaluation, a BatchNorm is folded into the convolution before it. This is done in
    each call, so that folded weights are never out of date. Weights keep their names.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to (B, C, H, W)."""
        folded = None
        layers = list(self)
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            if layer is folded:
                continue
            if isinstance(following, SourceBatchNorm2d) and not following.training:
                folded = following
                x = _convolve(layer, following, x)
            else:
                x = layer(x)
        return x


def _convolve(conv: nn.Module, norm: SourceBatchNorm2d, x: Tensor) -> Tensor:
    """Apply a convolution without bias, with the BatchNorm behind it, in evaluation."""
    scale, shift = norm.scale_and_shift()
    if isinstance(conv, nn.ConvTranspose2d):
        weight = conv.weight * scale[:, None, None]
        return F.conv_transpose2d(x, weight, shift, conv.stride, conv.padding)
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(x, weight, shift, conv.stride, conv.padding)


def _ambiguous_layout(x: Tensor) -> bool:
    """Whether (M, C, H, W) can be "contiguous" and "channels last" at the same time.

    For such maps the gradients of torch's batch_norm on a CPU are wrong (torch 2.11)
    where the strides of the gradient order the axes in another way than those of x.
    """
    return x.size(1) > 1 and (x.size(0) == 1 or 1 in x.shape[2:])
