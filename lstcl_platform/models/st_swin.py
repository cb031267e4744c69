"""Space-Time Swin Transformer (paper, Section 3.3; Video Swin, Liu et al. 2021, with patches of one frame).

Parameter names are those of the public Video-Swin code (`mmaction/models/backbones/swin_transformer.py`), so
that its weights fit. Shapes: B clips, T frames, H x W token grid, L = T*H*W tokens (with padding), N tokens
of a window, C channels.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp, trunc_normal_
from torch import Tensor, nn

from lstcl_platform.models.attention import window_attention
from lstcl_platform.models.backbone import Backbone
from lstcl_platform.models.block import TransformerBlock, through
from lstcl_platform.models.stochastic import DropPath
from lstcl_platform.models.windows import (
    Reordering,
    Size3,
    StageLayout,
    WindowOrder,
    bias_index,
    stage_layout,
)


class _Reorder(torch.autograd.Function):
    """Permute tokens; the gradient is the inverse gather, cheaper than the scatter autograd would use."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return grads[0].index_select(1, inverse), None, None


def _reorder(x: Tensor, reordering: Reordering | None) -> Tensor:
    if reordering is None:
        return x
    out: Tensor = _Reorder.apply(x, reordering.order, reordering.inverse)
    return out


class PatchEmbed(nn.Module):
    """Patches of (1, 4, 4) pixels to tokens: a strided convolution and a LayerNorm."""

    def __init__(self, dim: int, patch: Size3) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(3, dim, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 3, T, H, W) pixels -> (B, T', H', W', C); sizes that patches do not divide are zero-padded."""
        pt, ph, pw = self.patch
        t, h, w = clip.shape[2:]
        if t % pt or h % ph or w % pw:
            clip = F.pad(clip, (0, -w % pw, 0, -h % ph, 0, -t % pt))
        x: Tensor = self.norm(self.proj(clip).permute(0, 2, 3, 4, 1))
        return x


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias per relative position and head."""

    def __init__(self, dim: int, heads: int, window: Size3) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, order: WindowOrder, index: Tensor) -> Tensor:
        """Attend.

        Args:
            x: Tokens (B, L, C) in window order.
            order: The window order.
            index: int64 (N * N,): row of the bias table for each pair of a window.

        Returns:
            (B, L, C) in the same order.
        """
        batch, length, channels = x.shape
        windows, n, heads = order.count, order.tokens, self.heads
        # Heads first: the gather then copies whole rows, several times as fast as indexing the table itself.
        table = self.relative_position_bias_table.T.contiguous()
        bias = table.index_select(1, index).view(heads, n, n)
        bias = bias.unsqueeze(0) if order.mask is None else bias + order.mask
        qkv = self.qkv(x).view(batch, windows, n, 3, heads, channels // heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        out = window_attention(q, k, v, bias).transpose(2, 3).reshape(batch, length, channels)
        projected: Tensor = self.proj(out)
        return projected


class Block(TransformerBlock):
    """Pre-norm transformer block on tokens in window order."""

    def __init__(self, dim: int, heads: int, window: Size3, *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=4 * dim)

    def forward(self, x: Tensor, order: WindowOrder, index: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C); padding enters attention as zeros and is attended, as in the reference."""
        normed = self.norm1(x)
        if order.padding is not None:
            normed = normed.masked_fill(order.padding, 0.0)
        x = x + self.drop_path(self.attn(normed, order, index))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchMerging(nn.Module):
    """Halve height and width: four neighbours of a frame become one token of 2C channels. Time is kept."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T, ceil(H/2), ceil(W/2), 2C)."""
        h, w = x.shape[2:4]
        if h % 2 or w % 2:
            x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        corners = [x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return merged


class Stage(nn.Module):
    """Blocks at one resolution, every second one shifted, then patch merging except after the last stage."""

    def __init__(
        self, dim: int, depth: int, heads: int, window: Size3, *, drop_path: list[float], merge: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.shift: Size3 = (window[0] // 2, window[1] // 2, window[2] // 2)
        self.blocks = nn.ModuleList(Block(dim, heads, window, drop_path=drop_path[i]) for i in range(depth))
        self.downsample = PatchMerging(dim) if merge else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> the same, or merged.

        The tokens stay in window order from block to block: one gather per change of shift replaces roll,
        partition and reverse. Padding rides along and is cut off at the end.
        """
        batch, t, h, w, channels = x.shape
        layout = stage_layout((t, h, w), self.window, self.shift, x.device)
        pt, ph, pw = layout.padded
        if layout.padded != (t, h, w):
            x = F.pad(x, (0, 0, 0, pw - w, 0, ph - h, 0, pt - t))
        tokens = self._run(_reorder(x.reshape(batch, -1, channels), layout.enter), layout)
        x = _reorder(tokens, layout.leave).view(batch, pt, ph, pw, channels)[:, :t, :h, :w]
        return x if self.downsample is None else self.downsample(x)

    def _run(self, x: Tensor, layout: StageLayout) -> Tensor:
        index = bias_index(layout.window, self.window, x.device)
        is_shifted = False
        for number, block in enumerate(self.blocks):
            want_shift = number % 2 == 1 and layout.shifted is not None
            if want_shift != is_shifted:
                x = _reorder(x, layout.shift if want_shift else layout.unshift)
                is_shifted = want_shift
            order = layout.shifted if want_shift and layout.shifted is not None else layout.plain
            x = through(block, x, order, index)
        return _reorder(x, layout.unshift) if is_shifted else x


class SpaceTimeSwin(Backbone):
    """Space-Time Swin: (B, 3, T, H, W) -> mean over all tokens of the last stage after LayerNorm, (B, D).

    Args:
        dim: Channels of the first stage; they double at each further stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        window: Attention window along (T, H, W) in tokens; an axis shorter than it is attended whole.
        patch: Pixels of a patch along (T, H, W); one frame deep in the paper, so that T is kept throughout.
        drop_path: Stochastic depth of the last block, in [0, 1); rises linearly from 0 at the first.
        init_std: Deviation of the truncated normal that linear weights are drawn from.
    """

    def __init__(
        self,
        *,
        dim: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        window: Size3 = (8, 7, 7),
        patch: Size3 = (1, 4, 4),
        drop_path: float = 0.0,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.window = window
        self.patch_embed = PatchEmbed(dim, patch)
        total = sum(depths)
        rates = [drop_path * i / max(total - 1, 1) for i in range(total)]
        self.layers = nn.ModuleList(
            Stage(
                dim * 2**i,
                depth,
                heads[i],
                window,
                drop_path=rates[sum(depths[:i]) :],
                merge=i < len(depths) - 1,
            )
            for i, depth in enumerate(depths)
        )
        self.feature_dim = dim * 2 ** (len(depths) - 1)
        self.norm = nn.LayerNorm(self.feature_dim)
        self.apply(partial(_initialise, std=init_std))

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 3, T, H, W) float, normalised -> (B, feature_dim)."""
        x = self.patch_embed(clip)
        for stage in self.layers:
            x = stage(x)
        pooled: Tensor = self.norm(x).mean(dim=(1, 2, 3))
        return pooled

    def patch_projection(self) -> nn.Module:
        """The patch convolution; the LayerNorm behind it is not part of it and stays trainable."""
        return self.patch_embed.proj

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Embedding, then every block; a merging counts with the block before it."""
        blocks = [(r"^layers\.(\d+)\.blocks\.(\d+)", None), (r"^layers\.(\d+)\.downsample", (99999,))]
        return {"stem": r"^patch_embed", "blocks": blocks}


def _initialise(module: nn.Module, *, std: float) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv3d) and module.bias is not None:
        # MoCo v3's values for a patch embedding that may stay frozen: U(+-sqrt(6 / (inputs + outputs))).
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
        nn.init.zeros_(module.bias)
