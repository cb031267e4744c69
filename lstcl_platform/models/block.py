"""What every transformer block of the backbones is, and how a backbone passes its tokens through one."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class TransformerBlock(nn.Module):
    """A block: tokens (R, L, C), and what else it takes, to tokens of the same shape."""

    recomputed: bool = False
    """Keep only the block's input and compute the rest again in the backward pass: activation checkpointing."""


def through(block: nn.Module, x: Tensor, *others: Any) -> Tensor:
    """`block(x, *others)`; nothing inside it is kept for the backward pass if it says so."""
    if getattr(block, "recomputed", False) and torch.is_grad_enabled():
        kept: Tensor = checkpoint(block, x, *others, use_reentrant=False)
        return kept
    out: Tensor = block(x, *others)
    return out


def blocks_of(model: nn.Module) -> Iterator[TransformerBlock]:
    """All transformer blocks in a module, from the input on."""
    for module in model.modules():
        if isinstance(module, TransformerBlock):
            yield module
