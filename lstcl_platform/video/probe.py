"""What one video file says of itself, by demuxing all of it and decoding its first frame."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

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


def probe(path: Path) -> Probe:
    """Look at a file; never raises for what is wrong with it, but names it in `problem`."""
    try:
        status = path.stat()
        digest = _digest(path)
    except FileNotFoundError:
        return Probe(problem="missing: no such file")
    except OSError as error:
        return Probe(problem=f"unreadable: {error.strerror or error}")
    facts = Probe(size_bytes=status.st_size, modified_ns=status.st_mtime_ns, digest=digest)
    if status.st_size == 0:
        return replace(facts, problem="empty file")
    try:
        with av.open(str(path)) as container:
            return _probe_stream(container, facts)
    except (av.FFmpegError, OSError, ValueError) as error:
        return replace(facts, problem=f"unreadable: {reason(error)}")


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the path and the call that PyAV adds."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def display_rotation(degrees: int) -> int:
    """Counter-clockwise quarter turns as 0, 90, 180 or 270; other angles count as none."""
    return degrees % 360 if degrees % 90 == 0 else 0


def main_stream(container: av.container.InputContainer) -> VideoStream | None:
    """First video stream that is not a cover picture."""
    streams: tuple[VideoStream, ...] = container.streams.video
    covers = av.stream.Disposition.attached_pic
    return next((stream for stream in streams if not stream.disposition & covers), None)


def _digest(path: Path) -> str:
    fold = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            fold.update(chunk)
    return fold.hexdigest()


def _probe_stream(container: av.container.InputContainer, facts: Probe) -> Probe:
    stream = main_stream(container)
    if stream is None:
        return replace(facts, problem="no video stream")
    codec = stream.codec_context.name
    packets = [packet for packet in container.demux(stream) if packet.size]
    shown = [packet for packet in packets if not packet.is_discard]
    if not shown:
        return replace(facts, codec=codec, problem="no frames")
    problem = _missing_packets(stream, packets)
    if problem is None and any(packet.pts is None for packet in shown):
        problem = "no timestamps: remux the file into a container that has them (mp4, mkv)"
    if problem is not None:
        return replace(facts, codec=codec, problem=problem)
    fps, duration = _timing(stream, shown)
    first = _first_frame(stream, packets)
    if first is None:
        return replace(facts, codec=codec, problem="no frame can be decoded")
    rotation = display_rotation(first.rotation)
    upright = rotation % 180 == 0
    return replace(
        facts,
        frames=len(shown),
        fps=fps,
        duration=duration,
        width=first.width if upright else first.height,
        height=first.height if upright else first.width,
        codec=codec,
        rotation=rotation,
    )


def _missing_packets(stream: VideoStream, packets: Sequence[Packet[VideoStream]]) -> str | None:
    corrupt = sum(packet.is_corrupt for packet in packets)
    # An edit list can drop whole leading GOPs from the index, so `frames` alone may promise too much.
    promised = min(stream.frames, len(stream.index_entries))
    indexed = stream.frames > 0 and len(stream.index_entries) > 1
    if indexed and len(packets) < promised:
        return f"truncated: {len(packets)} of {promised} frames are in the file"
    if corrupt:
        return f"damaged: {corrupt} of {len(packets)} packets are incomplete"
    return None


def _timing(stream: VideoStream, shown: Sequence[Packet[VideoStream]]) -> tuple[float, float]:
    """Frames a second and seconds shown; the container's rate where it is within 1 % of the timestamps."""
    spans = sorted((packet.pts or 0, packet.duration or 0) for packet in shown)
    times = [start for start, _ in spans]
    base = stream.time_base or Fraction(1)
    stated = Fraction(stream.average_rate or stream.guessed_rate or 0)
    span = (times[-1] - times[0]) * base
    if len(times) == 1 or span == 0:
        rate = stated or Fraction(1)
        return float(rate), float(len(times) / rate)
    measured = (len(times) - 1) / span
    if stated and abs(measured / stated - 1) < Fraction(1, 100):
        return float(stated), float(len(times) / stated)
    tail = spans[-1][1] * base or 1 / measured
    return float(measured), float(span + tail)


def _first_frame(stream: VideoStream, packets: Sequence[Packet[VideoStream]]) -> av.VideoFrame | None:
    context = stream.codec_context
    context.thread_count = 1
    for packet in packets:
        if frames := context.decode(packet):
            return frames[0]
    frames = context.decode(None)
    return frames[0] if frames else None
