"""From a backbone's name to the module."""

from dataclasses import dataclass
from difflib import get_close_matches

from lstcl_platform.models.backbone import Backbone
from lstcl_platform.models.st_swin import SpaceTimeSwin
from lstcl_platform.models.windows import Size3
from lstcl_platform.specs.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SwinSize:
    """Sizes of one Space-Time Swin."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: Size3 = (8, 7, 7)
    patch: Size3 = (1, 4, 4)
    init_std: float = 0.02


SPACE_TIME_SWIN: dict[str, SwinSize] = {
    "st_swin_base": SwinSize(dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
    "st_swin_small": SwinSize(dim=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)),
    "st_swin_tiny": SwinSize(dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "st_swin_micro": SwinSize(
        dim=64, depths=(2,), heads=(4,), window=(8, 4, 4), patch=(1, 8, 8), init_std=0.07
    ),
}
"""Base, small and tiny are the sizes of Swin; micro is for 8 x 32 x 32 clips on a CPU, which it attends whole.

Swin draws its weights with a deviation of 0.02. At micro's width that makes blocks which do next to nothing for
the first hundreds of steps, all it is given; 0.07 is about Xavier's value there.
"""


def build_backbone(name: str, *, frames: int, image_size: int, drop_path: float = 0.0) -> Backbone:
    """Build a backbone with random weights (drawn from torch's global generator).

    Args:
        name: A key of `SPACE_TIME_SWIN`.
        frames: Frames T of a clip, at least 1.
        image_size: Height and width in pixels, at least one patch.
        drop_path: Stochastic depth of the last block, in [0, 1).

    Returns:
        Module (B, 3, T, H, W) float -> (B, feature_dim).

    Raises:
        UserError: Unknown name, or a size or rate out of range.
    """
    size = SPACE_TIME_SWIN.get(name)
    if size is None:
        near = get_close_matches(name, SPACE_TIME_SWIN, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"unknown backbone {name!r}; known: {', '.join(SPACE_TIME_SWIN)}{hint}")
    if frames < size.patch[0] or image_size < size.patch[1]:
        smallest = f"{size.patch[0]} frame of {size.patch[1]} x {size.patch[2]} pixels"
        raise UserError(
            f"{name}: a clip of {frames} x {image_size} x {image_size} is smaller than {smallest}"
        )
    if not 0.0 <= drop_path < 1.0:
        raise UserError(f"{name}: drop_path must be in [0, 1), not {drop_path}")
    return SpaceTimeSwin(
        dim=size.dim,
        depths=size.depths,
        heads=size.heads,
        window=size.window,
        patch=size.patch,
        drop_path=drop_path,
        init_std=size.init_std,
    )
