"""A stored tensor -> the shape that a backbone wants: images inflated to clips, tables resized.

Each function answers with the tensor and with words for what was done, or raises ValueError where it cannot be
done. Shapes: D channels, N patches, P a patch's side, G heads.
"""

from collections.abc import Callable
from math import isqrt

import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from lstcl_platform.models.backbone import Backbone
from lstcl_platform.models.st_swin import SpaceTimeSwin

Fitted = tuple[Tensor, str]


def fit(name: str, stored: Tensor, backbone: Backbone) -> Fitted:
    """`stored` in the shape of the backbone's tensor `name`.

    Returns:
        The tensor, and what was done to it; empty where nothing was.

    Raises:
        ValueError: there is no way from the one shape to the other.
    """
    wanted = backbone.state_dict()[name]
    if stored.shape == wanted.shape:
        return stored, ""
    fitter = _FITTERS.get(name.rpartition(".")[2] if name.endswith("table") else name)
    if fitter is None or stored.ndim < wanted.ndim - 1:
        raise ValueError
    fitted, how = fitter(stored, wanted, backbone)
    if fitted.shape != wanted.shape:
        raise ValueError
    return fitted, how


def _fit_patches(stored: Tensor, wanted: Tensor, _: Backbone) -> Fitted:
    """(D, 3, P, P) image patches are spread over the frames of a patch; deeper patches are added up to one."""
    if wanted.ndim == stored.ndim + 1:
        frames = wanted.shape[2]
        return stored.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames, f"inflated to {frames} frame(s)"
    if wanted.ndim == 5 and wanted.shape[2] == 1:
        return stored.sum(2, keepdim=True), f"{stored.shape[2]} frames of a patch added up to one"
    raise ValueError


def _fit_places(stored: Tensor, wanted: Tensor, _: Backbone) -> Fitted:
    """(1, 1 + N, D), cls first, square grids."""
    old, new = isqrt(stored.shape[1] - 1), isqrt(wanted.shape[1] - 1)
    if stored.shape[1] != 1 + old**2 or wanted.shape[1] != 1 + new**2:
        raise ValueError
    resized: Tensor = resample_abs_pos_embed(stored, new_size=[new, new], old_size=[old, old])
    return resized, f"{old} x {old} places resized to {new} x {new} (bicubic)"


def _fit_times(stored: Tensor, wanted: Tensor, _: Backbone) -> Fitted:
    """(1, T, D), by nearest neighbour as in the public code."""
    frames = wanted.shape[1]
    resized = F.interpolate(stored.transpose(1, 2), size=frames, mode="nearest").transpose(1, 2)
    return resized, f"{stored.shape[1]} frames resized to {frames} (nearest)"


def _fit_bias(stored: Tensor, wanted: Tensor, backbone: Backbone) -> Fitted:
    """(offsets, G) bias tables: another square window, then more or fewer frames.

    An image's table stands for every distance in time (Video-Swin, `inflate_weights`); of a longer window the
    distances that there are here are taken.
    """
    if not isinstance(backbone, SpaceTimeSwin):
        raise ValueError
    times, high, wide = (2 * size - 1 for size in backbone.window)
    side, done = isqrt(len(stored)), []
    if side**2 == len(stored) and len(stored) != high * wide:
        grid = stored.T.reshape(1, -1, side, side)
        old, new = (side + 1) // 2, (high + 1) // 2
        if old < new and high == wide:
            # The stage was smaller than the window: these distances are the ones in the middle of ours.
            stored = F.pad(grid, (new - old,) * 4, mode="replicate").flatten(2)[0].T
            done.append(f"window {old} put in the middle of {new} (edges repeated)")
        else:
            stored = F.interpolate(grid, size=(high, wide), mode="bicubic").flatten(2)[0].T
            done.append(f"window {old} resized to {new} (bicubic)")
    found, rest = divmod(len(stored), high * wide)
    if rest or found % 2 == 0 or 1 < found < times:
        raise ValueError
    if found == 1 < times:
        stored = stored.repeat(times, 1)
        done.append(f"inflated to {(times + 1) // 2} frames")
    elif found > times:
        cut = (found - times) // 2 * high * wide
        stored = stored[cut : cut + times * high * wide]
        done.append(f"window of {(found + 1) // 2} frames cut to {(times + 1) // 2}")
    return stored, ", ".join(done)


_FITTERS: dict[str, Callable[[Tensor, Tensor, Backbone], Fitted]] = {
    "patch_embed.proj.weight": _fit_patches,
    "pos_embed": _fit_places,
    "time_embed": _fit_times,
    "relative_position_bias_table": _fit_bias,
}
"""Our tensor -> how a stored one of another shape is brought to ours."""
