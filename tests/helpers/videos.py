"""Small real videos for tests, encoded with PyAV: nothing is downloaded and no binary is committed."""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

TICKS = 60_000
"""Time base of streams with a variable frame rate, in ticks a second."""


def picture(index: int, *, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Frame `index` as uint8 RGB (height, width, 3): smooth colours that drift and some fixed texture."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, size=3)
    texture = rng.integers(0, 40, size=(height, width, 3))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / 7 + index / 5 + phase[0]), np.sin(y / 5 - index / 9 + phase[1])]
    waves.append(np.sin((x + y) / 11 + index / 3 + phase[2]))
    image = np.stack(waves, axis=-1) * 90 + 110 + np.roll(texture, index, axis=1)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_video(
    path: Path,
    *,
    frames: int = 60,
    fps: float = 30,
    side: int = 64,
    width: int | None = None,
    gop: int = 12,
    bframes: int = 2,
    open_gop: bool = False,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[float] | None = None,
    rotation: int = 0,
    cut_frames: int = 0,
    faststart: bool = False,
    x264: str = "",
    hevc: str = "",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """Write a video of `frames` frames, `side` high and `width` (default: `side`) wide, and return its path.

    Args:
        path: File to write; parent folders are made. The suffix chooses the container.
        times: Presentation time of each frame in seconds (variable frame rate); replaces `fps`.
        open_gop: Let B-frames refer across keyframes.
        rotation: Display rotation in degrees, written as a display matrix.
        cut_frames: Hide this many leading frames by an edit list (mp4 only); they stay in the file as packets
            that a player must decode and must not show.
        faststart: Put the index of an mp4 before the pictures, so that a cut file can still be opened.
        x264, hevc: More x264 or x265 parameters, `name=value` joined by colons.
        options, muxer: Of other encoders, and of the container.
        seed: Picks the pictures; equal arguments give equal frames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(fps).limit_denominator(1001)
    base = 1 / rate if times is None else Fraction(1, TICKS)
    moments = [i / rate for i in range(frames)] if times is None else [Fraction(t) for t in times]
    assert len(moments) == frames, "times must name every frame"
    muxer = {"movflags": "faststart"} if faststart else muxer or {}
    with _kept_priority(), av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width or side, side, pixel_format
        context = stream.codec_context
        context.time_base = base
        context.gop_size, context.max_b_frames, context.thread_count = gop, bframes, 1
        own = _codec_options(codec, gop=gop, bframes=bframes, open_gop=open_gop, more=x264 or hevc)
        context.options = own | (options or {})
        if rotation:
            stream.set_display_rotation(rotation)
        for index, moment in enumerate(moments):
            frame = _frame(picture(index, height=side, width=width or side, seed=seed), pixel_format)
            frame.pts, frame.time_base = round(moment / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if cut_frames:
        _cut_by_edit_list(path, seconds=float(moments[cut_frames]))
    return path


def _frame(image: np.ndarray, pixel_format: str) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)


@contextmanager
def _kept_priority() -> Iterator[None]:
    """SVT-AV1 gives its caller real-time priority where it may (as root), and all later children inherit it."""
    policy = os.sched_getscheduler(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, os.sched_param(0))


def _codec_options(codec: str, *, gop: int, bframes: int, open_gop: bool, more: str) -> dict[str, str]:
    if codec == "libx264":
        fixed = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:b-adapt=0:threads=1"
        return {"x264-params": f"{fixed}:open-gop={int(open_gop)}:{more}", "preset": "veryfast"}
    if codec == "libx265":
        return {"x265-params": f"keyint={gop}:bframes={bframes}:log-level=error:{more}"}
    return {}


def make_labelled_folder(root: Path, *, classes: int = 2, videos: int = 4, **options: Any) -> Path:
    """Write `videos` videos for each class into `root/class_<k>/video_<i>.mp4` with `make_video`."""
    for label in range(classes):
        for index in range(videos):
            make_video(root / f"class_{label}" / f"video_{index}.mp4", seed=100 * label + index, **options)
    return root


def damage(path: Path, *, start: float = 0.4, length: int = 400, seed: int = 0) -> Path:
    """Overwrite `length` bytes from the share `start` of the file on with noise."""
    data = bytearray(path.read_bytes())
    first = int(len(data) * start)
    noise = np.random.default_rng(seed).integers(0, 256, size=length, dtype=np.uint8).tobytes()
    data[first : first + length] = noise
    path.write_bytes(bytes(data))
    return path


def copy_packets(source: Path, target: Path, edit: Callable[[int, av.Packet], bool]) -> Path:
    """Copy the video packets for which `edit(number, packet)`, which may change them, is true."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for number, packet in enumerate(packet for packet in read.demux(video=0) if packet.size):
            if edit(number, packet):
                packet.stream = stream
                write.mux(packet)
    return target


def set_display_matrix(path: Path, *, matrix: tuple[int, int, int, int]) -> Path:
    """Write a b c d of the display matrix of the first track of an mp4, each -1, 0 or 1."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (entry << 16 for entry in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def set_edits(path: Path, edits: Sequence[tuple[float, float]]) -> Path:
    """Replace the edits of the only track of an mp4 by (duration, start) in seconds; a start of -1 is a pause."""
    data = bytearray(path.read_bytes())
    begin = data.index(b"elst") - 4
    (old,) = struct.unpack_from(">I", data, begin)
    (media,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    (movie,) = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)
    body = struct.pack(">II", 0, len(edits))
    for seconds, start in edits:
        body += struct.pack(
            ">IiI", round(seconds * movie), -1 if start < 0 else round(start * media), 1 << 16
        )
    data[begin : begin + old] = struct.pack(">I", 8 + len(body)) + b"elst" + body
    for box in (b"edts", b"trak", b"moov"):
        at = data.rindex(box, 0, begin) - 4
        (size,) = struct.unpack_from(">I", data, at)
        struct.pack_into(">I", data, at, size + 8 + len(body) - old)
    path.write_bytes(bytes(data))
    return path


def _cut_by_edit_list(path: Path, *, seconds: float) -> None:
    """Move the start of the (only) edit of an mp4 by `seconds`."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 4
    version, count = data[entry], struct.unpack_from(">I", data, entry + 4)[0]
    assert (version, count) == (0, 1), "expected one edit of version 0"
    header = data.index(b"mdhd") + 4
    timescale = struct.unpack_from(">I", data, header + 12)[0]
    duration, start = struct.unpack_from(">Ii", data, entry + 8)
    movie = struct.unpack_from(">I", data, data.index(b"mvhd") + 4 + 12)[0]
    struct.pack_into(
        ">Ii", data, entry + 8, duration - round(seconds * movie), start + round(seconds * timescale)
    )
    path.write_bytes(bytes(data))
