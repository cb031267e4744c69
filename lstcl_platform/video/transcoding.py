"""One video encoded anew for fast access to its clips: small pictures, short groups, nothing that is slow to decode.

What a clip's positions mean stays the same: as many frames, shown at the same times after the first one. Display
rotation is applied to the pixels (upright 4:2:0 is what the decoder crops without converting whole frames), colour
tags are kept, audio and the shape of non-square pixels, which decoding ignores, are dropped.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from lstcl_platform import storage
from lstcl_platform.storage.places import Place
from lstcl_platform.video.complaints import ffmpeg_errors
from lstcl_platform.video.orientation import Orientation
from lstcl_platform.video.probe import probe
from lstcl_platform.video.reading import DecodeError, OpenVideo, open_video
from lstcl_platform.video.soundness import decoding_problem, truncation

# No picture refers to a B-frame, so all unwanted ones are skipped, and the more there are, the less is left to decode
# and to store: b-adapt off, since x264 spares them where there is noise. aq-mode off: fewer bits for the same error.
# mbtree off: with it x264 writes other bytes from call to call.
_X264 = "b-pyramid=none:b-adapt=0:aq-mode=0:mbtree=0"
_B_FRAMES = 7
_GOP_WITHOUT_B_FRAMES = 8
_FINEST = 10_000_000
"""Ticks a second of a prepared video, at most."""


@dataclass(frozen=True, kw_only=True)
class TranscodeSettings:
    """How videos are encoded: H.264 in MP4.

    Attributes:
        short_side: pixels of the shorter edge; smaller videos keep their size, made even.
        gop: frames from one keyframe to the next, at most.
        crf: x264's quality, 0 to 51; less is better and larger.
        preset: x264's speed.
        fastdecode: leave out x264's features that are slow to decode; larger files.
    """

    short_side: int = 256
    gop: int = 16
    crf: int = 18
    preset: str = "veryfast"
    fastdecode: bool = True


@dataclass(frozen=True, kw_only=True)
class Transcoded:
    """What became of a video.

    Attributes:
        frames: of the new file, and of the source.
        size_bytes: of the new file.
        problem: what is wrong with the source, if there is no new file.
        failure: what went wrong otherwise; no verdict about the video.
    """

    frames: int = 0
    size_bytes: int = 0
    problem: str | None = None
    failure: str | None = None


class EncodeError(Exception):
    """A sound video could not be encoded: no verdict about the video."""


def transcode(source: Place, target: Place, settings: TranscodeSettings) -> Transcoded:
    """Encode `source` into `target`, which appears whole and verified, or not at all.

    The source is judged as `probe(source, thorough=True)` judges it, in the same pass.

    Raises:
        EncodeError: the encoder failed.
        OSError: `target` cannot be written.
    """
    buffer = io.BytesIO()
    try:
        with ffmpeg_errors() as log, open_video(source) as video:
            times = _seconds(video)
            problem = truncation(video)
            if problem is None and any(b <= a for a, b in pairwise(times)):
                problem = "two frames have the same presentation time"
            if problem is None:
                encoder = _Encoder(video, buffer, settings)
                problem = decoding_problem(video, log=log, take=encoder.add)
                if problem is None:
                    encoder.finish()
    except DecodeError as error:
        return Transcoded(problem=probe(source).problem or f"unreadable: {error.reason}")
    if problem is not None:
        return Transcoded(problem=problem)
    content = buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / target.name
        made.write_bytes(content)
        with open_video(made) as written:
            found = _seconds(written)
    if found != times:
        return Transcoded(problem=_difference(times, found))
    storage.write_bytes(str(target), content)
    return Transcoded(frames=len(times), size_bytes=len(content))


def _seconds(video: OpenVideo) -> list[Fraction]:
    """When each frame is shown, after the first."""
    tick, times = video.stream.time_base or Fraction(1), video.index.times.tolist()
    return [(time - times[0]) * tick for time in times]


def _difference(expected: list[Fraction], found: list[Fraction]) -> str:
    if len(found) != len(expected):
        return f"the prepared video has {len(found)} frames, its source {len(expected)}"
    first = next(i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b)
    return (
        f"the prepared video shows frame {first} at {float(found[first]):.6f} s, its source at "
        f"{float(expected[first]):.6f} s"
    )


class _Encoder:
    """Takes the frames of a video in display order."""

    def __init__(self, video: OpenVideo, buffer: io.BytesIO, settings: TranscodeSettings) -> None:
        self._settings = settings
        self._container = av.open(buffer, "w", format="mp4")
        self._stream: av.VideoStream | None = None
        self._held: av.Packet[av.VideoStream] | None = None
        self._first_dts = 0
        tick = video.stream.time_base or Fraction(1)
        times = (video.index.times - video.index.times[0]).tolist()
        self._rate = Fraction(video.stream.average_rate or video.stream.guessed_rate or 30)
        steps = [b - a for a, b in pairwise(times)]
        self._constant = bool(steps) and max(steps) - min(steps) <= 1
        last = video.index.last_duration or (steps[-1] if steps else 1 / self._rate / tick)
        end = len(times) / self._rate / tick if self._constant else times[-1] + last
        # So fine that both the times and a frame of a constant rate are whole numbers of it.
        fine = Fraction(1, lcm(tick.denominator, self._rate.numerator))
        self._base = fine if fine.denominator <= _FINEST else tick
        self._times = [int(time * tick / self._base) for time in times]
        self._end = round(end * tick / self._base)
        self._reformatter = VideoReformatter()

    def add(self, index: int, frame: av.VideoFrame) -> None:
        """Encode a frame; one beyond those that the file's index shows is the caller's to complain of."""
        if index >= len(self._times):
            return
        try:
            picture = self._picture(frame)
            stream = self._stream or self._open(picture)
            picture.pts, picture.time_base = self._times[index], self._base
            # Else x264 makes each picture of the type that it had in the source.
            picture.pict_type = PictureType.NONE
            self._mux(stream, picture)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise EncodeError(f"{type(error).__name__}: {error}") from error

    def finish(self) -> None:
        """Write what the encoder holds back, and the file's index."""
        try:
            if self._stream is not None:
                self._mux(self._stream, None)
            self._end_file()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise EncodeError(f"{type(error).__name__}: {error}") from error

    def _picture(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame as it will be stored: scaled, 4:2:0, upright."""
        scale = min(1.0, self._settings.short_side / min(frame.width, frame.height))
        width, height = (max(2, round(edge * scale / 2) * 2) for edge in (frame.width, frame.height))
        rgb = frame.format.is_rgb
        small = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="yuv420p",
            interpolation=Interpolation.BICUBIC,
            dst_colorspace=Colorspace.ITU601 if rgb else None,
            dst_color_range=ColorRange.MPEG if rgb else None,
            threads=1,
        )
        orientation = Orientation.of(frame)
        if orientation == Orientation():
            return small
        planes = []
        for plane in small.planes:
            pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            planes.append(np.ascontiguousarray(orientation.upright(pixels[:, : plane.width])))
        turned = av.VideoFrame.from_dlpack(planes, format="yuv420p")
        turned.colorspace, turned.color_range = small.colorspace, small.color_range
        turned.color_primaries, turned.color_trc = small.color_primaries, small.color_trc
        return turned

    def _open(self, picture: av.VideoFrame) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        context, settings = stream.codec_context, self._settings
        context.time_base, context.thread_count = self._base, 1
        # With B-frames, MP4 cannot say how long the last picture of a varying rate is shown. Without, a picture needs
        # all before it in its group.
        context.max_b_frames = min(_B_FRAMES, max(0, settings.gop - 2)) if self._constant else 0
        context.gop_size = settings.gop if self._constant else min(_GOP_WITHOUT_B_FRAMES, settings.gop)
        context.colorspace, context.color_range = picture.colorspace, picture.color_range
        context.color_primaries, context.color_trc = picture.color_primaries, picture.color_trc
        context.options = {"preset": settings.preset, "crf": str(settings.crf), "x264-params": _X264}
        if settings.fastdecode:
            context.options = {**context.options, "tune": "fastdecode"}
        self._stream = stream
        return stream

    def _mux(self, stream: av.VideoStream, picture: av.VideoFrame | None) -> None:
        """Encode, and write all packets but the last."""
        for packet in stream.encode(picture):
            if self._held is None:
                self._first_dts = packet.dts
            else:
                self._container.mux(self._held)
            self._held = packet

    def _end_file(self) -> None:
        """Write the last packet, which determines how long the video is, and the index."""
        if self._held is not None:
            self._held.duration = max(1, self._end - (self._held.dts - self._first_dts))
            self._container.mux(self._held)
        self._container.close()
