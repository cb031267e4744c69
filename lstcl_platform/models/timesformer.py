"""TimeSformer (Bertasius et al. 2021; paper, Eq. 1-2): a ViT on clips, with attention over time and space.

Equal to the public code (facebookresearch/TimeSformer, `timesformer/models/vit.py`), with its parameter names.
Shapes: B clips, T frames, N patches of a frame, D channels, R rows that are attended apart, L tokens of a row.
Tokens of a clip are in the order cls, then patches with time running fastest.
"""

from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import Mlp, trunc_normal_
from torch import Tensor, nn

from lstcl_platform.models.attention import row_attention
from lstcl_platform.models.backbone import Backbone
from lstcl_platform.models.block import TransformerBlock, through
from lstcl_platform.models.stochastic import DropPath

AttentionKind = Literal["divided", "joint", "space_only"]

_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention inside each row."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(R, L, D) -> (R, L, D)."""
        rows, length, dim = x.shape
        qkv = self.qkv(x).view(rows, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = row_attention(q, k, v).transpose(1, 2).reshape(rows, length, dim)
        projected: Tensor = self.proj(out)
        return projected


class Block(TransformerBlock):
    """ViT's pre-norm block: all tokens of a row attend one another."""

    def __init__(self, dim: int, heads: int, *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = Attention(dim, heads)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(R, L, D) -> (R, L, D); how many frames are in a row makes no difference."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class DividedBlock(Block):
    """Attention over the frames at one place, then over the places of one frame (paper, Eq. 1 and 2).

    The cls token takes no part over time; over space it attends in each frame and takes the mean. The layer
    `temporal_fc` is in the public code, not in Eq. 2; stochastic depth acts before it, so its bias stays.
    """

    def __init__(self, dim: int, heads: int, *, drop_path: float) -> None:
        super().__init__(dim, heads, drop_path=drop_path)
        self.temporal_norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.temporal_attn = Attention(dim, heads)
        self.temporal_fc = nn.Linear(dim, dim)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B, 1 + N*T, D) -> the same shape, T = `frames`."""
        batch, _, dim = x.shape
        cls, patches = x[:, :1], x[:, 1:]
        tracks = self.temporal_norm1(patches).view(-1, frames, dim)
        over_time = self.drop_path(self.temporal_attn(tracks)).view(batch, -1, dim)
        patches = (patches + self.temporal_fc(over_time)).view(batch, -1, frames, dim)

        images = torch.cat((cls.unsqueeze(1).expand(-1, frames, -1, -1), patches.transpose(1, 2)), dim=2)
        over_space = self.drop_path(self.attn(self.norm1(images.flatten(0, 1)))).view(images.shape)
        cls = cls + over_space[:, :, 0].mean(1, keepdim=True)
        patches = patches + over_space[:, :, 1:].transpose(1, 2)

        x = torch.cat((cls, patches.flatten(1, 2)), dim=1)
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """Square patches of each frame to tokens; what is left over at the right and the bottom is not seen."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 3, T, H, W) pixels -> (B, T, D, H', W')."""
        tokens: Tensor = self.proj(clip.transpose(1, 2).flatten(0, 1)).unflatten(0, (clip.shape[0], -1))
        return tokens


class TimeSformer(Backbone):
    """TimeSformer: (B, 3, T, H, W) -> the cls token after the last LayerNorm, (B, D).

    Clips of another size than stated are taken too: position tables are then resized by nearest neighbour, as
    in the public code (which leaves the spatial one as it is where the number of patches is the same).

    Args:
        dim: Channels D.
        depth: Blocks.
        heads: Attention heads; divides `dim`.
        patch: Side of a patch in pixels.
        frames: Frames T that `time_embed` is made for.
        image_size: Height and width in pixels that `pos_embed` is made for.
        attention: `divided`: over time, then over space; `joint`: over all tokens of the clip at once;
            `space_only`: each frame apart, cls tokens averaged over frames before the last LayerNorm.
        drop_path: Stochastic depth of the last block, in [0, 1); rises linearly from 0 at the first.
        init_std: Deviation of the truncated normal that linear weights and tables are drawn from.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        frames: int,
        image_size: int,
        patch: int = 16,
        attention: AttentionKind = "divided",
        drop_path: float = 0.0,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.feature_dim = dim
        self.attention = attention
        self.patch_embed = PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch) ** 2, dim))
        if attention != "space_only":
            self.time_embed = nn.Parameter(torch.zeros(1, frames, dim))
        block = DividedBlock if attention == "divided" else Block
        self.blocks = nn.ModuleList(
            block(dim, heads, drop_path=drop_path * i / max(depth - 1, 1)) for i in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.apply(partial(_initialise, std=init_std))
        trunc_normal_(self.cls_token, std=init_std)
        trunc_normal_(self.pos_embed, std=init_std)

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 3, T, H, W) float, normalised -> (B, D)."""
        grid = self.patch_embed(clip)
        batch, frames, dim, height, width = grid.shape
        cls = self.cls_token + self.pos_embed[:, :1]
        # (B, T, N, D)
        patches = grid.flatten(3).transpose(2, 3) + self._places(height, width)
        if self.attention == "space_only":
            x = torch.cat((cls.expand(batch * frames, -1, -1), patches.flatten(0, 1)), dim=1)
        else:
            patches = patches.transpose(1, 2) + self._times(frames)
            x = torch.cat((cls.expand(batch, -1, -1), patches.flatten(1, 2)), dim=1)
        for block in self.blocks:
            x = through(block, x, frames)
        # Of (B, 1, D), or of (B, T, D) where frames are apart.
        feature: Tensor = self.norm(x[:, 0].view(batch, -1, dim).mean(1))
        return feature

    def patch_projection(self) -> nn.Module:
        """The patch convolution."""
        return self.patch_embed.proj

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Embedding with tables and cls token, then every block."""
        return {"stem": r"^(?:patch_embed|cls_token|pos_embed|time_embed)", "blocks": r"^blocks\.(\d+)"}

    def _places(self, height: int, width: int) -> Tensor:
        """(1, N, D) for a grid of `height` x `width` patches."""
        table = self.pos_embed[:, 1:]
        if table.shape[1] == height * width:
            return table
        side = int(table.shape[1] ** 0.5)
        square = table.transpose(1, 2).reshape(1, -1, side, side)
        return F.interpolate(square, size=(height, width), mode="nearest").flatten(2).transpose(1, 2)

    def _times(self, frames: int) -> Tensor:
        """(1, T, D)."""
        if self.time_embed.shape[1] == frames:
            return self.time_embed
        return F.interpolate(self.time_embed.transpose(1, 2), size=frames, mode="nearest").transpose(1, 2)


def _initialise(module: nn.Module, *, std: float) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d) and module.bias is not None:
        # MoCo v3's values for a patch embedding that may stay frozen: U(+-sqrt(6 / (inputs + outputs))).
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
        nn.init.zeros_(module.bias)
    elif isinstance(module, DividedBlock):
        # A new model is an image model: temporal attention adds nothing until it is trained. (Children come
        # before their parents here.)
        nn.init.zeros_(module.temporal_fc.weight)
        nn.init.zeros_(module.temporal_fc.bias)
