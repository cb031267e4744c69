"""What the frameworks need to know of the other workers of a training job."""

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_count() -> tuple[int, int]:
    """Rank of this worker and number of workers; (0, 1) when no process group exists."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(x: Tensor) -> Tensor:
    """Stack a tensor over workers, without gradient.

    Args:
        x: Tensor of the same shape on every worker.

    Returns:
        (workers, *x.shape), in order of rank.
    """
    _, count = rank_and_count()
    x = x.detach().contiguous()
    if count == 1:
        return x.unsqueeze(0)
    gathered = torch.empty((count, *x.shape), dtype=x.dtype, device=x.device)
    dist.all_gather_into_tensor(gathered.flatten(0, 1), x)
    return gathered
