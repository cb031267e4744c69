"""Colour and blur augmentation of whole clips on the training device, with the parameters each sample drew.

Order: brightness, contrast, saturation and hue in an order drawn for each clip, grayscale, blur, normalisation;
crop, resize and flip precede it, while decoding. The parameters are equal over the frames of a clip and
independent between views and samples (reference [19] of the paper: SlowFast `transform.py`,
`color_jitter_video_ssl`). Two differences from it are deliberate: contrast takes the mean of each frame instead
of all frames stacked, and blur runs on the crop and never across frames. Kernels are kornia's, with
torchvision's meaning of the factors.
"""

import itertools
import math

import torch
from torch import Tensor

from lstcl_platform.specs.training import PretrainAugmentSpec
from lstcl_platform.video.sampling import AUGMENT_FIELDS

MEAN = 0.45
"""Subtracted from every channel of pixels in [0, 1] (SlowFast `config/defaults.py`, DATA.MEAN)."""
STD = 0.225
"""Divides what is left (DATA.STD)."""

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GREY, _SIGMA, _ORDER = range(len(AUGMENT_FIELDS))
_ORDERS = torch.tensor(list(itertools.permutations((_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE))))


@torch.no_grad()
def augment_clips(clips_u8: Tensor, params: Tensor, spec: PretrainAugmentSpec) -> Tensor:
    """Jitter, blur and normalise a batch of clips.

    Args:
        clips_u8: uint8 RGB (B, T, H, W, 3), on the device that does the work.
        params: float (B, P), `AUGMENT_FIELDS` of one view. On the CPU they cost no synchronisation.
        spec: Its largest blur sigma sets the kernel: 3 sigma on each side, less where the frame is smaller.

    Returns:
        float32 (B, 3, T, H, W), mean 0.45 and standard deviation 0.225 removed, on the device of the clips.

    Raises:
        ValueError: The parameters do not fit the clips.
    """
    if params.shape != (len(clips_u8), len(AUGMENT_FIELDS)):
        expected = (len(clips_u8), len(AUGMENT_FIELDS))
        raise ValueError(f"augmentation parameters have shape {tuple(params.shape)}, expected {expected}")
    chosen = params.detach().float().cpu()
    clips = _to_float(clips_u8)
    _jitter(clips, chosen)
    _blur(clips, chosen[:, _SIGMA], largest=spec.blur_sigma[1])
    return _normalise(clips)


@torch.no_grad()
def normalise_clips(clips_u8: Tensor) -> Tensor:
    """Scale and normalise uint8 RGB (..., T, H, W, 3) to float32 (..., 3, T, H, W)."""
    return _normalise(_to_float(clips_u8))


def _to_float(clips_u8: Tensor) -> Tensor:
    """uint8 (..., T, H, W, 3) to float32 (..., T, 3, H, W) in [0, 1]."""
    return clips_u8.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _normalise(clips: Tensor) -> Tensor:
    """float (..., T, 3, H, W) in [0, 1] to (..., 3, T, H, W)."""
    return clips.transpose(-4, -3).sub(MEAN).div_(STD).contiguous()


def _jitter(clips: Tensor, params: Tensor) -> None:
    """Change colours in place, of those samples only that drew a change."""
    from kornia.color import rgb_to_grayscale

    factors = params[:, : _SATURATION + 1]
    drawn = (factors != 1).any(dim=1) | (params[:, _HUE] != 0)
    if drawn.any():
        rows = drawn.nonzero()[:, 0]
        where = rows.to(clips.device)
        clips[where] = _change_colours(clips[where], params[rows])
    grey = params[:, _GREY] > 0
    if grey.any():
        where = grey.nonzero()[:, 0].to(clips.device)
        clips[where] = rgb_to_grayscale(clips[where]).expand(-1, -1, 3, -1, -1)


def _change_colours(clips: Tensor, params: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, in each sample's own order."""
    from kornia import enhance

    changes = {
        _BRIGHTNESS: enhance.adjust_brightness_accumulative,
        _CONTRAST: enhance.adjust_contrast_with_mean_subtraction,
        _SATURATION: enhance.adjust_saturation_with_gray_subtraction,
        _HUE: lambda part, turns: enhance.adjust_hue(part, turns * (2 * math.pi)),
    }
    values = params.to(clips.device)
    turn = _ORDERS[params[:, _ORDER].long()]
    for place in range(len(changes)):
        for field, change in changes.items():
            rows = (turn[:, place] == field).nonzero()[:, 0]
            if not len(rows) or (field == _HUE and not params[rows, _HUE].any()):
                continue
            if len(rows) == len(clips):
                clips = change(clips, values[:, field])
            else:
                where = rows.to(clips.device)
                clips[where] = change(clips[where], values[where, field])
    return clips


def _blur(clips: Tensor, sigmas: Tensor, *, largest: float) -> None:
    """Blur in place, those samples only whose sigma is above 0."""
    from kornia.filters import gaussian_blur2d

    rows = (sigmas > 0).nonzero()[:, 0]
    radius = min(math.ceil(3 * largest), min(clips.shape[-2:]) - 1)
    if not len(rows) or radius < 1:
        return
    where = rows.to(clips.device)
    sigma = sigmas[rows].to(clips.device)[:, None].expand(-1, 2)
    part = clips[where].flatten(1, 2)
    clips[where] = gaussian_blur2d(part, 2 * radius + 1, sigma).unflatten(1, clips.shape[1:3])
