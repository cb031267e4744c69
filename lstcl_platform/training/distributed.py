"""The few collectives of a stage; with one rank each is the identity and needs no process group."""

from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lstcl_platform.training.context import StageContext

Value = TypeVar("Value")


def use_device(context: StageContext) -> None:
    """Make this rank's GPU the current one: object collectives and CUDA defaults go there."""
    if context.device.type == "cuda":
        torch.cuda.set_device(context.device)


def distribute(model: nn.Module, context: StageContext) -> nn.Module:
    """`model` with gradients averaged over ranks; parameters start as rank 0's.

    Buffers are not broadcast: BatchNorm statistics are taken over all ranks, so they are equal anyway.
    """
    if context.world_size == 1:
        return model
    return DistributedDataParallel(
        model,
        device_ids=[context.device] if context.device.type == "cuda" else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )


def without_sync(model: nn.Module, *, when: bool) -> AbstractContextManager[object]:
    """Context in which backward only accumulates: no gradient leaves this rank if `when`."""
    if when and isinstance(model, DistributedDataParallel):
        return cast(AbstractContextManager[object], model.no_sync())
    return nullcontext()


def mean_over_ranks(values: Tensor, context: StageContext) -> Tensor:
    """Elementwise mean over ranks, on all ranks."""
    if context.world_size == 1:
        return values
    total = values.to(context.device, copy=True)
    dist.all_reduce(total)
    return total / context.world_size


def from_main(value: Value | None, context: StageContext) -> Value:
    """Rank 0's `value` on all ranks; the others pass None. No rank returns before rank 0 has called."""
    if context.world_size > 1:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        value = box[0]
    return cast(Value, value)


def gather_on_main(value: Value, context: StageContext) -> list[Value]:
    """All ranks' values in order of rank on rank 0, and an empty list elsewhere."""
    if context.world_size == 1:
        return [value]
    gathered: list[Value] = [value] * context.world_size if context.is_main else []
    dist.gather_object(value, gathered if context.is_main else None, dst=0)
    return gathered
