"""Exact frames and clips out of a video file, decoding only the packets they need, in one pass.

A frame is identified by its presentation time, never by counting or by frame rate, so variable frame rates,
edit lists and B-frames need no special care; where a file's times cannot be trusted, its frames are counted in
the order in which a full decode gives them. What comes out is bit-identical to decoding the whole file, turning
and mirroring its frames for display, and then cropping and resizing them.

Non-square pixels are taken as if they were square, as in the reference code: a clip keeps the stored width and
height, whatever sample aspect ratio the file states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from lstcl_platform.storage.places import RemotePath
from lstcl_platform.video.orientation import Orientation
from lstcl_platform.video.reading import DecodeError, open_video
from lstcl_platform.video.sampling import Box, Clip

__all__ = ["DecodeError", "Frames", "decode_clips", "read_frames"]

Frames = npt.NDArray[np.uint8]

_CONVERTED_PIXELS = 1 << 20
"""Converted together at most: what fits the processor's caches, and swscale's limits."""

_reformatter: VideoReformatter | None = None


def read_frames(path: str | Path | RemotePath, indices: Sequence[int] | npt.NDArray[np.int64]) -> Frames:
    """Frames of a video by their index in display order, from 0.

    Args:
        path: Video file.
        indices: Any order, repetitions allowed.

    Returns:
        uint8 RGB (len(indices), H, W, 3), upright (display rotation applied).

    Raises:
        IndexError: An index is outside the video.
        DecodeError: The file is damaged or no video.
    """
    wanted = [int(index) for index in indices]
    got: dict[int, Frames] = {}
    with open_video(path) as video:
        count = len(video.index)
        outside = [index for index in wanted if not 0 <= index < count]
        if outside:
            raise IndexError(f"{path}: no frame {outside[0]}: the video has frames 0 to {count - 1}")

        def take(index: int, frame: av.VideoFrame) -> None:
            got[index] = _upright_rgb(frame)

        video.decode(wanted or [0], take)
    if not wanted:
        return np.stack(list(got.values()))[:0]
    return np.stack([got[index] for index in wanted])


def decode_clips(
    path: str | Path | RemotePath,
    clips: Sequence[Clip],
    *,
    size: int,
    target_fps: float | None,
    expected_frames: int | None = None,
    count: Callable[[int], object] | None = None,
) -> list[Frames]:
    """Cut clips out of a video in one decoding pass.

    Grid position k is the last frame that starts at or before k / `target_fps` seconds after the first shown
    frame; a start counts as "at" within 3/4 tick of the container's clock (at most 1 ms), since containers
    round (Matroska to whole milliseconds). Positions beyond the end take the last frame.

    Crop boxes grow outward to even coordinates, because colour is stored for 2 x 2 pixels; an odd last column
    or row of the frame is never used. This holds for every pixel format.

    Args:
        path: Video file.
        clips: Positions on the time grid, crop and flip of each clip.
        size: Height and width of the output: the crop is resized with torchvision's antialiased bilinear
            filter, from uint8 to uint8.
        target_fps: Time grid in frames a second; None: positions are native frames.
        expected_frames: Shown frames that the file must have.
        count: Told how many frames the decoder put out.

    Returns:
        uint8 RGB (T, size, size, 3) for each clip.

    Raises:
        DecodeError: The file is damaged, has another length, or a crop lies outside the frame.
    """
    with open_video(path) as video:
        shown = len(video.index)
        if expected_frames is not None and shown != expected_frames:
            raise DecodeError(str(path), f"{shown} frames, expected {expected_frames}: the file has changed")
        chosen = [video.frames_at(clip.positions, target_fps=target_fps) for clip in clips]
        uses = _uses(chosen)
        cut: list[dict[int, _Crop]] = [{} for _ in clips]

        def take(index: int, frame: av.VideoFrame) -> None:
            picture = _Picture(frame)
            done: dict[int, _Crop] = {}
            for number, slot in uses[index]:
                if number not in done:
                    done[number] = picture.crop(_even(clips[number].box, picture.width, picture.height))
                cut[number][slot] = done[number]

        decoded = video.decode(list(uses), take)
    if count is not None:
        count(decoded)
    return [
        _finish(_pixels([crops[slot] for slot in sorted(crops)]), size=size, flip=clip.flip)
        for crops, clip in zip(cut, clips, strict=True)
    ]


def _uses(chosen: Sequence[npt.NDArray[np.int64]]) -> dict[int, list[tuple[int, int]]]:
    """Frame -> the (clip, place in it) that show it."""
    uses: dict[int, list[tuple[int, int]]] = {}
    for number, indices in enumerate(chosen):
        for slot, index in enumerate(indices.tolist()):
            uses.setdefault(index, []).append((number, slot))
    return uses


@dataclass(frozen=True, slots=True)
class _Crop:
    """A part of a picture, upright RGB or as it is stored."""

    planes: list[npt.NDArray[np.uint8]]
    colours: _Colours | None
    """How to make stored planes RGB; None: there is one plane, and it is."""


class _Colours(NamedTuple):
    format: str
    space: int
    range: int
    orientation: Orientation


class _Picture:
    """A decoded frame that gives up crops, converting no more of it than needed."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._frame = frame
        self._orientation = Orientation.of(frame)
        # With planar 4:2:0, crop-then-convert gives the same pixels as convert-then-crop, except where
        # swscale changes its algorithm: odd heights and interlaced frames. The odd last column of a mirrored picture
        # would come first.
        planar = (
            frame.format.name in ("yuv420p", "yuvj420p")
            and frame.height % 2 == 0
            and not frame.interlaced_frame
            and (frame.width % 2 == 0 or self._orientation == Orientation())
        )
        self._whole = None if planar else _upright_rgb(frame)
        sides = frame.height, frame.width
        self.height, self.width = sides[::-1] if self._orientation.transposed else sides

    def crop(self, box: Box) -> _Crop:
        """A copy of a box with even edges: the decoder needs its memory back."""
        if self._whole is not None:
            return _Crop([self._whole[box.y : box.y + box.height, box.x : box.x + box.width].copy()], None)
        box = self._orientation.stored(box, width=self.width, height=self.height)
        planes = []
        for plane, step in zip(self._frame.planes, (1, 2, 2), strict=True):
            pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            rows = slice(box.y // step, (box.y + box.height) // step)
            planes.append(pixels[rows, box.x // step : (box.x + box.width) // step].copy())
        frame = self._frame
        return _Crop(
            planes, _Colours(frame.format.name, frame.colorspace, frame.color_range, self._orientation)
        )


def _pixels(crops: Sequence[_Crop]) -> Frames:
    """The crops of a clip, all of one size, as uint8 RGB (T, h, w, 3).

    Those of equal colours are put one below the other and converted at once, which gives the pixels that each alone
    would: swscale looks at no more than two rows together, and heights are even.
    """
    done = []
    for colours, group in groupby(crops, key=attrgetter("colours")):
        alike = list(group)
        if colours is None:
            done.append(np.stack([crop.planes[0] for crop in alike]))
            continue
        together = max(1, _CONVERTED_PIXELS // alike[0].planes[0].size)
        for first in range(0, len(alike), together):
            done.append(_converted(alike[first : first + together], colours))
    return done[0] if len(done) == 1 else np.concatenate(done)


def _converted(crops: Sequence[_Crop], colours: _Colours) -> Frames:
    height, width = crops[0].planes[0].shape
    planes = [np.concatenate(plane) for plane in zip(*(crop.planes for crop in crops), strict=True)]
    column = av.VideoFrame.from_dlpack(planes, format=colours.format)
    column.colorspace, column.color_range = colours.space, colours.range
    stored = _rgb(column).reshape(len(crops), height, width, 3)
    if colours.orientation == Orientation():
        return stored
    return np.stack([colours.orientation.upright(pixels) for pixels in stored])


def _even(box: Box, width: int, height: int) -> Box:
    """The box with even edges, inside the frame.

    Raises:
        ValueError: The box is empty or reaches outside the frame.
    """
    if min(box.x, box.y) < 0 or min(box.width, box.height) < 1:
        raise ValueError(f"crop {box} is empty or negative")
    if box.x + box.width > width or box.y + box.height > height:
        raise ValueError(f"crop {box} reaches outside the frame of {width}x{height}")
    if width < 2 or height < 2:
        return box
    x, y = min(box.x // 2 * 2, width // 2 * 2 - 2), min(box.y // 2 * 2, height // 2 * 2 - 2)
    right = min(-(-(box.x + box.width) // 2) * 2, width // 2 * 2)
    bottom = min(-(-(box.y + box.height) // 2) * 2, height // 2 * 2)
    return Box(x, y, right - x, bottom - y)


def _upright_rgb(frame: av.VideoFrame) -> Frames:
    return Orientation.of(frame).upright(_rgb(frame))


def _rgb(frame: av.VideoFrame) -> Frames:
    """View or copy of a frame as uint8 RGB (H, W, 3)."""
    global _reformatter
    if _reformatter is None:
        # One conversion context for the process: frame.reformat would make one for every frame.
        _reformatter = VideoReformatter()
    converted = _reformatter.reformat(frame, format="rgb24", threads=1)
    height, width, stride = converted.height, converted.width, converted.planes[0].line_size
    rows = np.frombuffer(memoryview(converted.planes[0]), np.uint8).reshape(height, stride)
    return rows[:, : width * 3].reshape(height, width, 3)


def _finish(pixels: Frames, *, size: int, flip: bool) -> Frames:
    """Resize a clip (T, h, w, 3) to (T, size, size, 3) and flip it."""
    import torch
    from torch.nn.functional import interpolate

    clip = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    # What torchvision's resize calls; importing torchvision would take every decode process another second.
    clip = interpolate(clip, size=(size, size), mode="bilinear", antialias=True)
    if flip:
        clip = clip.flip(3)  # numpy's reversed copy takes longer than the resize
    resized: Frames = clip.permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(resized)
