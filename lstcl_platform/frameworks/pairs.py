"""Queries and keys of the two views of a batch: who belongs to whom, and figures on them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lstcl_platform.frameworks.workers import rank_and_count


def unit_rows(x: Tensor) -> Tensor:
    """Rows scaled to length 1, in at least float32."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=1)


def own_columns(queries: Tensor) -> Tensor:
    """Row of each of this worker's videos among the keys of all workers, int64 (B,)."""
    rank, _ = rank_and_count()
    return torch.arange(len(queries), device=queries.device) + rank * len(queries)


def retrieval_top1(queries: Tensor, keys: Tensor) -> Tensor:
    """Share of this worker's queries whose most similar key is of the same video, a scalar in [0, 1].

    Args:
        queries: Unit rows (B, D) of this worker.
        keys: Unit rows (workers * B, D) of all workers, in order of rank.
    """
    found = (queries @ keys.T).argmax(1).eq(own_columns(queries))
    return found.to(queries.dtype).mean()


def spread(rows: Tensor) -> Tensor:
    """Standard deviation of unit rows (B, D) over the batch, averaged over dimensions, times sqrt(D)."""
    return rows.std(0, correction=0).mean() * math.sqrt(rows.shape[1])
