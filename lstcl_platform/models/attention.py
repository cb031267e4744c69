"""Attention, with a learned bias inside windows or without, in the way that is fastest on the device at hand.

torch's fused kernels for CPUs have no gradient for the bias: with one, `scaled_dot_product_attention` falls
back to plain tensor operations that write every probability to memory several times. So training on a CPU
recomputes the probabilities in the backward pass, a cache-sized piece at a time; none is kept. In bfloat16 the
CPU's matrix units make the written-out formula the fastest, with or without gradient.

Shapes: B clips, W windows of a clip, G heads, N tokens of a window, D channels of a head.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_PIECE = 1 << 19
"""Probabilities handled at a time in the backward pass: 2 MiB in float32, about a core's own cache."""
_SHORT = 64
"""Up to so many tokens a row, torch's fused kernel for CPUs loses to the written-out formula (1.9 x at 8 tokens)."""


def row_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v inside each row.

    Args:
        q: Queries (R, G, N, D): R rows of N tokens.
        k: Keys, the same shape.
        v: Values, the same shape.

    Returns:
        (R, G, N, D).
    """
    if q.device.type == "cpu" and (q.shape[-2] <= _SHORT or q.dtype in (torch.bfloat16, torch.float16)):
        return _plain(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


def window_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v.

    Args:
        q: Queries (B, W, G, N, D).
        k: Keys, the same shape.
        v: Values, the same shape.
        bias: Added to the logits: (1, G, N, N), or (W, G, N, N) where windows differ.

    Returns:
        (B, W, G, N, D).
    """
    bias = bias.to(q.dtype)
    if q.device.type == "cpu":
        if q.dtype in (torch.bfloat16, torch.float16):
            return _plain(q, k, v, bias)
        if torch.is_grad_enabled() and bias.requires_grad:
            out: Tensor = _recomputed(q, k, v, bias)
            return out
    return _fused(q, k, v, bias)


def _plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    out: Tensor = (logits if bias is None else logits + bias).softmax(-1) @ v
    return out


def _fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    if len(bias) == 1:
        queries, keys, values = (x.flatten(0, 1) for x in (q, k, v))
    else:
        # The kernels take one batch axis: windows become heads, so that all clips share the bias unexpanded.
        queries, keys, values = (x.flatten(1, 2) for x in (q, k, v))
        bias = bias.flatten(0, 1).unsqueeze(0)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias).view(q.shape)


class _Recomputed(torch.autograd.Function):
    """The fused forward pass with a backward pass that also answers for the bias."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        out = _fused(q, k, v, bias.detach())
        ctx.save_for_backward(q, k, v, bias, out)
        return out

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Read once: a checkpointed block computes them again at each reading.
        saved = ctx.saved_tensors
        bias = saved[3]
        # (items, rows of the bias, G, N, D): windows that share a bias are items like the clips.
        q, k, v, out, outer = (
            x if len(bias) > 1 else x.flatten(0, 1).unsqueeze(1)
            for x in (*saved[:3], saved[4], output_grads[0])
        )
        scale = q.shape[-1] ** -0.5
        grads = q.new_empty((3, *q.shape))
        bias_grad = torch.zeros_like(bias)
        inner = (outer * out).sum(-1, keepdim=True)
        scaled = q * scale
        for part in _pieces(q.shape):
            _, row, heads = part
            queries, keys = scaled[part], k[part]
            weights = (queries @ keys.transpose(-2, -1)).add_(bias[row, heads]).softmax(-1)
            logits_grad = (outer[part] @ v[part].transpose(-2, -1)).sub_(inner[part]).mul_(weights)
            grads[0][part] = (logits_grad @ keys).mul_(scale)
            grads[1][part] = logits_grad.transpose(-2, -1) @ queries
            grads[2][part] = weights.transpose(-2, -1) @ outer[part]
            bias_grad[row, heads] += logits_grad.sum(0)
        query_grad, key_grad, value_grad = grads.view(3, *output_grads[0].shape)
        return query_grad, key_grad, value_grad, bias_grad


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch leaves it untyped
def _recomputed(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    # The compiler would unroll the loop over pieces, of which there can be hundreds.
    out: Tensor = _Recomputed.apply(q, k, v, bias)
    return out


def _pieces(shape: torch.Size) -> Iterator[tuple[slice, int, slice]]:
    """Cut (items, rows, G, N, D) into (some items, one row, some heads) of about _PIECE probabilities."""
    items, rows, heads, n, _ = shape
    some_heads = min(max(_PIECE // n**2, 1), heads)
    some_items = max(_PIECE // (some_heads * n**2), 1)
    for row in range(rows):
        for head in range(0, heads, some_heads):
            for item in range(0, items, some_items):
                yield slice(item, item + some_items), row, slice(head, head + some_heads)
