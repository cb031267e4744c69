"""Which packets of a video must be decoded to get some of its frames, and no others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

_UNTRUSTED_ORDER = frozenset(["avi"])
"""Containers that store no presentation times: those that the demuxer makes up are wrong with B-frames."""


@dataclass(frozen=True)
class Run:
    """Packets to decode one after the other from a fresh decoder: the first is an entry point."""

    first: int
    """Position of the entry packet."""
    feed: list[int]
    """Positions of the packets to decode, ascending."""


class PacketIndex:
    """All packets of a video stream in decoding order, and the order in which a player shows them."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        """Demux the whole stream.

        Raises:
            ValueError: No packet is shown, or one has no timestamp.
            av.FFmpegError: The container is damaged.
        """
        self.packets: list[Packet[VideoStream]] = [
            packet for packet in container.demux(stream) if packet.size
        ]
        shown = [position for position, packet in enumerate(self.packets) if not packet.is_discard]
        if not shown:
            raise ValueError("no frames")
        self.pts: list[int] = []
        for packet in self.packets:
            if packet.pts is None:
                raise ValueError("packets without timestamps")
            self.pts.append(packet.pts)
        self.shown: list[int] = sorted(shown, key=self.pts.__getitem__)
        """Positions of the shown packets in display order; hidden ones (edit lists) are left out."""
        self.times: npt.NDArray[np.int64] = np.array([self.pts[i] for i in self.shown], dtype=np.int64)
        """Presentation times of the shown frames in ticks of the stream's time base, ascending."""
        repeated = bool((np.diff(self.times) == 0).any())
        self.by_order: bool = repeated or bool(_UNTRUSTED_ORDER & set(container.format.name.split(",")))
        """Timestamps cannot tell the frames apart: decode everything and count."""
        context = stream.codec_context
        self._h264 = context.name == "h264"
        extradata = context.extradata or b""
        # avcC starts with version 1 and states the size of NAL lengths; all else is Annex B (start codes).
        self._length_size = (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0

    def runs(self, wanted: Sequence[int]) -> list[Run]:
        """Fewest packets that the shown frames `wanted` (display indices) need, in as few runs as possible.

        A frame needs everything from the last entry point that precedes it both in decoding order and in
        presentation: leading pictures of an open GOP are shown before their keyframe but need the GOP before.
        Unwanted pictures that no other picture refers to are left out.
        """
        if self.by_order:
            return [Run(0, list(range(len(self.packets))))]
        keep = {self.shown[index] for index in wanted}
        runs: list[Run] = []
        end = -1
        # By entry, not by target: a leading picture comes after its keyframe but needs an earlier entry.
        for entry, target in sorted((self._entry(target), target) for target in keep):
            if entry > end + 1 or not runs:
                runs.append(Run(entry, []))
                end = entry - 1
            fresh = range(end + 1, target + 1)
            runs[-1].feed.extend(i for i in fresh if i in keep or not self._skippable(i))
            end = max(end, target)
        return runs

    def _entry(self, position: int) -> int:
        for index in range(bisect_right(self._keyframes, position) - 1, -1, -1):
            entry = self._keyframes[index]
            if self.pts[entry] <= self.pts[position] and self._starts_clean(entry):
                return entry
        return 0

    @cached_property
    def _keyframes(self) -> list[int]:
        return [position for position, packet in enumerate(self.packets) if packet.is_keyframe]

    def _starts_clean(self, position: int) -> bool:
        """Whether decoding may start at a keyframe; not at intra refresh, which takes frames to heal."""
        if not self._h264:
            return True
        data = memoryview(self.packets[position])
        kinds = {data[at] & 31 for at in _slices(data, self._length_size)}
        return 5 in kinds or all(_is_intra(data[at + 1 : at + 9]) for at in _slices(data, self._length_size))

    def _skippable(self, position: int) -> bool:
        packet = self.packets[position]
        if packet.is_disposable:
            return True
        if not self._h264:
            return False
        # FFmpeg's flag is not set on what x264 writes, but nal_ref_idc 0 says that nothing refers to it.
        data = memoryview(packet)
        references = [data[at] & 0x60 for at in _slices(data, self._length_size)]
        return bool(references) and not any(references)


def _slices(data: memoryview, length_size: int) -> Iterator[int]:
    """Offsets of the header bytes of the slice NAL units in an H.264 packet."""
    for at in _units(data, length_size):
        if data[at] & 31 in (1, 2, 5):
            yield at


def _units(data: memoryview, length_size: int) -> Iterator[int]:
    size = len(data)
    if length_size:
        at = 0
        while at + length_size < size:
            length = int.from_bytes(data[at : at + length_size], "big")
            yield at + length_size
            at += length_size + length
        return
    text = bytes(data)
    at = text.find(b"\0\0\1")
    while 0 <= at < size - 3:
        yield at + 3
        at = text.find(b"\0\0\1", at + 3)


def _is_intra(header: memoryview) -> bool:
    """Whether a slice header (bytes after the NAL header) says slice_type I (2 or 7)."""
    bits = "".join(f"{byte:08b}" for byte in header)
    at = 0
    value = -1
    for _ in range(2):  # first_mb_in_slice, slice_type: two Exp-Golomb codes
        one = bits.find("1", at)
        if one < 0 or 2 * one - at + 1 > len(bits):
            return False
        value = int(bits[one : 2 * one - at + 1], 2) - 1
        at = 2 * one - at + 1
    return value in (2, 7)
