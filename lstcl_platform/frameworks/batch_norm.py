"""BatchNorm over the joined batch of all workers, on any device.

torch.nn.SyncBatchNorm refuses CPU tensors, so several CPU workers (gloo) could not equal one. The class here
is a BatchNorm1d to state dicts and to `torch.nn.SyncBatchNorm.convert_sync_batchnorm`.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lstcl_platform.frameworks.workers import gather, rank_and_count


class _Normalise(torch.autograd.Function):
    """(x - mean) * rstd with the statistics of the joined batch, which the gradient runs through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        normed = (x - mean) * rstd
        ctx.save_for_backward(normed, rstd)
        return normed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        normed, rstd = ctx.saved_tensors
        grad = grads[0]
        _, count = rank_and_count()
        sums = torch.stack([grad.sum(0), (grad * normed).sum(0)])
        dist.all_reduce(sums)
        mean_grad, mean_product = sums / (count * len(grad))
        return (grad - mean_grad - normed * mean_product) * rstd, None, None


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm1d whose training statistics are those of all workers' rows together.

    Every worker must bring the same number of rows. With one worker it is BatchNorm1d.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        _, count = rank_and_count()
        if not self.training or count == 1:
            return super().forward(input)
        wide = torch.promote_types(input.dtype, torch.float32)
        with torch.autocast(input.device.type, enabled=False):
            x = input.to(wide)
            rows = count * len(x)
            with torch.no_grad():
                # Parallel form of the variance (Chan et al.): no cancellation, and one exchange.
                means, variances = gather(torch.stack(torch.var_mean(x, 0, correction=0)[::-1])).unbind(1)
                mean = means.mean(0)
                variance = variances.mean(0) + means.var(0, correction=0)
                self._track(mean, variance * (rows / max(rows - 1, 1)))
            out: Tensor = _Normalise.apply(x, mean, torch.rsqrt(variance + self.eps))
            if self.affine:
                out = out * self.weight + self.bias
        return out.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)
