"""Which frames, crop, flip and augmentation a sample gets: a pure function of (seed, epoch, video).

Crops follow torchvision's `RandomResizedCrop.get_params`, ten tries and fallback included, in pixels of the
upright frame; the decoder moves their edges to even coordinates.

`video` in every draw is the row number in the manifest. It depends on the order of the source (sorted paths
or CSV lines), never on the machine.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.data import ShortVideos
from lstcl_platform.specs.training import (
    EvaluateSpec,
    FinetuneAugmentSpec,
    FinetuneSpec,
    Indexing,
    PretrainAugmentSpec,
    PretrainSpec,
    Timing,
    clip_span,
)
from lstcl_platform.video.draws import FINETUNE_STREAM, SEGMENT_STREAM, VIEW_STREAMS, uniforms
from lstcl_platform.video.manifest import VideoRow
from lstcl_platform.video.pairs import draw_strides, place_pair, random_start
from lstcl_platform.video.time_grid import Positions, clip_positions, grid_length, segment_bounds

AUGMENT_FIELDS = ("brightness", "contrast", "saturation", "hue", "grayscale", "blur_sigma", "jitter_order")
"""Columns of the augmentation parameters: three factors (1: unchanged), hue shift in turns of the colour
circle (0: unchanged), 1 or 0 for grey or not, Gaussian sigma in pixels (0: no blur), and
which of the 24 orders of the first four, in lexicographic order (0: as listed)."""

_CROP_TRIES = 10
_CROP_DRAWS = 2 + 4 * _CROP_TRIES
_DRAWS = _CROP_DRAWS + 9

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

    positions: Positions
    """Grid positions inside the video; ascending, but for `short_videos: loop`."""
    box: Box
    flip: bool
    padded: bool = field(default=False, kw_only=True)
    """The clip is longer than its video, so that it repeats frames: see `short_videos`."""


@dataclass(frozen=True)
class View(Clip):
    """A pretraining clip with the parameters of its augmentation on the device."""

    augment: npt.NDArray[np.float32]
    """Values of `AUGMENT_FIELDS`."""
    overlaps: bool = field(default=False, kw_only=True)
    """The extents of the pair's two clips overlap: both views say so."""


def sample_clips(
    video: VideoRow,
    spec: PretrainSpec,
    *,
    frames: int,
    target_fps: float | None,
    epoch: int,
    short_videos: ShortVideos = "clamp",
) -> tuple[View, View]:
    """Short and long view of a video in an epoch (paper, Section 4), drawn from `spec.seed`.

    Crop, flip and augmentation are independent between the views; strides and starts as `spec.clips` says.

    Args:
        video: Row of the manifest; its row number, size and length enter the draw.
        spec: Strides, their relation, indexing, crop, flip and augmentation ranges, and the seed.
        frames: T, frames a clip.
        target_fps: Time grid in frames a second; None counts native frames.
        epoch: From 0.
        short_videos: What a clip shows beyond the end of its video.
    """
    length = grid_length(video, target_fps=target_fps)
    strides = draw_strides(spec.clips, seed=spec.seed, epoch=epoch, video=video.row)
    short, long = (
        uniforms(_DRAWS, seed=spec.seed, stream=stream, epoch=epoch, video=video.row)
        for stream in VIEW_STREAMS
    )
    extents = place_pair(spec.clips, strides, (short[0], long[0]), frames=frames, length=length)
    overlaps = extents[0].overlaps(extents[1])
    views = []
    for extent, draws in zip(extents, (short, long), strict=True):
        positions = clip_positions(
            extent.start,
            frames=frames,
            stride=extent.stride,
            length=length,
            indexing=spec.clips.indexing,
            short_videos=short_videos,
        )
        box, flip = _crop_and_flip(video, draws, spec.augment)
        augment = _augment_parameters(draws[_CROP_DRAWS:], spec.augment)
        padded = extent.span > length
        views.append(View(positions, box, flip, augment, padded=padded, overlaps=overlaps))
    return views[0], views[1]


def sample_labelled_clip(
    video: VideoRow,
    spec: FinetuneSpec,
    *,
    frames: int,
    target_fps: float | None,
    epoch: int,
    short_videos: ShortVideos = "clamp",
) -> Clip:
    """Training clip of a labelled video in an epoch; arguments as in `sample_clips`.

    With `segments`, each frame is drawn uniformly from its segment (TSN; SlowFast `ssv2.py`).
    """
    draws = uniforms(_DRAWS, seed=spec.seed, stream=FINETUNE_STREAM, epoch=epoch, video=video.row)
    length = grid_length(video, target_fps=target_fps)
    box, flip = _crop_and_flip(video, draws, spec.augment)
    if spec.stride == "segments":
        first, last = segment_bounds(frames=frames, length=length)
        within = uniforms(frames, seed=spec.seed, stream=SEGMENT_STREAM, epoch=epoch, video=video.row)
        positions = first + np.floor(within * (last - first + 1)).astype(np.int64)
        return Clip(positions, box, flip, padded=frames > length)
    span = clip_span(frames=frames, stride=spec.stride, indexing=spec.indexing)
    positions = clip_positions(
        random_start(draws[0], room=length - span, indexing=spec.indexing),
        frames=frames,
        stride=spec.stride,
        length=length,
        indexing=spec.indexing,
        short_videos=short_videos,
    )
    return Clip(positions, box, flip, padded=span > length)


def uniform_clips(
    video: VideoRow,
    spec: EvaluateSpec,
    *,
    frames: int,
    stride: Timing,
    indexing: Indexing,
    target_fps: float | None,
    short_videos: ShortVideos = "clamp",
) -> list[Clip]:
    """Test clips of a video, `spec.crops` of each in turn, no flip.

    With a stride, starts spread evenly from the first to the last possible; a single clip stands in the
    middle. With `segments`, clip j of n takes the frame at (j + 1/2) / n of every segment: a single clip the
    centres, as SlowFast's `ssv2.py`.

    A crop is a square whose side is the frame's short side / `spec.crop_ratio`: the same pixels as resizing
    the short side and cutting out, in one resize. One crop is the centre; three are the start, centre and end
    of the long side, as SlowFast's `uniform_crop`.
    """
    clips = _uniform_in_time(
        spec.clips,
        frames=frames,
        stride=stride,
        indexing=indexing,
        length=grid_length(video, target_fps=target_fps),
        short_videos=short_videos,
    )
    boxes = _test_boxes(video, spec)
    return [Clip(positions, box, False, padded=padded) for positions, padded in clips for box in boxes]


def _test_boxes(video: VideoRow, spec: EvaluateSpec) -> list[Box]:
    side = max(1, round(min(video.width, video.height) / spec.crop_ratio))
    x, y = (video.width - side) // 2, (video.height - side) // 2
    if spec.crops == 1:
        return [Box(x, y, side, side)]
    if video.width > video.height:
        return [Box(left, y, side, side) for left in (0, x, video.width - side)]
    return [Box(x, top, side, side) for top in (0, y, video.height - side)]


def _uniform_in_time(
    count: int,
    *,
    frames: int,
    stride: Timing,
    indexing: Indexing,
    length: int,
    short_videos: ShortVideos,
) -> list[tuple[npt.NDArray[np.int64], bool]]:
    """Grid positions of `count` clips spread evenly, and whether each is longer than the video."""
    if stride == "segments":
        first, last = segment_bounds(frames=frames, length=length)
        middles = [(2 * j + 1, 2 * count) for j in range(count)]
        return [(first + (last - first) * part // parts, frames > length) for part, parts in middles]
    span = clip_span(frames=frames, stride=stride, indexing=indexing)
    room = max(0, length - span)
    starts = np.linspace(0, room, count) if count > 1 else np.array([room / 2])
    return [
        (
            clip_positions(
                int(start),
                frames=frames,
                stride=stride,
                length=length,
                indexing=indexing,
                short_videos=short_videos,
            ),
            span > length,
        )
        for start in starts
    ]


def _crop_and_flip(
    video: VideoRow, draws: Draws, augment: PretrainAugmentSpec | FinetuneAugmentSpec
) -> tuple[Box, bool]:
    box = random_box(
        draws[2:_CROP_DRAWS],
        width=video.width,
        height=video.height,
        area=augment.crop_area,
        aspect=augment.crop_aspect,
    )
    return box, bool(draws[1] < augment.flip)


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
    """Values of `AUGMENT_FIELDS` from nine numbers; each has its own, so no probability shifts a draw."""
    jitter, brightness, contrast, saturation, hue, grey, blur, sigma, order = draws.tolist()
    values = [1.0, 1.0, 1.0, 0.0, float(grey < spec.grayscale), 0.0, 0.0]
    if jitter < spec.jitter:
        ranges = zip(
            (spec.brightness, spec.contrast, spec.saturation), (brightness, contrast, saturation), strict=True
        )
        values[:3] = [max(0.0, 1 - most) + (1 + most - max(0.0, 1 - most)) * u for most, u in ranges]
        values[3] = spec.hue * (2 * hue - 1)
        values[6] = math.floor(order * math.factorial(4)) if spec.jitter_order == "random" else 0
    if blur < spec.blur:
        low, high = spec.blur_sigma
        values[5] = low + (high - low) * sigma
    return np.array(values, dtype=np.float32)
