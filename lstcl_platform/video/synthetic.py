"""A labelled video set that needs no download: what tells the classes apart takes seconds to show.

A sprite wanders over a changing background while its colour alternates between two of four hues, each
held for 2.5 to 4 seconds: the class is which two. One frame, or a clip shorter than a hue is held, shows one
of them at best, and each hue belongs to three classes of six. Speed varies from video to video; shape, size,
path, turn, camera shake, tint and brightness vary all the time. So two clips of one video have little but the
class in common: a shape or a background that lasted would be the easier way to match them, and all that is
learnt. The background makes up for the sprite's share of the frame's mean colour, which would give its hue
away.

It is a set of colour programmes, not of motion: a histogram of the hues over the whole video tells the class
(`baselines` says how well).
"""

import io
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lstcl_platform.specs.data import SyntheticSpec
from lstcl_platform.specs.errors import UserError

FloatArray = NDArray[np.float32]
Split = Literal["train", "val"]
_Job = tuple[SyntheticSpec, Split, int, Path]
_Identity = dict[str, str | int | float]

FPS = 30
"""Frames a second of every rendered video."""
HUES = {"red": 0.0, "lime": 0.25, "cyan": 0.5, "violet": 0.75}
"""The four hues, in turns of the colour circle."""
CLASSES: tuple[str, ...] = tuple("-".join(pair) for pair in itertools.combinations(HUES, 2))
"""Class names: which two hues alternate."""
FORMAT = 1
"""Raised when the same spec renders other pixels: an older set is then not taken for a current one."""
MARKER = ".synthetic.json"
"""File in a rendered folder that says what it was rendered from, and whether it is complete."""

_HOLD_SECONDS = (2.5, 4.0)
_BACKGROUND_SECONDS = (0.5, 1.2)
_BLEND_SECONDS = 0.2
# A bright background: patch tokens are normalised one by one, so where it is near the mean grey that clips are
# centred on, its noise is as strong as the sprite, and nothing is learnt in minutes.
_BACKGROUND_LEVEL = 0.72
_GRID = 5  # texture cells a side: smooth enough that H.264 spends its bits on the sprite
_SPLIT_CODES: dict[Split, int] = {"train": 0, "val": 1}
# Seven frames in eight are B-frames that nothing refers to, so a clip is decoded without most of its video.
# mbtree off: with it x264 writes other bytes from call to call.
_X264 = {
    "preset": "veryfast",
    "tune": "fastdecode",
    "crf": "23",
    "g": "60",
    "bf": "7",
    "b_strategy": "0",
    "x264-params": "b-pyramid=none:mbtree=0",
}


def synthesize(
    spec: SyntheticSpec,
    *,
    train: Path,
    val: Path,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Render the set into `train` and `val`, as `<folder>/<class>/<name>.mp4`.

    Files appear whole or not at all, and a marker is completed last: a call after an interruption renders
    only what is missing, and a call on a finished set returns at once. Equal specs give equal frames.

    Args:
        spec: size and seed of the set.
        train: folder of the training videos; made when missing.
        val: folder of the validation videos; made when missing.
        processes: rendering processes; None takes one a core, 1 renders in this process.
        progress: called with (videos done, videos to render) after each video.

    Returns:
        Videos rendered by this call.

    Raises:
        UserError: a folder holds something else, or a set rendered from another spec.
    """
    jobs: list[_Job] = []
    opened: list[tuple[Path, _Identity]] = []
    splits: tuple[tuple[Split, Path, int], ...] = (
        ("train", train, spec.train_videos),
        ("val", val, spec.val_videos),
    )
    for split, folder, videos in splits:
        identity: _Identity = {
            "format": FORMAT,
            "split": split,
            "videos": videos,
            "side": spec.side,
            "seconds": spec.seconds,
            "seed": spec.seed,
        }
        if _claim(folder, identity):
            continue
        opened.append((folder, identity))
        targets = ((index, video_path(folder, split, index)) for index in range(videos))
        jobs.extend((spec, split, index, target) for index, target in targets if not target.exists())
    for done, _ in enumerate(_run(jobs, processes), start=1):
        if progress is not None:
            progress(done, len(jobs))
    for folder, claimed in opened:
        _write_marker(folder, claimed, complete=True)
    return len(jobs)


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds a set that `synthesize` finished."""
    marker = folder / MARKER
    return marker.is_file() and bool(json.loads(marker.read_text()).get("complete"))


def video_path(folder: Path, split: Split, index: int) -> Path:
    """Where video number `index` of a split lies; classes take turns, so each has its share."""
    return folder / CLASSES[index % len(CLASSES)] / f"{split}-{index:05d}.mp4"


def render_video(spec: SyntheticSpec, split: Split, index: int) -> NDArray[np.uint8]:
    """Frames of one video as uint8 (frames, side, side, 3), RGB; a pure function of its arguments."""
    rng = np.random.default_rng((spec.seed, _SPLIT_CODES[split], index))
    frames, side = max(1, round(spec.seconds * FPS)), spec.side
    unit = side / 64
    shake = 1.5 * unit * _smooth_noise(rng, frames, 2, width=4.0)
    image = _background(rng, frames, side, shake)
    opacity = _sprite(rng, frames, side, shake)[..., None]
    colour = _colours(rng, index % len(CLASSES), frames)
    image += opacity * (colour[:, None, None, :] - image)
    tint = _BACKGROUND_LEVEL + 0.05 * _smooth_noise(rng, frames, 3, width=30.0)
    image += tint[:, None, None, :] - image.mean(axis=(1, 2), keepdims=True)
    brightness = 1 + 0.06 * _smooth_noise(rng, frames, 1, width=25.0)
    image *= 255 * brightness[:, None, None, :]
    np.clip(image, 0, 255, out=image)
    return image.astype(np.uint8)


def encode_h264(frames: NDArray[np.uint8]) -> bytes:
    """An MP4 file (H.264, yuv420p, 30 frames a second) of uint8 (frames, H, W, 3); H and W even.

    One encoder thread: the bytes depend on the frames and the encoder's version only.
    """
    import av

    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=_X264)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _claim(folder: Path, identity: _Identity) -> bool:
    """Take `folder` for this set; True when it is finished already."""
    marker = folder / MARKER
    if marker.is_file():
        found = json.loads(marker.read_text())
        complete = bool(found.pop("complete"))
        if found != identity:
            raise UserError(
                f"{folder}: holds synthetic videos rendered from other settings ({marker.name} in it names "
                "them); remove the folder or name another one"
            )
        if not complete:
            for leftover in folder.glob("*/*.tmp"):
                leftover.unlink(missing_ok=True)
        return complete
    if folder.exists() and (not folder.is_dir() or any(folder.glob("[!.]*"))):
        raise UserError(f"{folder}: exists and holds no synthetic set; name an empty or a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    _write_marker(folder, identity, complete=False)
    return False


def _write_marker(folder: Path, identity: _Identity, *, complete: bool) -> None:
    _write_whole(folder / MARKER, json.dumps({**identity, "complete": complete}, indent=1).encode())


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(content)
    partial.replace(path)


def _run(jobs: list[_Job], processes: int | None) -> Iterator[None]:
    processes = min(processes or os.cpu_count() or 1, max(1, len(jobs) // 8))
    if processes == 1:
        yield from map(_render_job, jobs)
        return
    # spawn: forking a process that holds threads (torch, ray) can deadlock the child.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_render_job, jobs, chunksize=8)


def _render_job(job: _Job) -> None:
    spec, split, index, target = job
    target.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(target, encode_h264(render_video(spec, split, index)))


def _smooth_noise(rng: np.random.Generator, frames: int, channels: int, *, width: float) -> FloatArray:
    """White noise smoothed over `width` frames (sigma), unit variance: (frames, channels)."""
    reach = int(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= np.sqrt(np.sum(kernel**2))
    noise = rng.standard_normal((channels, frames + 2 * reach))
    return np.stack([np.convolve(row, kernel, mode="valid") for row in noise], axis=1).astype(np.float32)


def _segments(rng: np.random.Generator, frames: int, seconds: tuple[float, float]) -> FloatArray:
    """Weights (segments, frames) of pieces that follow one another with a quick blend; 1 in sum per frame."""
    ends = np.cumsum(rng.uniform(*seconds, size=2 + int(frames / FPS / seconds[0])))
    ends = (ends - rng.uniform(0, ends[0])) * FPS  # the first piece is under way when the video starts
    ramp = (np.arange(frames) - ends[:, None]) / (_BLEND_SECONDS * FPS) + 0.5
    after = np.clip(ramp, 0, 1)
    started = np.vstack([np.ones((1, frames)), after[:-1]])
    ended = np.vstack([after[:-1], np.zeros((1, frames))])
    weights: FloatArray = (started - ended).astype(np.float32)
    return weights


def _colours(rng: np.random.Generator, label: int, frames: int) -> FloatArray:
    """The sprite's colour in each frame, (frames, 3) in [0, 1]: the class programme."""
    weights = _segments(rng, frames, _HOLD_SECONDS)
    pieces = len(weights)
    pair = CLASSES[label].split("-")
    first = rng.integers(2)
    base = np.array([HUES[pair[(first + piece) % 2]] for piece in range(pieces)])
    # Each piece has its own shade: else the exact colours would mark the video more than its class.
    hues = base + rng.normal(0, 0.02, size=pieces)
    saturation, value = rng.uniform(0.85, 1.0, size=(2, pieces))
    sectors = (np.array([5.0, 3.0, 1.0]) + 6 * hues[:, None]) % 6
    ramp = np.clip(np.minimum(sectors, 4 - sectors), 0, 1)
    colours = value[:, None] * (1 - saturation[:, None] * ramp)
    programme: FloatArray = (weights.T @ colours).astype(np.float32)
    return programme


def _interpolation(shift: FloatArray, cells: int, side: int) -> FloatArray:
    """Weights that interpolate `cells` knots at `side` pixels shifted by `shift`: (frames, side, cells)."""
    step = (side - 1) / (cells - 1)
    place = np.clip((np.arange(side, dtype=np.float32) + shift[:, None]) / step, 0, cells - 1)
    weights: FloatArray = np.clip(1 - np.abs(place[..., None] - np.arange(cells, dtype=np.float32)), 0, 1)
    return weights


def _background(rng: np.random.Generator, frames: int, side: int, shake: FloatArray) -> FloatArray:
    """A smooth coloured texture that fades to others in turn: (frames, side, side, 3) in [0, 1]."""
    weights = _segments(rng, frames, _BACKGROUND_SECONDS)
    cells = (len(weights), _GRID * _GRID)
    light, chroma = rng.standard_normal((*cells, 1)), rng.standard_normal((*cells, 3))
    knots = (_BACKGROUND_LEVEL + 0.07 * light + 0.06 * chroma).reshape(len(weights), -1)
    grids = (weights.T @ knots).astype(np.float32).reshape(frames, _GRID, _GRID * 3)
    rows = _interpolation(shake[:, 0], _GRID, side) @ grids
    columns = _interpolation(shake[:, 1], _GRID, side)
    return columns[:, None] @ rows.reshape(frames, side, _GRID, 3)


def _sprite(rng: np.random.Generator, frames: int, side: int, shake: FloatArray) -> FloatArray:
    """Opacity of the sprite, (frames, side, side): it turns, pulses, and morphs from diamond to disc to square."""
    unit = side / 64
    radius = (9 + 1.2 * np.tanh(_smooth_noise(rng, frames, 1, width=20.0))) * unit
    walk = np.tanh(0.8 * _smooth_noise(rng, frames, 2, width=rng.uniform(6, 16)))
    centre = (side / 2 + (side / 2 - 9 * unit) * walk - shake).astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(0.05 * _smooth_noise(rng, frames, 1, width=20.0)[:, 0])
    cos, sin = (f(turn)[:, None, None].astype(np.float32) for f in (np.cos, np.sin))
    pixels = np.arange(side, dtype=np.float32)
    dy = pixels[None, :, None] - centre[:, 0, None, None]
    dx = pixels[None, None, :] - centre[:, 1, None, None]
    across, along = np.abs(cos * dx + sin * dy), np.abs(cos * dy - sin * dx)
    disc = np.sqrt(across * across + along * along)
    square, diamond = np.float32(1.13) * np.maximum(across, along), np.float32(0.8) * (across + along)
    form = np.tanh(1.5 * _smooth_noise(rng, frames, 1, width=20.0))[:, :, None]
    distance = disc + np.maximum(form, 0) * (square - disc) + np.maximum(-form, 0) * (diamond - disc)
    opacity: FloatArray = np.clip(radius[:, :, None].astype(np.float32) - distance + 0.5, 0, 1)
    return opacity
