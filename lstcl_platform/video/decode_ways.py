"""The same clips cut by us and by others: what `bench decode` compares. Peers are used where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from lstcl_platform.video.decoding import Frames, decode_clips
from lstcl_platform.video.orientation import Orientation
from lstcl_platform.video.process import set_up_decoding
from lstcl_platform.video.reading import main_stream, open_video
from lstcl_platform.video.sampling import Box, Clip

Sample = Sequence[Clip]
"""Clips of one video; positions are native frames, boxes have even edges."""
Way = Callable[[Path, Sample, int], "list[Frames] | None"]
"""(file, sample, side of the output) -> clips uint8 (T, side, side, 3), or None where no pixels are made."""


def ours(path: Path, sample: Sample, size: int) -> list[Frames]:
    """`decode_clips`: one pass, only the packets needed."""
    return decode_clips(path, sample, size=size, target_fps=None)


def floor(path: Path, sample: Sample, size: int) -> None:
    """The fewest packets that the frames need opened, demuxed and decoded; no pixel is touched."""
    with open_video(path) as video:
        wanted = {int(i) for clip in sample for i in video.frames_at(clip.positions, target_fps=None)}
        video.decode(sorted(wanted), lambda index, frame: None)


def sequential(path: Path, sample: Sample, size: int) -> list[Frames]:
    """PyAV from the first frame to the last one needed; whole frames converted, then cropped and resized."""
    wanted = _wanted(sample)
    frames: dict[int, Frames] = {}
    with av.open(str(path)) as container:
        stream = main_stream(container)
        assert stream is not None
        stream.codec_context.thread_count = 1
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frames[index] = Orientation.of(frame).upright(frame.to_ndarray(format="rgb24"))
            if index == max(wanted):
                break
    return _cut(frames, sample, size)


def torchcodec(path: Path, sample: Sample, size: int) -> list[Frames]:
    """TorchCodec, exact mode, one thread."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="exact", dimension_order="NHWC")
    wanted = sorted(_wanted(sample))
    pixels = decoder.get_frames_at(wanted).data.numpy()
    return _cut(dict(zip(wanted, pixels, strict=True)), sample, size)


def decord(path: Path, sample: Sample, size: int) -> list[Frames]:
    """decord2, one thread."""
    from decord import VideoReader

    wanted = sorted(_wanted(sample))
    pixels = VideoReader(str(path), num_threads=1).get_batch(wanted).asnumpy()
    return _cut(dict(zip(wanted, pixels, strict=True)), sample, size)


def opencv(path: Path, sample: Sample, size: int) -> list[Frames]:
    """OpenCV: frames grabbed in order, those needed retrieved; it has no exact seek."""
    import cv2

    wanted = _wanted(sample)
    frames: dict[int, Frames] = {}
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        for index in range(max(wanted) + 1):
            capture.grab()
            if index in wanted:
                frames[index] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
    return _cut(frames, sample, size)


WAYS: dict[str, Way] = {
    "ours": ours,
    "floor": floor,
    "sequential": sequential,
    "torchcodec": torchcodec,
    "decord2": decord,
    "opencv": opencv,
}
"""By the names of the table's columns."""
_PEERS = {"torchcodec": "torchcodec.decoders", "decord2": "decord", "opencv": "cv2"}


@dataclass(frozen=True, kw_only=True)
class Available:
    """Which ways can run here.

    Attributes:
        ways: those that can, in the order of `WAYS`.
        missing: name -> why not.
    """

    ways: dict[str, Way]
    missing: dict[str, str]


def available_ways() -> Available:
    """Import the peers; one that is not installed, or does not find its libraries, is left out with the reason."""
    import importlib

    missing: dict[str, str] = {}
    for name, module in _PEERS.items():
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:
            missing[name] = str(error).strip().splitlines()[0]
    return Available(ways={name: way for name, way in WAYS.items() if name not in missing}, missing=missing)


def one_thread() -> None:
    """Hold resizing and the peers to one thread, so that CPU time compares."""
    import sys

    set_up_decoding()
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def _wanted(sample: Sample) -> set[int]:
    return {int(index) for clip in sample for index in clip.positions}


def _cut(frames: dict[int, npt.NDArray[Any]], sample: Sample, size: int) -> list[Frames]:
    """Crop and resize as `decode_clips` does."""
    import torch
    from torchvision.transforms.v2 import functional

    clips = []
    for clip in sample:
        box: Box = clip.box
        rows, columns = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
        pixels = np.stack([frames[int(index)][rows, columns] for index in clip.positions])
        tensor = functional.resize(torch.from_numpy(pixels).permute(0, 3, 1, 2), [size, size], antialias=True)
        clips.append(
            np.ascontiguousarray((tensor.flip(3) if clip.flip else tensor).permute(0, 2, 3, 1).numpy())
        )
    return clips
