"""Which AV1 pictures no other needs: the headers of the AV1 bitstream (clauses 5.3 to 5.9), as far as that is said.

A picture that refreshes no reference slot hands on nothing else either: probabilities, motion vectors and segments are
taken from reference slots too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SEQUENCE, _HEADERS = 1, (3, 6)
_KEY, _INTRA_ONLY, _SWITCH = 0, 2, 3
_CHOOSE = 2
"""The picture says for itself."""
_HEADER_BYTES = 64


class _Bits:
    def __init__(self, data: memoryview) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int = 1) -> int:
        """The next bits as a number.

        Raises:
            ValueError: there are not so many.
        """
        self._left -= count
        if self._left < 0:
            raise ValueError("the header ends early")
        return self._value >> self._left & (1 << count) - 1


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """What a sequence header says that changes the layout of picture headers."""

    frame_id_bits: int
    screen_content: int
    integer_mv: int
    order_hint_bits: int

    @staticmethod
    def read(bits: _Bits) -> Sequence | None:
        """The fields of a sequence header; None for streams of still pictures, several layers or buffer models."""
        bits.take(4)  # seq_profile, still_picture
        if bits.take():  # reduced_still_picture_header
            return None
        if bits.take():  # timing_info_present_flag; equal intervals and decoder models are rare
            bits.take(64)
            if bits.take() or bits.take():
                return None
        delay_present = bits.take()
        if bits.take(5) or bits.take(12) & 0xF00 & ~0x100:  # operating points, spatial layers
            return None
        if bits.take(5) > 7:
            bits.take()  # seq_tier
        if delay_present and bits.take():
            bits.take(4)
        width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
        bits.take(width_bits + height_bits)
        frame_id_bits = 0
        if bits.take():
            delta_bits = bits.take(4) + 2
            frame_id_bits = delta_bits + bits.take(3) + 1
        bits.take(7)  # 128x128 blocks, filter_intra, intra_edge, interintra, masked, warped, dual_filter
        order_hint = bits.take()
        if order_hint:
            bits.take(2)  # jnt_comp, ref_frame_mvs
        screen_content = _CHOOSE if bits.take() else bits.take()
        integer_mv = _CHOOSE if not screen_content or bits.take() else bits.take()
        order_hint_bits = bits.take(3) + 1 if order_hint else 0
        return Sequence(
            frame_id_bits=frame_id_bits,
            screen_content=screen_content,
            integer_mv=integer_mv,
            order_hint_bits=order_hint_bits,
        )

    def refreshes(self, bits: _Bits) -> bool:
        """Whether the picture with this header is kept for others to refer to."""
        if bits.take():  # show_existing_frame; a key frame would be kept again
            return True
        kind, shown = bits.take(2), bits.take()
        if not shown:
            bits.take()  # showable_frame
        if kind == _SWITCH or (kind == _KEY and shown):
            return True
        error_resilient = bits.take()
        bits.take()  # disable_cdf_update
        screen_content = bits.take() if self.screen_content == _CHOOSE else self.screen_content
        if screen_content and self.integer_mv == _CHOOSE:
            bits.take()
        bits.take(self.frame_id_bits + 1 + self.order_hint_bits)  # frame_size_override_flag between them
        if not (kind in (_KEY, _INTRA_ONLY) or error_resilient):
            bits.take(3)  # primary_ref_frame
        return bits.take(8) != 0


class AV1Headers:
    """Knows the sequence headers of a stream, and with them reads those of its pictures."""

    def __init__(self) -> None:
        self._sequences: set[Sequence | None] = set()

    def note(self, keyframe: memoryview) -> None:
        """Learn the sequence header that comes with a keyframe."""
        try:
            found = {Sequence.read(_Bits(unit)) for kind, unit in _units(keyframe) if kind == _SEQUENCE}
        except (ValueError, IndexError):
            found = {None}
        self._sequences |= found

    def is_unreferenced(self, packet: memoryview) -> bool:
        """Whether no picture of a packet is kept for others; False if the headers of the stream do not tell."""
        sequence = next(iter(self._sequences)) if len(self._sequences) == 1 else None
        if sequence is None:
            return False
        try:
            kept = [sequence.refreshes(_Bits(unit)) for kind, unit in _units(packet) if kind in _HEADERS]
        except (ValueError, IndexError):
            return False
        return bool(kept) and not any(kept)


def _units(packet: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type, first bytes of the payload) of each open bitstream unit."""
    at = 0
    while at < len(packet):
        header = packet[at]
        at += 2 if header & 4 else 1
        size = len(packet) - at
        if header & 2:
            size = shift = 0
            while True:
                size |= (packet[at] & 127) << shift
                at += 1
                shift += 7
                if packet[at - 1] < 128:
                    break
        yield header >> 3 & 15, packet[at : at + min(size, _HEADER_BYTES)]
        at += size
