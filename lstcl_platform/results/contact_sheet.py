"""A picture of what a study cuts out of a video: both views, frame by frame, before and after augmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.data import ShortVideos
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.storage.places import Place
from lstcl_platform.video.decoding import decode_clips, read_frames
from lstcl_platform.video.manifest import VideoRow
from lstcl_platform.video.reading import open_video
from lstcl_platform.video.sampling import AUGMENT_FIELDS, Box, View, sample_clips

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

_COLORS = {"short": "#d55e00", "long": "#0072b2"}
_UNCHANGED = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
"""Values of `AUGMENT_FIELDS` that change nothing."""
_INCHES = 1.25
_MAX_COLUMNS = 16


@dataclass(frozen=True, kw_only=True)
class ShownView:
    """One view of a video, ready to be drawn.

    Attributes:
        name: `short` or `long`.
        seconds: presentation time of each frame from the first shown one. Shape (T,).
        whole: upright frames as a player shows them, uint8 (T, H, W, 3).
        box: the crop.
        flip: whether it is mirrored.
        cropped: cropped, resized and flipped, uint8 (T, size, size, 3).
        augmented: as the model sees it, without the normalisation: float (T, size, size, 3) in [0, 1].
        augment: `AUGMENT_FIELDS`.
    """

    name: str
    seconds: npt.NDArray[np.float64]
    whole: npt.NDArray[np.uint8]
    box: Box
    flip: bool
    cropped: npt.NDArray[np.uint8]
    augmented: npt.NDArray[np.float32]
    augment: npt.NDArray[np.float32]


def views_of(
    path: Place,
    video: VideoRow,
    spec: PretrainSpec,
    *,
    frames: int,
    size: int,
    target_fps: float | None,
    epoch: int,
    short_videos: ShortVideos = "clamp",
) -> list[ShownView]:
    """Short and long view that a pretraining shows of a video in an epoch; arguments as `sample_clips`.

    Raises:
        DecodeError: The video cannot be decoded.
    """
    pair = sample_clips(
        video, spec, frames=frames, target_fps=target_fps, epoch=epoch, short_videos=short_videos
    )
    cut = decode_clips(path, pair, size=size, target_fps=target_fps, expected_frames=video.frames)
    shown = []
    for name, view, pixels in zip(("short", "long"), pair, cut, strict=True):
        with open_video(path) as opened:
            indices = opened.frames_at(view.positions, target_fps=target_fps)
            seconds = opened.seconds(indices)
        shown.append(
            ShownView(
                name=name,
                seconds=seconds,
                whole=read_frames(path, indices),
                box=view.box,
                flip=view.flip,
                cropped=pixels,
                augmented=_augmented(pixels, view, spec),
                augment=view.augment,
            )
        )
    return shown


def draw_sheet(views: Sequence[ShownView], path: Path, *, title: str, duration: float) -> None:
    """Write the contact sheet (.png, .pdf or .svg).

    Three rows a view: whole frames with the crop, the crop as it leaves the decoder, and the augmented crop. Clips
    of more than 16 frames show 16 of them, evenly spread.

    Args:
        views: what to draw.
        path: file to write.
        title: first line.
        duration: seconds of the video.

    Raises:
        UserError: `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_MAX_COLUMNS, max(len(view.seconds) for view in views))
    rows = 3 * len(views)
    figure = Figure(figsize=(_INCHES * columns + 1.6, _INCHES * rows + 2.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    heights = [0.7, *[3 * _INCHES] * len(views)]
    grid = figure.add_gridspec(1 + len(views), 1, height_ratios=heights)
    _draw_timeline(figure.add_subfigure(grid[0]).add_subplot(), views, duration=duration)
    for place, view in enumerate(views, 1):
        _draw_view(figure.add_subfigure(grid[place]), view, columns=columns)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UserError(f"-o {path}: {error}") from error


def _augmented(pixels: npt.NDArray[np.uint8], view: View, spec: PretrainSpec) -> npt.NDArray[np.float32]:
    import torch

    from lstcl_platform.video.augmentation import MEAN, STD, augment_clips

    clips = augment_clips(torch.from_numpy(pixels)[None], torch.from_numpy(view.augment)[None], spec.augment)
    visible: npt.NDArray[np.float32] = (clips[0] * STD + MEAN).clamp(0, 1).permute(1, 2, 3, 0).numpy()
    return visible


def _draw_timeline(axes: "Axes", views: Sequence[ShownView], *, duration: float) -> None:
    axes.axhline(0, color="#cccccc", linewidth=6, solid_capstyle="butt")
    for height, view in zip((0.35, -0.35), views, strict=False):
        axes.plot(
            view.seconds, np.full(len(view.seconds), height), "|", color=_COLORS[view.name], markersize=9
        )
        axes.annotate(
            view.name,
            (duration, height),
            xytext=(6, 0),
            textcoords="offset points",
            color=_COLORS[view.name],
            va="center",
            fontsize=8,
        )
    axes.set(xlim=(0, duration), ylim=(-1, 1), yticks=[])
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["left", "right", "top"]].set_visible(False)


def _draw_view(part: "SubFigure", view: ShownView, *, columns: int) -> None:
    from matplotlib.patches import Rectangle

    chosen = np.unique(np.linspace(0, len(view.seconds) - 1, columns).round().astype(np.int64))
    color = _COLORS[view.name]
    part.suptitle(f"{view.name} view: {_describe(view)}", x=0.01, ha="left", fontsize=9, color=color)
    grid = part.subplots(3, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for row, label in enumerate(("whole frame,\ncrop", "cropped,\nresized", "augmented")):
        grid[row, 0].set_ylabel(label, fontsize=8)
    for column, index in enumerate(chosen.tolist()):
        grid[0, column].set_title(f"{view.seconds[index]:.2f} s", fontsize=8)
        grid[0, column].imshow(view.whole[index])
        box = view.box
        grid[0, column].add_patch(
            Rectangle(
                (box.x - 0.5, box.y - 0.5), box.width, box.height, fill=False, edgecolor=color, linewidth=1.5
            )
        )
        grid[1, column].imshow(view.cropped[index])
        grid[2, column].imshow(view.augmented[index])


def _describe(view: ShownView) -> str:
    """Crop, flip and those augmentations that change something."""
    box = view.box
    facts = [f"crop {box.width}x{box.height} at ({box.x}, {box.y})", *(["flipped"] if view.flip else [])]
    for name, value, unchanged in zip(AUGMENT_FIELDS, view.augment.tolist(), _UNCHANGED, strict=True):
        if value != unchanged:
            facts.append(name if name == "grayscale" else f"{name.replace('_', ' ')} {value:.3g}")
    return ", ".join(facts)
