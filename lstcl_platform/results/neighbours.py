"""Which videos a model finds alike: nearest neighbours by cosine similarity, and a picture of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered
from lstcl_platform.storage.places import Place
from lstcl_platform.video.decoding import DecodeError, read_frames
from lstcl_platform.video.reading import open_video

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHUNK = 1024
_INCHES = 1.6
_SAME, _OTHER, _PLAIN = "#0072b2", "#d55e00", "#555555"
_NAME_CHARACTERS = 24


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest neighbours of N videos.

    Attributes:
        paths: of the videos that have features.
        names: class of each, or "".
        near: rows of its neighbours, nearest first, (N, count).
        similarity: cosine of each, in [-1, 1], (N, count).
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]
    near: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]

    @property
    def agreement(self) -> float | None:
        """Share of the videos whose nearest neighbour has their class; None without classes."""
        if not any(self.names):
            return None
        same = [name == self.names[near] for name, near in zip(self.names, self.near[:, 0], strict=True)]
        return float(np.mean(same))


def nearest(table: pa.Table, *, count: int) -> Neighbours:
    """The `count` nearest other videos of each, by the cosine of their features; of equal ones the earlier row.

    Args:
        table: path, label_name and features as `lstcl-platform embed` writes them; rows without features are left out.
        count: neighbours of each video; fewer where there are not so many.

    Raises:
        UserError: fewer than two videos have features.
    """
    known = table.filter(table["features"].is_valid())
    if len(known) < 2:
        raise UserError(f"--sheet: features of {numbered(len(known), 'video')}, so none has a neighbour")
    values = np.stack([np.asarray(row, dtype=np.float32) for row in known["features"].to_pylist()])
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    count = min(count, len(unit) - 1)
    near, similarity = [], []
    for start in range(0, len(unit), _CHUNK):
        cosine = unit[start : start + _CHUNK] @ unit.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -np.inf
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
        near.append(order)
        similarity.append(np.take_along_axis(cosine, order, axis=1))
    return Neighbours(
        paths=tuple(known["path"].to_pylist()),
        names=tuple(known["label_name"].to_pylist()),
        near=np.concatenate(near).astype(np.int64),
        similarity=np.concatenate(similarity),
    )


def draw_neighbours(found: Neighbours, path: Path, *, root: Place, queries: int) -> None:
    """Write a picture with a row a query: its middle frame, then those of its neighbours, nearest first.

    A neighbour of the query's class is framed in blue, one of another class in orange.

    Args:
        found: from `nearest`.
        path: file to write (.png, .pdf or .svg).
        root: folder that the paths are relative to.
        queries: rows of the picture, spread evenly over the videos.

    Raises:
        UserError: `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = np.unique(np.linspace(0, len(found.paths) - 1, min(queries, len(found.paths))).round())
    columns = 1 + found.near.shape[1]
    # Compressed: pictures keep their shape, and the rows move up to one another.
    figure = Figure(figsize=(_INCHES * columns, _INCHES * 2 * len(chosen)), dpi=120, layout="compressed")
    FigureCanvasAgg(figure)
    figure.suptitle("query, then its nearest neighbours by cosine similarity", x=0.01, ha="left", fontsize=9)
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    for cells, query in zip(grid, chosen.astype(int).tolist(), strict=True):
        _draw(cells[0], found, query, root=root, title="", color=None)
        for cell, row, cosine in zip(cells[1:], found.near[query], found.similarity[query], strict=True):
            same = found.names[row] == found.names[query]
            color = _PLAIN if not found.names[query] else _SAME if same else _OTHER
            _draw(cell, found, int(row), root=root, title=f"{cosine:.3f}\n", color=color)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, bbox_inches="tight", pad_inches=0.1)
    except (OSError, ValueError) as error:
        raise UserError(f"--sheet {path}: {error}") from error


def _draw(axes: "Axes", found: Neighbours, row: int, *, root: Place, title: str, color: str | None) -> None:
    file = root / found.paths[row]
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"{title}{(found.names[row] or file.stem)[:_NAME_CHARACTERS]}", fontsize=7)
    axes.imshow(_middle_frame(file))
    for spine in axes.spines.values():
        spine.set_visible(color is not None)
        spine.set(color=color or "black", linewidth=3)


def _middle_frame(file: Place) -> npt.NDArray[np.uint8]:
    """A frame that stands for the video; grey where it cannot be read any more."""
    try:
        with open_video(file) as video:
            middle = len(video.index) // 2
        frame: npt.NDArray[np.uint8] = read_frames(file, [middle])[0]
    except DecodeError:
        frame = np.full((32, 32, 3), 128, dtype=np.uint8)
    return frame
