"""The packets of a video stream: held in memory where they are few, read again where they are needed otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice, pairwise

from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from lstcl_platform.video.bitstream import Bitstream
from lstcl_platform.video.opening import open_container

KEPT_BYTES = 64 << 20
"""Packets of a larger stream are not held: after one pass through the file, they are sought and read again."""
_AT_ONCE = 64
"""Packets looked at together: one by one, Python takes longer to look than FFmpeg to read them."""


class PacketTable:
    """What one pass through a file found out about its packets, in decoding order."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        """Demux the whole stream.

        Raises:
            av.FFmpegError: The container is damaged.
        """
        context = stream.codec_context
        self._intra_only = context.codec.intra_only
        self._bits = Bitstream(context.codec.canonical_name, context.extradata or b"")
        self._file, self._number = container.name, container.streams.video.index(stream)
        self._held: list[Packet[VideoStream]] | None = []
        self._looks: list[tuple[bool, int]] = []
        self.pts: list[int | None] = []
        self.shown: list[int] = []
        """Positions of the packets that neither an edit list nor the codec hides."""
        self.keys: list[int] = []
        """Positions of the packets that the container calls keyframes."""
        self.restarts = False
        """Whether the codec's parameters change inside the stream, outside of the packets' data."""
        self.smallest = KEPT_BYTES
        """Bytes of the smallest packet."""
        self.corrupt = 0
        """Packets that the container calls incomplete."""
        self.durations: list[int] = []
        """Ticks that each packet is shown for; 0 where the container does not say."""
        self._dts: list[int | None] = []
        self._top_layer = 1
        self._held_bytes = 0
        packets = (packet for packet in container.demux(stream) if packet.size)
        while some := list(islice(packets, _AT_ONCE)):
            self._add(some)
        self.reordered = any(_goes_back(one, other) for one, other in pairwise(self.pts))
        """Whether a packet is shown before one that precedes it."""
        self.rewinds = any(_goes_back(one, other) for one, other in pairwise(filter(_is_known, self._dts)))
        """Whether decoding times go back: streams were appended to one another, or a clock was set back."""

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def is_long(self) -> bool:
        """Whether the packets were too many to be held."""
        return self._held is None

    def packets(self, feed: Sequence[int]) -> Iterator[Packet[VideoStream]]:
        """Packets at positions, ascending; a long file is opened again for them.

        Raises:
            ValueError: The file is not the one of the first pass.
        """
        if self._held is not None:
            return (self._held[position] for position in feed)
        return self._read(feed)

    @contextmanager
    def another_decoder(self) -> Iterator[VideoCodecContext]:
        """A decoder for these packets that has seen none of them."""
        with open_container(self._file) as container:
            context = container.streams.video[self._number].codec_context
            context.thread_count = 1
            yield context

    def is_entry(self, position: int) -> bool:
        """Whether decoding may start at a keyframe; a container that calls all packets so is not believed."""
        if not self._bits.sees_entries and not self._intra_only and len(self.keys) == len(self):
            return position == self.keys[0]
        if self._held is None:
            return self._looks[position][0]
        return self._bits.is_entry(memoryview(self._held[position]))

    def is_unreferenced(self, position: int) -> bool:
        """Whether no other packet needs this one to be decoded, as far as that is known."""
        held = self._held
        layer = self._looks[position][1] if held is None else self._unreferenced_from(held[position])
        return layer > 0 and layer >= self._top_layer

    def _add(self, packets: list[Packet[VideoStream]]) -> None:
        first, bits = len(self.pts), self._bits
        sizes = [packet.size for packet in packets]
        self.smallest = min(self.smallest, *sizes)
        self.pts += [packet.pts for packet in packets]
        self._dts += [packet.dts for packet in packets]
        self.durations += [packet.duration or 0 for packet in packets]
        self.corrupt += sum(packet.is_corrupt for packet in packets)
        self.shown += [
            position
            for position, packet in enumerate(packets, first)
            if not packet.is_discard and (not bits.hides_some or bits.is_shown(memoryview(packet)))
        ]
        keys = [position for position, packet in enumerate(packets, first) if packet.is_keyframe]
        self.keys += keys
        self.restarts |= any(packets[key - first].has_sidedata("new_extradata") for key in keys if key)
        if bits.has_layers:
            self._top_layer = max(self._top_layer, *(bits.layer(memoryview(packet)) for packet in packets))
        self._hold(packets, bytes_more=sum(sizes))

    def _hold(self, packets: list[Packet[VideoStream]], *, bytes_more: int) -> None:
        self._held_bytes += bytes_more
        if self._held is not None:
            self._held += packets
            if self._held_bytes <= KEPT_BYTES:
                return
            packets, self._held = self._held, None
        self._looks += [self._look(packet) for packet in packets]

    def _look(self, packet: Packet[VideoStream]) -> tuple[bool, int]:
        entry = packet.is_keyframe and self._bits.is_entry(memoryview(packet))
        return entry, self._unreferenced_from(packet)

    def _unreferenced_from(self, packet: Packet[VideoStream]) -> int:
        """The codec's word, or FFmpeg's, whose flag is not set on what x264 and x265 write."""
        if packet.is_disposable:
            return self._top_layer
        return self._bits.unreferenced_from(memoryview(packet))

    @cached_property
    def _positions(self) -> dict[int | None, int]:
        """Position of each timestamp that only one packet has."""
        found: dict[int | None, int] = {}
        for position, pts in enumerate(self.pts):
            found[pts] = -1 if pts in found else position
        return found

    def _read(self, feed: Sequence[int]) -> Iterator[Packet[VideoStream]]:
        for seek in (True, False):
            with open_container(self._file) as container:
                stream = container.streams.video[self._number]
                at = 0
                if seek and feed[0]:
                    container.seek(self._dts[feed[0]] or 0, stream=stream)
                    at = -1
                missing = set(feed)
                for packet in container.demux(stream):
                    if not packet.size:
                        continue
                    at = self._positions.get(packet.pts, -1) if at < 0 else at
                    known = 0 <= at < len(self.pts) and packet.pts == self.pts[at]
                    if not known or (len(missing) == len(feed) and at > feed[0]):
                        break
                    if at in missing:
                        missing.remove(at)
                        yield packet
                    if not missing:
                        return
                    at += 1
                if len(missing) < len(feed):
                    break
        raise ValueError("the file has changed while it was read")


def _goes_back(time: int | None, next_time: int | None) -> bool:
    return time is not None and next_time is not None and next_time < time


def _is_known(time: int | None) -> bool:
    return time is not None
