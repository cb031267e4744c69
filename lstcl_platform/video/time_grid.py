"""Positions of a clip's frames on the time grid of a video.

Position k stands for second k / `target_fps` after the first shown frame, or for native frame k if `target_fps`
is null.
"""

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.data import ShortVideos
from lstcl_platform.specs.training import Indexing
from lstcl_platform.video.manifest import VideoRow

Positions = npt.NDArray[np.int64]


def grid_length(video: VideoRow, *, target_fps: float | None) -> int:
    """Positions that the video spans on the time grid, at least 1."""
    if target_fps is None:
        return max(1, video.frames)
    return max(1, round(video.duration * target_fps))


def clip_positions(
    start: float,
    *,
    frames: int,
    stride: int,
    length: int,
    indexing: Indexing,
    short_videos: ShortVideos = "clamp",
) -> Positions:
    """T positions from `start`, brought into [0, length - 1] as `short_videos` says.

    `exact`: start + i * stride. `linspace`: T values from start to start + T * stride - 1, rounded down
    (SlowFast `get_start_end_idx` and `temporal_sampling`).
    """
    if indexing == "exact":
        positions = int(start) + stride * np.arange(frames, dtype=np.int64)
    else:
        positions = np.floor(np.linspace(start, start + frames * stride - 1, frames)).astype(np.int64)
    return positions % length if short_videos == "loop" else np.clip(positions, 0, length - 1)


def segment_bounds(*, frames: int, length: int) -> tuple[Positions, Positions]:
    """First and last position of each of T equal segments of a video, both included, (T,) each.

    The rounded multiples of (length - 1) / T, as in SlowFast's and TimeSformer's loaders of
    Something-Something: neighbours share a position, and a video of fewer than T frames repeats some.
    """
    edges = np.round((length - 1) / frames * np.arange(frames + 1)).astype(np.int64)
    return edges[:-1], edges[1:]
