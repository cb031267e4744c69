"""Which packets of a video must be decoded to get some of its frames, and no others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from lstcl_platform.video.demuxing import PacketTable

_UNTRUSTED_ORDER = frozenset(["avi"])
"""Containers that store no presentation times: those that the demuxer makes up are wrong with B-frames."""
_PICTURE_PACKETS = frozenset(["mov", "matroska", "flv", "avi"])
"""Containers in which a packet is a picture; elsewhere it can be one of the two fields of an interlaced one."""
_RATE_WITHOUT_TIMES = 25
"""Frames a second of a raw stream that does not say."""


@dataclass(frozen=True)
class Run:
    """Packets to decode one after the other from a fresh decoder: the first is an entry point."""

    first: int
    """Position of the entry packet."""
    feed: list[int]
    """Positions of the packets to decode, ascending."""


class PacketIndex:
    """The frames of a video in the order in which a player shows them, and the packets that they need."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, *, table: PacketTable | None = None
    ) -> None:
        """Demux the whole stream; of a few odd ones, decode the beginning or everything once.

        Args:
            container: The open file.
            stream: The stream of it to be read.
            table: What an earlier pass through the same file found.

        Raises:
            ValueError: No packet is shown.
            av.FFmpegError: The container is damaged.
        """
        self.table = table or PacketTable(container, stream)
        if not self.table.shown:
            raise ValueError("no frames")
        self.pts: list[int] = [pts or 0 for pts in self.table.pts]
        formats = set(container.format.name.split(","))
        self._can_be_fields = not formats & _PICTURE_PACKETS
        self._without_times = any(pts is None for pts in self.table.pts)
        if self._without_times:
            self.shown = list(range(self._count(stream)))
            rate = stream.guessed_rate or stream.average_rate or Fraction(_RATE_WITHOUT_TIMES)
            tick = stream.time_base or Fraction(1)
            times = [int(index / rate / tick) for index in self.shown]
        else:
            self.shown = self._decodable(stream, sorted(self.table.shown, key=self.pts.__getitem__))
            times = [self.pts[position] for position in self.shown]
        self.hides_some: bool = len(self.shown) < len(self.table)
        """Whether pictures are not shown: by an edit list, or because they lack what they refer to."""
        if not times:
            raise ValueError("no frame can be decoded")
        self.times: npt.NDArray[np.int64] = np.array(times, dtype=np.int64)
        """Presentation times of the shown frames in ticks of the stream's time base, ascending."""
        repeated = bool((np.diff(self.times) == 0).any())
        self.by_order: bool = self._without_times or repeated or bool(formats & _UNTRUSTED_ORDER)
        """Timestamps cannot tell the frames apart: decode everything and count."""

    def __len__(self) -> int:
        """Frames that are shown."""
        return len(self.times)

    @property
    def last_duration(self) -> int:
        """Ticks that the last frame is shown for; 0 if the file does not say."""
        return 0 if self._without_times else self.table.durations[self.shown[-1]]

    def packets(self, run: Run) -> Iterator[Packet[VideoStream]]:
        """Packets of a run."""
        return self.table.packets(run.feed)

    def runs(self, wanted: Sequence[int]) -> list[Run]:
        """Fewest packets that the shown frames `wanted` (display indices) need, in as few runs as possible.

        A frame needs everything from the last entry point that precedes it both in decoding order and in
        presentation: leading pictures of an open GOP are shown before their keyframe but need the GOP before.
        Unwanted pictures that no other picture refers to are left out.
        """
        if self.by_order:
            return [Run(0, list(range(len(self.table))))]
        keep = {self.shown[index] for index in wanted}
        if self._can_be_fields:
            keep |= {position + 1 for position in keep if position + 1 < len(self.table)}
        runs: list[Run] = []
        end = -1
        # By entry, not by target: a leading picture comes after its keyframe but needs an earlier entry.
        for entry, target in sorted((self._entry(target), target) for target in keep):
            if entry > end + 1 or not runs:
                runs.append(Run(entry, []))
                end = entry - 1
            fresh = range(end + 1, target + 1)
            runs[-1].feed.extend(i for i in fresh if i in keep or not self.table.is_unreferenced(i))
            end = max(end, target)
        return runs

    def _entry(self, position: int) -> int:
        if self.table.restarts:
            return 0
        keys = self.table.keys
        for number in range(bisect_right(keys, position) - 1, -1, -1):
            if self.pts[keys[number]] <= self.pts[position] and self.table.is_entry(keys[number]):
                return keys[number]
        return 0

    def _count(self, stream: VideoStream) -> int:
        """Frames of a stream without timestamps: packets do not tell, since a packet can be half a picture."""
        context = stream.codec_context
        count = sum(len(context.decode(packet)) for packet in self.table.packets(range(len(self.table))))
        count += len(context.decode(None))
        context.flush_buffers()
        return count

    def _decodable(self, stream: VideoStream, shown: list[int]) -> list[int]:
        """`shown` without pictures that refer to something before the beginning of the file.

        These are shown before the first keyframe: leading pictures of an open GOP that was cut from a longer
        stream, or the rest of a group whose keyframe is missing. Which of them can be decoded nevertheless is
        the codec's secret, so it is asked.
        """
        start = self.pts[self.table.keys[0]] if self.table.keys else self.pts[shown[0]]
        leading = [position for position in shown if self.pts[position] < start]
        if not leading:
            return shown
        context = stream.codec_context
        feed = range(max(*leading, self.table.keys[0]) + 1)
        frames = [frame for packet in self.table.packets(feed) for frame in context.decode(packet)]
        emitted = {frame.pts for frame in [*frames, *context.decode(None)]}
        context.flush_buffers()
        return [i for i in shown if self.pts[i] >= start or self.pts[i] in emitted]
