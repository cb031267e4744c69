"""Which packets of a video must be decoded to get some of its frames, and no others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
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
_PROGRESSIVE = (0, 1)
"""Values of `field_order`: unknown, progressive."""
_NOT_CODED_BYTES = 16
"""MPEG-4 packets up to this size can be placeholders, of which no picture is made."""
_RATE_WITHOUT_TIMES = 25
"""Frames a second of a raw stream that does not say."""


@dataclass(frozen=True)
class Run:
    """Packets to decode one after the other from a fresh decoder."""

    first: int
    """Position of the entry packet; what is fed before it is a lead-in."""
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
        self._timed = None not in self.table.pts and not self.table.rewinds
        self.shown = self._timed_frames(stream) if self._timed else []
        times = [self.pts[position] for position in self.shown]
        if not times:
            self._timed = False
            self.shown = list(range(len(self._emitted(len(self.table)))))
            times = _even_times(len(self.shown), stream)
        self.hides_some: bool = len(self.shown) < len(self.table)
        """Whether pictures are not shown: by an edit list, or because they lack what they refer to."""
        if not times:
            raise ValueError("no frame can be decoded")
        self.times: npt.NDArray[np.int64] = np.array(times, dtype=np.int64)
        """Presentation times of the shown frames in ticks of the stream's time base, ascending."""
        repeated = bool((np.diff(self.times) == 0).any())
        unordered = stream.codec_context.reorder_depth > 0 and not self.table.reordered
        self.by_order: bool = not self._timed or repeated or unordered or bool(formats & _UNTRUSTED_ORDER)
        """Timestamps cannot tell the frames apart: decode everything and count."""

    def __len__(self) -> int:
        """Frames that are shown."""
        return len(self.times)

    @property
    def last_duration(self) -> int:
        """Ticks that the last frame is shown for; 0 if the file does not say."""
        return 0 if not self._timed else self.table.durations[self.shown[-1]]

    def packets(self, run: Run) -> Iterator[Packet[VideoStream]]:
        """Packets of a run."""
        return self.table.packets(run.feed)

    def runs(self, wanted: Sequence[int], *, complete: bool = False) -> list[Run]:
        """Fewest packets that the shown frames `wanted` (display indices) need, in as few runs as possible.

        A frame needs everything from the last entry point that precedes it both in decoding order and in
        presentation: leading pictures of an open GOP are shown before their keyframe but need the GOP before.
        Unwanted pictures that no other picture refers to are left out. Of `complete` runs, nothing is, and the group
        before the entry point leads in: an open group may name pictures of it, if only to dismiss them.
        """
        if self.by_order:
            return [Run(0, list(range(len(self.table))))]
        keep = {self.shown[index] for index in wanted}
        if self._can_be_fields:
            keep |= {position + 1 for position in keep if position + 1 < len(self.table)}
        runs: list[Run] = []
        entries = {key for key in self.table.keys[:1] if self.table.is_entry(key)} | set(self.table.keys[1:])
        end = -1
        # By entry, not by target: a leading picture comes after its keyframe but needs an earlier entry.
        for entry, target in sorted((self._entry(target), target) for target in keep):
            if entry > end + 1 or not runs:
                runs.append(Run(entry, list(range(self._entry_before(entry), entry)) if complete else []))
                end = entry - 1
            fresh = range(end + 1, target + 1)
            # Without the pictures that they refer to, decoders make up some, out of whatever came before.
            whole = complete or runs[-1].first not in entries
            runs[-1].feed.extend(i for i in fresh if whole or i in keep or not self.table.is_unreferenced(i))
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

    def _entry_before(self, position: int) -> int:
        keys = self.table.keys
        earlier = reversed(keys[: bisect_left(keys, position)])
        return next((key for key in earlier if self.table.is_entry(key)), 0)

    def _timed_frames(self, stream: VideoStream) -> list[int]:
        """Positions of the packets whose pictures are shown, in the order of their times.

        Which pictures a decoder hands out is the codec's secret where one refers to something before the beginning
        of the file (leading pictures of an open GOP that was cut from a longer stream, or the rest of a group whose
        keyframe is missing), where a packet can be a field, and where it can say that nothing has changed. So the
        codec is asked. Nothing is returned if its answer does not agree with the packets; the packets are believed if
        damage keeps it from answering.
        """
        pts, keys = self.pts, self.table.keys
        shown = sorted(self.table.shown, key=pts.__getitem__)
        start = pts[keys[0]] if keys else pts[shown[0]]
        leading = [position for position in shown if pts[position] < start]
        context = stream.codec_context
        fields = context.name == "h264" and self._can_be_fields and context.field_order not in _PROGRESSIVE
        if fields or (context.name == "mpeg4" and self.table.smallest <= _NOT_CODED_BYTES):
            try:
                emitted = self._emitted(len(self.table))
            except av.FFmpegError:
                return shown
            found = [position for position in shown if pts[position] in set(emitted)]
            return found if len(found) == len(emitted) else []
        if leading:
            emitted = self._emitted(max(*leading, keys[0]) + 1)
            return [i for i in shown if pts[i] >= start or pts[i] in set(emitted)]
        return shown

    def _emitted(self, packets: int) -> list[int | None]:
        """Times of the frames that a decoder makes of the first packets.

        One of its own: a decoder that has seen them once may make up other pictures in place of missing ones.
        """
        with self.table.another_decoder() as context:
            feed = self.table.packets(range(packets))
            frames = [frame.pts for packet in feed for frame in context.decode(packet)]
            return frames + [frame.pts for frame in context.decode(None)]


def _even_times(count: int, stream: VideoStream) -> list[int]:
    """Times of frames that have none of their own: those of the stream's frame rate."""
    rate = stream.guessed_rate or stream.average_rate or Fraction(_RATE_WITHOUT_TIMES)
    tick = stream.time_base or Fraction(1)
    return [int(index / rate / tick) for index in range(count)]
