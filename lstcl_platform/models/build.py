"""From a backbone's name to the module."""

from dataclasses import dataclass, replace
from difflib import get_close_matches

from lstcl_platform.models.backbone import Backbone
from lstcl_platform.models.st_swin import SpaceTimeSwin
from lstcl_platform.models.timesformer import AttentionKind, TimeSformer
from lstcl_platform.models.windows import Size3
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec


@dataclass(frozen=True, kw_only=True)
class SwinSize:
    """Sizes of a Swin. A window of one frame makes it Swin frame by frame, averaged over frames."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: Size3 = (8, 7, 7)
    patch: Size3 = (1, 4, 4)
    init_std: float = 0.02


@dataclass(frozen=True, kw_only=True)
class TimeSformerSize:
    """Sizes of a TimeSformer."""

    dim: int
    depth: int
    heads: int
    patch: int = 16
    init_std: float = 0.02


_FRAME: Size3 = (1, 7, 7)

BACKBONES: dict[str, SwinSize | TimeSformerSize] = {
    "timesformer_base": TimeSformerSize(dim=768, depth=12, heads=12),
    "timesformer_small": TimeSformerSize(dim=384, depth=12, heads=6),
    "timesformer_tiny": TimeSformerSize(dim=192, depth=12, heads=3),
    "timesformer_micro": TimeSformerSize(dim=64, depth=2, heads=4, patch=8, init_std=0.07),
    "swin_base": SwinSize(dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=_FRAME),
    "swin_small": SwinSize(dim=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), window=_FRAME),
    "swin_tiny": SwinSize(dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=_FRAME),
    "swin_micro": SwinSize(dim=64, depths=(2,), heads=(4,), window=(1, 4, 4), patch=(1, 8, 8), init_std=0.07),
    "st_swin_base": SwinSize(dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
    "st_swin_small": SwinSize(dim=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)),
    "st_swin_tiny": SwinSize(dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "st_swin_micro": SwinSize(
        dim=64, depths=(2,), heads=(4,), window=(8, 4, 4), patch=(1, 8, 8), init_std=0.07
    ),
}
"""Base, small and tiny are the sizes of ViT and Swin; micro is for 8 x 32 x 32 clips on a CPU.

Both draw their weights with a deviation of 0.02. At micro's width that makes blocks which do next to nothing for
the first hundreds of steps, all it is given; 0.07 is about Xavier's value there.
"""


def backbone_of(
    model: ModelSpec, *, drop_path: float = 0.0, depth: tuple[int, ...] | None = None
) -> Backbone:
    """The backbone that a study asks for, with random weights; arguments and errors as in `build_backbone`."""
    return build_backbone(
        model.name,
        frames=model.frames,
        image_size=model.image_size,
        drop_path=drop_path,
        attention=model.attention,
        depth=depth,
    )


def build_backbone(
    name: str,
    *,
    frames: int,
    image_size: int,
    drop_path: float = 0.0,
    attention: AttentionKind = "divided",
    depth: tuple[int, ...] | None = None,
) -> Backbone:
    """Build a backbone with random weights (drawn from torch's global generator).

    Args:
        name: A key of `BACKBONES`.
        frames: Frames T of a clip, at least 1.
        image_size: Height and width in pixels, at least one patch.
        drop_path: Stochastic depth of the last block, in [0, 1).
        attention: How a TimeSformer attends; the others know `divided` only, which there says nothing.
        depth: Blocks in all (TimeSformer) or of each stage (Swin) instead of the size's own.

    Returns:
        Module (B, 3, T, H, W) float -> (B, feature_dim).

    Raises:
        UserError: Unknown name, an option that the backbone lacks, or a size or rate out of range.
    """
    size = _size_of(name)
    if depth is not None:
        size = _with_depth(name, size, depth)
    pixels = size.patch if isinstance(size, TimeSformerSize) else size.patch[1]
    if frames < 1 or image_size < pixels:
        smallest = f"1 frame of {pixels} x {pixels} pixels"
        raise UserError(
            f"{name}: a clip of {frames} x {image_size} x {image_size} is smaller than {smallest}"
        )
    if not 0.0 <= drop_path < 1.0:
        raise UserError(f"{name}: drop_path must be in [0, 1), not {drop_path}")
    if isinstance(size, TimeSformerSize):
        return TimeSformer(
            dim=size.dim,
            depth=size.depth,
            heads=size.heads,
            patch=size.patch,
            frames=frames,
            image_size=image_size,
            attention=attention,
            drop_path=drop_path,
            init_std=size.init_std,
        )
    if attention != "divided":
        raise UserError(f"{name}: only a TimeSformer has attention {attention!r}")
    return SpaceTimeSwin(
        dim=size.dim,
        depths=size.depths,
        heads=size.heads,
        window=size.window,
        patch=size.patch,
        drop_path=drop_path,
        init_std=size.init_std,
    )


def _size_of(name: str) -> SwinSize | TimeSformerSize:
    if name in BACKBONES:
        return BACKBONES[name]
    near = get_close_matches(name, BACKBONES, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}{hint}")


def _with_depth(
    name: str, size: SwinSize | TimeSformerSize, depth: tuple[int, ...]
) -> SwinSize | TimeSformerSize:
    wanted = 1 if isinstance(size, TimeSformerSize) else len(size.depths)
    if len(depth) != wanted or min(depth) < 1:
        raise UserError(f"{name}: depth takes {wanted} numbers from 1, not {list(depth)}")
    return replace(size, depth=depth[0]) if isinstance(size, TimeSformerSize) else replace(size, depths=depth)
