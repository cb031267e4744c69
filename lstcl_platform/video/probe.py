"""What one video file says of itself, by demuxing all of it and decoding its first frame, or every one."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.video.stream import VideoStream

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage.places import Place
from lstcl_platform.video.complaints import Log, ffmpeg_errors
from lstcl_platform.video.opening import whole_content
from lstcl_platform.video.orientation import Orientation
from lstcl_platform.video.packets import PacketIndex
from lstcl_platform.video.reading import DecodeError, OpenVideo, open_video
from lstcl_platform.video.soundness import decoding_problem, truncation

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Facts about a file; all of `VideoRow`'s that the file alone determines."""

    frames: int = 0
    fps: float = 0.0
    duration: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    rotation: int = 0
    size_bytes: int = 0
    modified_ns: int = 0
    digest: str = ""
    problem: str | None = None


def probe(path: Place, *, thorough: bool = False) -> Probe:
    """Look at a file; never raises for what is wrong with it, but names it in `problem`.

    An object is fetched once (twice where it is too large to be held): its digest is that of its content, as a local
    file's is, so a dataset means the same wherever it lies.

    Args:
        path: the file.
        thorough: decode all of it; otherwise damage inside can stay unseen. Not in several threads at a time.

    Raises:
        StorageError: the file's storage is away.
    """
    try:
        status = path.stat()
        content = whole_content(path)
        digest = file_digest(path) if content is None else hashlib.sha256(content).hexdigest()
    except FileNotFoundError:
        return Probe(problem="missing: no such file")
    except StorageError:
        raise
    except OSError as error:
        return Probe(problem=f"unreadable: {error.strerror or error}")
    facts = Probe(size_bytes=status.st_size, modified_ns=status.st_mtime_ns, digest=digest)
    if status.st_size == 0:
        return replace(facts, problem="empty file")
    try:
        with (
            ffmpeg_errors() if thorough else nullcontext(()) as log,
            open_video(path, content=content) as video,
        ):
            return _describe(video, facts, thorough=thorough, log=log)
    except DecodeError as error:
        plain = error.reason in ("no video stream", "no frames", "no frame can be decoded")
        return replace(facts, problem=error.reason if plain else f"unreadable: {error.reason}")


def file_digest(path: Place) -> str:
    """SHA-256 of a file's content, hexadecimal; raises OSError."""
    fold = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            fold.update(chunk)
    return fold.hexdigest()


def _describe(video: OpenVideo, facts: Probe, *, thorough: bool, log: Log) -> Probe:
    stream = video.stream
    facts = replace(facts, codec=stream.codec_context.name)
    problem = truncation(video)
    # Incomplete packets are damage, or just the joint of two streams that were appended: decoding tells.
    if problem is None and (thorough or video.index.table.corrupt):
        problem = decoding_problem(video, log=log)
        video.stream.codec_context.flush_buffers()
    if problem is not None:
        return replace(facts, problem=problem)
    found = (0, 0, Orientation())

    def look(_: int, frame: av.VideoFrame) -> None:
        nonlocal found
        frame.reformat(format="rgb24", threads=1)  # there are colours that FFmpeg decodes but cannot convert
        found = frame.width, frame.height, Orientation.of(frame)

    video.decode([0], look)
    width, height, orientation = found
    fps, duration = _timing(stream, video.index)
    return replace(
        facts,
        frames=len(video.index),
        fps=fps,
        duration=duration,
        width=height if orientation.transposed else width,
        height=width if orientation.transposed else height,
        rotation=orientation.rotation,
    )


def _timing(stream: VideoStream, index: PacketIndex) -> tuple[float, float]:
    """Frames a second and seconds shown; the container's rate where it is within 1 % of the timestamps."""
    times = index.times.tolist()
    base = stream.time_base or Fraction(1)
    stated = Fraction(stream.average_rate or stream.guessed_rate or 0)
    span = (times[-1] - times[0]) * base
    if len(times) == 1 or span == 0:
        rate = stated or Fraction(1)
        return float(rate), float(len(times) / rate)
    measured = (len(times) - 1) / span
    if stated and abs(measured / stated - 1) < Fraction(1, 100):
        return float(stated), float(len(times) / stated)
    return float(measured), float(span + (index.last_duration * base or 1 / measured))
