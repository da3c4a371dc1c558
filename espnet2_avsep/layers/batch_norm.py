"""BatchNorm over maps of several sources, and over the processes of a run."""

from typing import Any, Tuple

import torch
from torch import Tensor, nn

STATISTICS = ("per_source", "joint")


class _SyncedNorm(torch.autograd.Function):
    """Normalise by statistics of all processes.

    With n the values of a channel in all processes, their mean m and variance v,

        y = w (x - m) / sqrt(v + eps) + b,

    and, with z = (x - m) / sqrt(v + eps) and g = dL/dy,

        dL/dx = w / sqrt(v + eps) (g - sum(g) / n - z sum(g z) / n)

    where the sums run over all processes. dL/dw and dL/db are this process' part:
    DistributedDataParallel adds them up as it does for all other weights.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = values.new_full((1,), values.numel() / values.size(1))
        mean = values.mean(dim=(0, 2, 3))
        # Sums about this process' mean, then moved: large means lose no digits.
        spread = values.var(dim=(0, 2, 3), unbiased=False)
        parts = [
            torch.empty_like(torch.cat([mean, spread, count]))
            for _ in range(torch.distributed.get_world_size())
        ]
        torch.distributed.all_gather(parts, torch.cat([mean, spread, count]))
        table = torch.stack(parts)  # (processes, 2 C + 1)
        means, spreads = table[:, :-1].chunk(2, dim=1)
        share = table[:, -1:] / table[:, -1:].sum()
        mean = (share * means).sum(dim=0)
        var = (share * (spreads + (means - mean).square())).sum(dim=0)
        total = table[:, -1].sum()
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
        torch.distributed.all_reduce(sums)
        mean_g, mean_gz = (sums / total)[..., None, None]
        grad_x = (values - mean_g - z * mean_gz) * (weight * scale)[:, None, None]
        return grad_x.to(grad.dtype), own[1], own[0], None


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

    def forward(self, x: Tensor, num_sources: int = 1) -> Tensor:
        """Normalise (N * B, C, H, W), stacked source by source."""
        if not self.training or num_sources == 1 or self.statistics == "joint":
            return self._normalise(x)
        return torch.cat([self._normalise(part) for part in x.chunk(num_sources)])

    def _normalise(self, x: Tensor) -> Tensor:
        if not (self.training and self.sync and _several_processes()):
            return super().forward(x)
        y, mean, var, total = _SyncedNorm.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            unbiased = var * (total / (total - 1).clamp(min=1))
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        return y


def _several_processes() -> bool:
    distributed = torch.distributed
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )
