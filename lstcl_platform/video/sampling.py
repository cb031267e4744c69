"""Which frames, crop, flip and augmentation a sample gets: a pure function of (seed, epoch, video).

The time grid: position k stands for second k / `target_fps` after the first shown frame, or for native frame
k if `target_fps` is null. A clip that is longer than its video repeats the last frame ("clamp", as do the
decoders of SlowFast and TimeSformer). Crops follow torchvision's `RandomResizedCrop.get_params`, ten tries
and fallback included, in pixels of the upright frame; the decoder moves their edges to even coordinates.

`video` in every draw is the row number in the manifest. It depends on the order of the source (sorted paths
or CSV lines), never on the machine.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.training import (
    EvaluateSpec,
    FinetuneAugmentSpec,
    FinetuneSpec,
    PretrainAugmentSpec,
    PretrainSpec,
)
from lstcl_platform.video.draws import FINETUNE_STREAM, VIEW_STREAMS, uniforms
from lstcl_platform.video.manifest import VideoRow

AUGMENT_FIELDS = ("brightness", "contrast", "saturation", "hue", "grayscale", "blur_sigma")
"""Columns of the augmentation parameters: three factors (1: unchanged), hue shift in turns of the colour
circle (0: unchanged), 1 or 0 for grey or not, Gaussian sigma in pixels (0: no blur)."""

_CROP_TRIES = 10
_CROP_DRAWS = 2 + 4 * _CROP_TRIES
_DRAWS = _CROP_DRAWS + 8

Indexing = Literal["exact", "linspace"]
Draws = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A crop in pixels of the upright frame."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Clip:
    """One clip to cut: T positions on the time grid, crop and flip."""

    positions: npt.NDArray[np.int64]
    """Grid positions, ascending, from 0."""
    box: Box
    flip: bool


@dataclass(frozen=True)
class View(Clip):
    """A pretraining clip with the parameters of its augmentation on the device."""

    augment: npt.NDArray[np.float32]
    """Values of `AUGMENT_FIELDS`."""


def grid_length(video: VideoRow, *, target_fps: float | None) -> int:
    """Positions that the video spans on the time grid, at least 1."""
    if target_fps is None:
        return max(1, video.frames)
    return max(1, round(video.duration * target_fps))


def sample_clips(
    video: VideoRow, spec: PretrainSpec, *, frames: int, target_fps: float | None, epoch: int
) -> tuple[View, View]:
    """Short and long view of a video in an epoch (paper, Section 3.2), drawn independently from `spec.seed`.

    Args:
        video: Row of the manifest; its row number, size and length enter the draw.
        spec: Strides, indexing, crop, flip and augmentation ranges, and the seed.
        frames: T, frames a clip.
        target_fps: Time grid in frames a second; None counts native frames.
        epoch: From 0.
    """
    length = grid_length(video, target_fps=target_fps)
    views = []
    for stream, stride in zip(VIEW_STREAMS, (spec.clips.short_stride, spec.clips.long_stride), strict=True):
        draws = uniforms(_DRAWS, seed=spec.seed, stream=stream, epoch=epoch, video=video.row)
        clip = _random_clip(
            video,
            draws,
            frames=frames,
            stride=stride,
            length=length,
            indexing=spec.clips.indexing,
            augment=spec.augment,
        )
        augment = _augment_parameters(draws[_CROP_DRAWS:], spec.augment)
        views.append(View(clip.positions, clip.box, clip.flip, augment))
    return views[0], views[1]


def sample_labelled_clip(
    video: VideoRow, spec: FinetuneSpec, *, frames: int, target_fps: float | None, epoch: int
) -> Clip:
    """Training clip of a labelled video in an epoch; arguments as in `sample_clips`."""
    draws = uniforms(_DRAWS, seed=spec.seed, stream=FINETUNE_STREAM, epoch=epoch, video=video.row)
    length = grid_length(video, target_fps=target_fps)
    return _random_clip(
        video,
        draws,
        frames=frames,
        stride=spec.stride,
        length=length,
        indexing=spec.indexing,
        augment=spec.augment,
    )


def uniform_clips(
    video: VideoRow,
    spec: EvaluateSpec,
    *,
    frames: int,
    stride: int,
    indexing: Indexing,
    target_fps: float | None,
) -> list[Clip]:
    """Test clips of a video: starts spread evenly from the first to the last possible, centre crop, no flip.

    A single clip stands in the middle. The crop is the centre square whose side is the frame's short side /
    `spec.crop_ratio`: the same pixels as resizing the short side and cutting out the centre, in one resize.
    """
    length = grid_length(video, target_fps=target_fps)
    room = max(0, length - clip_span(frames=frames, stride=stride, indexing=indexing))
    starts = np.linspace(0, room, spec.clips) if spec.clips > 1 else np.array([room / 2])
    side = max(1, round(min(video.width, video.height) / spec.crop_ratio))
    box = Box((video.width - side) // 2, (video.height - side) // 2, side, side)
    return [
        Clip(
            clip_positions(int(start), frames=frames, stride=stride, length=length, indexing=indexing),
            box,
            False,
        )
        for start in starts
    ]


def clip_span(*, frames: int, stride: int, indexing: Indexing) -> int:
    """Grid positions from a clip's first to its last frame, both counted (linspace: T * stride)."""
    return (frames - 1) * stride + 1 if indexing == "exact" else frames * stride


def clip_positions(
    start: float, *, frames: int, stride: int, length: int, indexing: Indexing
) -> npt.NDArray[np.int64]:
    """T positions from `start`, clamped to [0, length - 1].

    `exact`: start + i * stride. `linspace`: T values from start to start + T * stride - 1, rounded down
    (SlowFast `get_start_end_idx` and `temporal_sampling`).
    """
    if indexing == "exact":
        positions = int(start) + stride * np.arange(frames, dtype=np.int64)
    else:
        positions = np.floor(np.linspace(start, start + frames * stride - 1, frames)).astype(np.int64)
    return np.clip(positions, 0, length - 1)


def _random_clip(
    video: VideoRow,
    draws: Draws,
    *,
    frames: int,
    stride: int,
    length: int,
    indexing: Indexing,
    augment: PretrainAugmentSpec | FinetuneAugmentSpec,
) -> Clip:
    room = max(0, length - clip_span(frames=frames, stride=stride, indexing=indexing))
    start = math.floor(draws[0] * (room + 1)) if indexing == "exact" else draws[0] * room
    positions = clip_positions(start, frames=frames, stride=stride, length=length, indexing=indexing)
    box = random_box(
        draws[2:_CROP_DRAWS],
        width=video.width,
        height=video.height,
        area=augment.crop_area,
        aspect=augment.crop_aspect,
    )
    return Clip(positions, box, bool(draws[1] < augment.flip))


def random_box(
    draws: Draws, *, width: int, height: int, area: tuple[float, float], aspect: tuple[float, float]
) -> Box:
    """Random crop with torchvision's rule, from 4 numbers of [0, 1) a try.

    Each try draws the share of the area uniformly and the aspect (width / height) log-uniformly; the first
    box that fits is placed uniformly. After ten misses: the largest centre box with an allowed aspect.
    """
    low, high = math.log(aspect[0]), math.log(aspect[1])
    for u_area, u_aspect, u_y, u_x in draws.reshape(_CROP_TRIES, 4).tolist():
        target = width * height * (area[0] + (area[1] - area[0]) * u_area)
        ratio = math.exp(low + (high - low) * u_aspect)
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(u_x * (width - w + 1)), int(u_y * (height - h + 1)), w, h)
    shape = width / height
    if shape < aspect[0]:
        w, h = width, max(1, round(width / aspect[0]))
    elif shape > aspect[1]:
        w, h = max(1, round(height * aspect[1])), height
    else:
        w, h = width, height
    return Box((width - w) // 2, (height - h) // 2, w, h)


def _augment_parameters(draws: Draws, spec: PretrainAugmentSpec) -> npt.NDArray[np.float32]:
    """Values of `AUGMENT_FIELDS` from eight numbers; each has its own, so no probability shifts a draw."""
    jitter, brightness, contrast, saturation, hue, grey, blur, sigma = draws.tolist()
    values = [1.0, 1.0, 1.0, 0.0, float(grey < spec.grayscale), 0.0]
    if jitter < spec.jitter:
        ranges = zip(
            (spec.brightness, spec.contrast, spec.saturation), (brightness, contrast, saturation), strict=True
        )
        values[:3] = [max(0.0, 1 - most) + (1 + most - max(0.0, 1 - most)) * u for most, u in ranges]
        values[3] = spec.hue * (2 * hue - 1)
    if blur < spec.blur:
        low, high = spec.blur_sigma
        values[5] = low + (high - low) * sigma
    return np.array(values, dtype=np.float32)
