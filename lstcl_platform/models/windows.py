"""Geometry of windowed attention: which token sits in which window, who may attend whom, and how far apart.

Everything here depends on sizes alone, so it is computed once per (size, window, shift, device) and cached.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import torch
from torch import Tensor

Size3 = tuple[int, int, int]
"""A size or an offset along (time, height, width)."""

BLOCKED = -100.0
"""Added to the attention logit of two tokens that only the cyclic shift brought together (as Video-Swin)."""


def fit_window(size: Size3, window: Size3, shift: Size3) -> tuple[Size3, Size3]:
    """Shrink the window to the input along each axis where the input is not larger; no shift there.

    Args:
        size: Tokens along (T, H, W).
        window: Configured window.
        shift: Configured shift.

    Returns:
        Effective window and effective shift (Video-Swin `get_window_size`).
    """
    fits = [s <= w for s, w in zip(size, window, strict=True)]
    effective = tuple(s if fit else w for s, w, fit in zip(size, window, fits, strict=True))
    moved = tuple(0 if fit else s for s, fit in zip(shift, fits, strict=True))
    return (effective[0], effective[1], effective[2]), (moved[0], moved[1], moved[2])


def partition(volume: Tensor, window: Size3) -> Tensor:
    """Cut a (T, H, W) volume of whole windows into rows: (windows, tokens of a window)."""
    (t, h, w), (wt, wh, ww) = volume.shape, window
    cut = volume.view(t // wt, wt, h // wh, wh, w // ww, ww).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(-1, prod(window))


def relative_position_index(window: Size3, table_window: Size3) -> Tensor:
    """Row of the bias table for each (query, key) pair of an effective window.

    The offset of a pair decides, so the answer also holds when the window has shrunk in height or width. (The
    reference slices the full window's index instead, which is right only when time alone has shrunk.)

    Args:
        window: Effective window; not larger than `table_window` along any axis.
        table_window: Window the table was made for; it has (2Wt-1)(2Wh-1)(2Ww-1) rows.

    Returns:
        int64 (N, N) with N = tokens of the effective window, row-major over (t, h, w).
    """
    grid = torch.cartesian_prod(*(torch.arange(w) for w in window))
    offset = grid[:, None] - grid[None, :] + torch.tensor([w - 1 for w in table_window])
    _, wh, ww = table_window
    return (offset * torch.tensor([(2 * wh - 1) * (2 * ww - 1), 2 * ww - 1, 1])).sum(-1)


@lru_cache(maxsize=64)
def bias_index(window: Size3, table_window: Size3, device: torch.device) -> Tensor:
    """`relative_position_index`, flat (N * N,), on a device; the same tensor for the same arguments."""
    with torch.inference_mode(False), torch.device("cpu"):
        return relative_position_index(window, table_window).flatten().to(device)


def blocked_pairs(size: Size3, window: Size3, shift: Size3) -> Tensor:
    """Pairs of tokens that share a shifted window but come from different ends of the volume.

    Args:
        size: Padded sizes, multiples of `window`.
        window: Effective window.
        shift: Effective shift.

    Returns:
        bool (windows, N, N), true where attention is blocked.
    """
    region = torch.zeros(size, dtype=torch.int64)
    cuts = [_regions(s, w, m) for s, w, m in zip(size, window, shift, strict=True)]
    for number, (t, h, w) in enumerate(product(*cuts)):
        region[t, h, w] = number
    rows = partition(region, window)
    return rows[:, :, None] != rows[:, None, :]


def _regions(size: int, window: int, shift: int) -> Iterator[slice]:
    if shift == 0:
        yield slice(0, size)
        return
    yield from (slice(0, size - window), slice(size - window, size - shift), slice(size - shift, size))


@dataclass(frozen=True, eq=False)
class Reordering:
    """A permutation of tokens: new[:, i] = old[:, order[i]]; `inverse` undoes it."""

    order: Tensor
    """int64 (L,)."""
    inverse: Tensor
    """int64 (L,)."""


@dataclass(frozen=True, eq=False)
class WindowOrder:
    """The tokens of a padded volume in window order, for one shift."""

    count: int
    """Windows in a clip."""
    tokens: int
    """Tokens N in a window."""
    padding: Tensor | None
    """bool (L, 1): true where the slot holds padding; None without padding."""
    mask: Tensor | None
    """float32 (windows, 1, N, N): 0 or BLOCKED; None where nothing is blocked."""


@dataclass(frozen=True, eq=False)
class StageLayout:
    """How the tokens of one stage are ordered while they pass through its blocks."""

    window: Size3
    """Effective window."""
    padded: Size3
    """Sizes after padding at the end of each axis."""
    plain: WindowOrder
    """Order of the blocks without shift."""
    shifted: WindowOrder | None
    """Order of the blocks with shift; None where the shift is zero along every axis."""
    enter: Reordering | None
    """Row-major to plain; None where it is the identity."""
    shift: Reordering | None
    """Plain to shifted."""
    unshift: Reordering | None
    """Shifted to plain."""
    leave: Reordering | None
    """Plain to row-major."""


@lru_cache(maxsize=64)
def stage_layout(size: Size3, window: Size3, shift: Size3, device: torch.device) -> StageLayout:
    """Lay out a stage.

    Args:
        size: Tokens along (T, H, W) of the stage's input.
        window: Configured window.
        shift: Configured shift of the odd blocks.
        device: Where the index and mask tensors live.

    Returns:
        The layout; the same object for the same arguments.
    """
    window, shift = fit_window(size, window, shift)
    t, h, w = (-(-s // n) * n for s, n in zip(size, window, strict=True))
    padded = (t, h, w)
    # A cached tensor made under inference mode could not take part in a later backward pass.
    with torch.inference_mode(False), torch.device("cpu"):
        rows = torch.arange(prod(padded))
        plain = _slots(rows, padded, window, (0, 0, 0))
        enter, leave = _between(rows, plain, device)
        if not any(shift):
            order = _window_order(plain, size, padded, window, None, device)
            return StageLayout(window, padded, order, None, enter, None, None, leave)
        moved = _slots(rows, padded, window, shift)
        to_shifted, to_plain = _between(plain, moved, device)
        return StageLayout(
            window=window,
            padded=padded,
            plain=_window_order(plain, size, padded, window, None, device),
            shifted=_window_order(moved, size, padded, window, shift, device),
            enter=enter,
            shift=to_shifted,
            unshift=to_plain,
            leave=leave,
        )


def _slots(rows: Tensor, padded: Size3, window: Size3, shift: Size3) -> Tensor:
    """Row-major position held by each slot of the window order: int64 (L,)."""
    volume = rows.view(padded).roll(tuple(-s for s in shift), dims=(0, 1, 2))
    return partition(volume, window).flatten()


def _between(
    source: Tensor, target: Tensor, device: torch.device
) -> tuple[Reordering | None, Reordering | None]:
    if torch.equal(source, target):
        return None, None
    order = source.argsort()[target].to(device)
    inverse = target.argsort()[source].to(device)
    return Reordering(order, inverse), Reordering(inverse, order)


def _window_order(
    slots: Tensor, size: Size3, padded: Size3, window: Size3, shift: Size3 | None, device: torch.device
) -> WindowOrder:
    padding = None
    if padded != size:
        real = torch.zeros(padded, dtype=torch.bool)
        real[: size[0], : size[1], : size[2]] = True
        padding = ~real.flatten()[slots, None].to(device)
    mask = None
    if shift is not None:
        blocked = blocked_pairs(padded, window, shift)
        mask = (blocked.to(torch.float32) * BLOCKED)[:, None].to(device)
    return WindowOrder(slots.numel() // prod(window), prod(window), padding, mask)
