"""An open video: its frames by display index or by time, decoded in one pass from the packets that they need."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, takewhile
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage.places import RemotePath
from lstcl_platform.video.complaints import Log, ffmpeg_errors
from lstcl_platform.video.demuxing import KEPT_BYTES, PacketTable
from lstcl_platform.video.opening import open_container, stamp
from lstcl_platform.video.packets import PacketIndex, Run

_LONG_FILES = 8
_long: OrderedDict[tuple[str, int, int], PacketTable] = OrderedDict()
"""What was found in the long files read last by this process, by path, size and modification time."""


class DecodeError(Exception):
    """A video cannot be decoded, or not to what was expected of it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class OpenVideo:
    """A video that has been opened and demuxed."""

    path: str
    container_format: str
    """FFmpeg's name(s) of it, separated by commas."""
    stream: VideoStream
    index: PacketIndex

    def frames_at(
        self, positions: npt.NDArray[np.int64], *, target_fps: float | None
    ) -> npt.NDArray[np.int64]:
        """Display index of the frame at each grid position; see `decode_clips`."""
        last = len(self.index) - 1
        if target_fps is None:
            return np.clip(positions, 0, last)
        tick = float(self.stream.time_base or Fraction(1))
        slack = min(0.75, 1e-3 / tick)
        ticks = np.asarray(positions, dtype=np.float64) / target_fps / tick + slack
        starts = self.index.times - self.index.times[0]
        return np.clip(np.searchsorted(starts, ticks, side="right") - 1, 0, last)

    def seconds(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """When frames are shown, in seconds after the first one."""
        ticks = self.index.times[indices] - self.index.times[0]
        return np.asarray(ticks * float(self.stream.time_base or Fraction(1)))

    def decode(self, wanted: Sequence[int], take: Callable[[int, av.VideoFrame], None]) -> int:
        """Decode what the shown frames `wanted` need and hand each of them to `take`, in any order.

        A frame may be handed out twice; the later one is right.

        Returns:
            Frames that the decoder put out.

        Raises:
            DecodeError: One of them cannot be decoded, or damage or a change of size came up on the way.
        """
        with ffmpeg_errors() as log:
            decoded = self._decode(self.stream.codec_context, self.index.runs(wanted), wanted, take)
            if not log:
                return decoded
            # It may have missed what was left out; with nothing left out, only damage makes it complain.
            with self.index.table.another_decoder() as context:
                return self._decode(context, self.index.runs(wanted, complete=True), wanted, take, log=log)

    def _decode(
        self,
        context: VideoCodecContext,
        runs: Sequence[Run],
        wanted: Sequence[int],
        take: Callable[[int, av.VideoFrame], None],
        *,
        log: Log = (),
    ) -> int:
        """Decode runs; an error in the `log` that comes up on the way is damage, except in a lead-in."""
        index = self.index
        by_key = {int(i) if index.by_order else int(index.times[i]): int(i) for i in wanted}
        shape: tuple[int, int] | None = None
        counter = 0
        for number, run in enumerate(runs):
            if number:
                context.flush_buffers()
            positions = chain(run.feed, (run.feed[-1],))
            # To the end also when all are found: a frame may refer to a damaged one that is shown, and comes, after it.
            packets = chain(takewhile(lambda _: by_key, index.packets(run)), (None,))
            for position, packet in zip(positions, packets, strict=False):
                heard = len(log)
                for frame in context.decode(packet):
                    key = counter if index.by_order else frame.pts
                    counter += 1
                    if frame.is_corrupt and (index.by_order or (key or 0) >= index.pts[run.first]):
                        raise DecodeError(self.path, "damaged frames")
                    if shape is not None and shape != (frame.width, frame.height):
                        raise DecodeError(self.path, "the picture size changes inside the video")
                    shape = (frame.width, frame.height)
                    shown = by_key.pop(key, None) if key is not None else None
                    if shown is not None:
                        take(shown, frame)
                # Hidden pictures at the beginning may lack what they refer to.
                if len(log) > heard and position >= run.first and (counter or not index.hides_some):
                    raise DecodeError(self.path, f"damaged: {log[heard][2].strip()}")
        if not by_key:
            return counter
        first = min(by_key.values())
        raise DecodeError(self.path, f"frame {first} and {len(by_key) - 1} others cannot be decoded")


@contextmanager
def open_video(path: str | Path | RemotePath, *, content: bytes | None = None) -> Iterator[OpenVideo]:
    """Open and demux a file.

    Args:
        path: path or URI of it.
        content: of an object that was fetched already (`opening.whole_content`).

    Raises:
        StorageError: Its storage is away; never a DecodeError.
        DecodeError: The file is no video; also for whatever FFmpeg finds wrong inside the `with` block.
    """
    name = str(path)
    try:
        with open_container(name, content=content) as container:
            stream = main_stream(container)
            if stream is None:
                raise DecodeError(name, "no video stream")
            stream.codec_context.thread_count = 1
            yield OpenVideo(name, container.format.name, stream, _index(name, container, stream))
    except StorageError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(name, reason(error)) from error


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the path and the call that PyAV adds."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def main_stream(container: av.container.InputContainer) -> VideoStream | None:
    """First video stream that is not a cover picture."""
    streams: tuple[VideoStream, ...] = container.streams.video
    covers = av.stream.Disposition.attached_pic
    return next((stream for stream in streams if not stream.disposition & covers), None)


def _index(name: str, container: av.container.InputContainer, stream: VideoStream) -> PacketIndex:
    if container.size <= KEPT_BYTES:
        return PacketIndex(container, stream)
    key = (name, *stamp(name))
    index = PacketIndex(container, stream, table=_long.pop(key, None))
    if index.table.is_long:
        _long[key] = index.table
        while len(_long) > _LONG_FILES:
            _long.popitem(last=False)
    return index
