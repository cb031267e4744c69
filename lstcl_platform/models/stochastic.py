"""Layers that drop at random, with draws that belong to a sample and not to the worker that computes it.

All ranks seed torch alike before a step. Such a layer draws for the samples of all ranks and keeps the rows
of its own, so that a sample meets the same draws for every number of ranks. What is drawn in vain is one
number a sample (drop path) or a feature (dropout).
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class BatchShare:
    """Which rows of the joined batch a module sees.

    Attributes:
        rank: number of this rank, from 0.
        world_size: ranks; each holds equally many samples, rank by rank.
        views: blocks that the batch of a rank is made of (2: short clips, then long ones).
    """

    rank: int = 0
    world_size: int = 1
    views: int = 1


class SampleDrop(nn.Module):
    """Zeroes values with probability `rate` while training and scales the others by 1 / (1 - rate).

    Args:
        rate: In [0, 1).
        per_sample: One draw for all values of a row (drop path; Huang et al. 2016) instead of one for each
            (dropout).

    Raises:
        ValueError: `rate` is out of range.
    """

    def __init__(self, rate: float, *, per_sample: bool) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"a drop rate must be in [0, 1), not {rate}")
        self.rate = rate
        self.per_sample = per_sample
        self.share = BatchShare()

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> the same shape; N is a multiple of the samples, whose rows follow one another."""
        if self.rate == 0 or not self.training:
            return x
        share = self.share
        rows = len(x) // share.views
        shape = (1,) * (x.ndim - 1) if self.per_sample else x.shape[1:]
        kept = x.new_empty((share.views, share.world_size, rows, *shape)).bernoulli_(1 - self.rate)
        return x * kept[:, share.rank].flatten(0, 1).div_(1 - self.rate)

    def extra_repr(self) -> str:
        """Shown in the module's repr."""
        return f"{self.rate:g}, per_sample={self.per_sample}"


class DropPath(SampleDrop):
    """Drops the branch of whole samples: stochastic depth."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate, per_sample=True)


class Dropout(SampleDrop):
    """Drops single values."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate, per_sample=False)


def share_batch(model: nn.Module, share: BatchShare) -> None:
    """Tell all layers of `model` that drop which rows of the joined batch are theirs."""
    for module in model.modules():
        if isinstance(module, SampleDrop):
            module.share = share
