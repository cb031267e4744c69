"""Arithmetic of forward and backward: fp32, bf16 autocast, or fp16 autocast with a gradient scaler."""

from contextlib import AbstractContextManager, nullcontext

import torch

from lstcl_platform.specs.base import Precision
from lstcl_platform.specs.errors import UserError


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Context in which a forward pass runs; parameters and the optimizer stay fp32 throughout.

    Raises:
        UserError: fp16 was asked for on a CPU, where it has no fast kernels and no scaler was tried.
    """
    if precision == "fp32":
        return nullcontext()
    if precision == "fp16" and device.type != "cuda":
        raise UserError("precision: fp16 needs a GPU; on CPU use bf16 or fp32")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=dtype)


def grad_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Scaler of the loss; passes everything through unless the precision is fp16."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
