"""What a trivial look at the pictures scores: to be reported beside what a model learns over time.

A data set on which the nearest neighbour of the mean frame does as well as the model says nothing about motion.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.decoding import DecodeError, Frames, read_frames
from lstcl_platform.video.manifest import Manifest, VideoRow

Features = npt.NDArray[np.float64]

SIDE = 16
"""Pixels a side to which frames are averaged down before they are compared."""
FRAMES = 16
"""Frames looked at, spread evenly over a video."""
HUE_BINS = 12

_DRAWS = 5


def baselines(
    train: Manifest,
    val: Manifest,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Top-1 accuracy on `val` of methods that see no motion, with all labels of `train`.

    A video that cannot be decoded is left out of `train` and counts as wrong in `val`.

    Args:
        train: labelled videos to compare with.
        val: videos to name.
        seed: of the random frames.
        progress: called with (videos read, videos in all).

    Returns:
        Shares in [0, 1]: `majority` (the most frequent class of `train`); and of the class of the nearest
        neighbour (Euclidean) by `mean_frame` (average of `FRAMES` frames, each averaged down to `SIDE` x
        `SIDE`, RGB), by `random_frame` (one of those frames of each video; mean of 5 draws) and by
        `hue_histogram` (over all those frames: what colours occur, wherever and whenever).

    Raises:
        UserError: a manifest has no video that can be decoded.
    """
    rows = [[manifest.row(int(number)) for number in manifest.usable] for manifest in (train, val)]
    total, done = sum(map(len, rows)), 0
    looks: list[Features] = []
    labels: list[npt.NDArray[np.int64]] = []
    for manifest, videos in zip((train, val), rows, strict=True):
        seen = []
        for video in videos:
            seen.append(_look(manifest, video))
            done += 1
            if progress is not None:
                progress(done, total)
        kept = [number for number, look in enumerate(seen) if look is not None]
        if not kept:
            raise UserError(f"{manifest.root}: no video that can be decoded")
        looks.append(np.stack([look for look in seen if look is not None]))
        labels.append(np.array([videos[number].label for number in kept], dtype=np.int64))
    found = _score(looks[0], labels[0], looks[1], labels[1], seed=seed)
    decoded = len(labels[1]) / len(rows[1])
    return {name: share * decoded for name, share in found.items()}


def _score(
    train: Features,
    train_labels: npt.NDArray[np.int64],
    val: Features,
    val_labels: npt.NDArray[np.int64],
    *,
    seed: int,
) -> dict[str, float]:
    def nearest(known: Features, asked: Features) -> float:
        return float(np.mean(train_labels[_nearest(known, asked)] == val_labels))

    rng = np.random.default_rng(seed)
    one_of_each = [nearest(_pick(train, rng), _pick(val, rng)) for _ in range(_DRAWS)]
    return {
        "majority": float(np.mean(val_labels == np.bincount(train_labels).argmax())),
        "mean_frame": nearest(train.mean(axis=1), val.mean(axis=1)),
        "random_frame": float(np.mean(one_of_each)),
        "hue_histogram": nearest(hue_histograms(train), hue_histograms(val)),
    }


def _pick(looks: Features, rng: np.random.Generator) -> Features:
    """One frame of each video at random."""
    return np.asarray(looks[np.arange(len(looks)), rng.integers(looks.shape[1], size=len(looks))])


def _nearest(known: Features, asked: Features) -> npt.NDArray[np.int64]:
    """For each of `asked` (Q, ...), the number of the nearest of `known` (K, ...)."""
    a, b = known.reshape(len(known), -1), asked.reshape(len(asked), -1)
    squares = (a**2).sum(axis=1)[None, :] - 2 * b @ a.T
    return np.asarray(squares.argmin(axis=1))


def hue_histograms(looks: Features) -> Features:
    """Share of each hue in videos (V, frames, H, W, 3) in [0, 1], pixels weighted by colourfulness: (V, bins)."""
    high, low = looks.max(axis=-1), looks.min(axis=-1)
    chroma = high - low
    red, green, blue = np.moveaxis(looks, -1, 0)
    scale = 6 * np.maximum(chroma, 1e-6)
    turns = np.select(
        [high == red, high == green],
        [(green - blue) / scale, (blue - red) / scale + 1 / 3],
        (red - green) / scale + 2 / 3,
    )
    bins = np.floor(turns % 1 * HUE_BINS).astype(np.int64) % HUE_BINS
    # The square lets a small vivid object weigh as much as a large pale background.
    weights = chroma**2
    counts = np.stack(
        [
            np.bincount(video.ravel(), weights=weight.ravel(), minlength=HUE_BINS)
            for video, weight in zip(bins, weights, strict=True)
        ]
    )
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9))


def _look(manifest: Manifest, video: VideoRow) -> Features | None:
    """Evenly spread frames of a video, small, in [0, 1]: (FRAMES, SIDE, SIDE, 3); None if it cannot be read."""
    places = ((np.arange(FRAMES) + 0.5) * video.frames / FRAMES).astype(np.int64)
    try:
        return average_down(read_frames(manifest.file(video.row), places), side=SIDE)
    except (DecodeError, IndexError):
        return None


def average_down(frames: Frames, *, side: int) -> Features:
    """Frames uint8 (T, H, W, 3) as means over a grid of `side` x `side` cells, in [0, 1]."""
    small = frames.astype(np.float64) / 255
    for axis in (1, 2):
        length = frames.shape[axis]
        starts = np.arange(side) * length // side
        counts = np.maximum(np.diff(np.append(starts, length)), 1)
        shape = [1, 1, 1, 1]
        shape[axis] = side
        small = np.add.reduceat(small, starts, axis=axis) / counts.reshape(shape)
    return small
