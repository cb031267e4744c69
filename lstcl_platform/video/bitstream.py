"""What the first bytes of a compressed picture say: may decoding start here, and does any other picture need it?

H.264 (ISO/IEC 14496-10, clauses 7.3 and 7.4), HEVC (ISO/IEC 23008-2, clauses 7.3.1.2 and 7.4.2.2), MPEG-1/2/4 part
2 are looked into, since FFmpeg marks none of their unreferenced pictures. VP8 and VP9 hand on probabilities and motion
vectors even from a picture that none refers to, so none of theirs can be left out; of AV1 and all others, those that
the container or the codec marks as disposable. (AV1's headers tell too, but what SVT-AV1 refers to nowhere is a quarter
of its packets and the cheapest: reading the headers and leaving these out saved 1 to 6 % of the CPU time.)
"""

from collections.abc import Iterator

_IDR, _SEI = 5, 6
_RECOVERY_POINT = 6
_HEVC_ENTRIES = range(16, 22)
"""BLA, IDR and CRA: intra random access points."""
_SEEN = frozenset(["h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9"])
_PICTURE_START = {"mpeg1video": b"\0\0\1\0", "mpeg2video": b"\0\0\1\0", "mpeg4": b"\0\0\1\xb6"}


class Bitstream:
    """Looks into the packets of one stream; packets are what one demuxed picture holds."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        """Note how NAL units are told apart: by length (mp4, mkv) or by start code (all else)."""
        self._codec = codec
        at = {"h264": 4, "hevc": 21}.get(codec, 0)
        # avcC and hvcC start with version 1 and state the size of NAL lengths; start codes begin with zeros.
        stated = len(extradata) > at > 0 and extradata[0] == 1
        self._length_size = (extradata[at] & 3) + 1 if stated else 0

    @property
    def sees_entries(self) -> bool:
        """Whether `is_entry` looks; of other codecs, it believes the container."""
        return self._codec in _SEEN

    @property
    def hides_some(self) -> bool:
        """Whether there can be packets that `is_shown` denies."""
        return self._codec == "vp8"

    @property
    def has_layers(self) -> bool:
        """Whether there can be temporal layers above 1."""
        return self._codec == "hevc"

    def is_entry(self, data: memoryview) -> bool:
        """Whether decoding may start at a packet that the container calls a keyframe.

        H.264: at an IDR picture, or an intra picture announced as a recovery point; not at intra refresh, which takes
        frames to heal. HEVC: at a random access point. MPEG: at an I-picture; VP8 and VP9: at a key frame.
        """
        match self._codec:
            case "h264":
                return self._is_h264_entry(data)
            case "hevc":
                kinds = [kind for kind, _ in self._hevc_slices(data)]
                return bool(kinds) and all(kind in _HEVC_ENTRIES for kind in kinds)
            case "mpeg1video" | "mpeg2video" | "mpeg4":
                return self._mpeg_kinds(data)[:1] == ["I"]
            case "vp8":
                return not data[0] & 1
            case "vp9":
                # After frame_marker and profile (and a reserved bit in profile 3): show_existing_frame, frame_type.
                return not data[0] & (0b0110 if data[0] & 0b110000 == 0b110000 else 0b1100)
        return True

    def unreferenced_from(self, data: memoryview) -> int:
        """Temporal layer from which on no picture needs this one to be decoded; 0 where that is not known.

        In a stream of one layer, every value above 0 says that the picture can be left out.
        """
        match self._codec:
            case "h264":
                references = [data[at] & 0x60 for at in self._units(data) if data[at] & 31 in (1, 2, 5)]
                return int(bool(references) and not any(references))
            case "hevc":
                # Even types below 16 are not referred to in their own layer, but may be in higher ones.
                slices = list(self._hevc_slices(data))
                free = bool(slices) and all(kind < 16 and kind % 2 == 0 for kind, _ in slices)
                return slices[0][1] if free else 0
            case "mpeg1video" | "mpeg2video" | "mpeg4":
                kinds = self._mpeg_kinds(data)
                # A packed MPEG-4 packet (DivX) holds a picture and the next one's B-VOP: its order is not its own.
                return int(set(kinds) == {"B"} and (self._codec != "mpeg4" or len(kinds) == 1))
        return 0

    def is_shown(self, data: memoryview) -> bool:
        """Whether a packet gives a picture to look at; VP8's alternate references are packets that do not."""
        return not self.hides_some or bool(data[0] >> 4 & 1)

    def layer(self, data: memoryview) -> int:
        """Temporal layer of an HEVC picture, from 1; 1 for all other codecs."""
        if not self.has_layers:
            return 1
        return max((layer for _, layer in self._hevc_slices(data)), default=1)

    def _is_h264_entry(self, data: memoryview) -> bool:
        intra, recovery = True, False
        for at in self._units(data):
            match data[at] & 31:
                case 5:
                    return True
                case 6:
                    recovery = recovery or _announces_recovery(data[at + 1 :])
                case 1 | 2:
                    intra = intra and _is_intra(data[at + 1 : at + 9])
        return intra and recovery

    def _hevc_slices(self, data: memoryview) -> Iterator[tuple[int, int]]:
        """(NAL unit type, temporal layer from 1) of the slices of an HEVC packet."""
        for at in self._units(data):
            kind = data[at] >> 1 & 63
            if kind < 32 and at + 1 < len(data):
                yield kind, data[at + 1] & 7

    def _mpeg_kinds(self, data: memoryview) -> list[str]:
        """I, P, B or another letter for each picture (or VOP) that starts in a packet."""
        text, start = bytes(data), _PICTURE_START[self._codec]
        kinds = []
        at = text.find(start)
        while at >= 0 and at + 6 <= len(text):
            kinds.append(
                "IPBS"[text[at + 4] >> 6] if self._codec == "mpeg4" else "-IPBD---"[text[at + 5] >> 3 & 7]
            )
            at = text.find(start, at + 4)
        return kinds

    def _units(self, data: memoryview) -> Iterator[int]:
        """Offsets of the first header byte of each NAL unit."""
        size = len(data)
        if self._length_size:
            at = 0
            while at + self._length_size < size:
                length = int.from_bytes(data[at : at + self._length_size], "big")
                yield at + self._length_size
                at += self._length_size + length
            return
        text = bytes(data)
        at = text.find(b"\0\0\1")
        while 0 <= at < size - 3:
            yield at + 3
            at = text.find(b"\0\0\1", at + 3)


def _announces_recovery(payload: memoryview) -> bool:
    """Whether an SEI unit (bytes after the NAL header) holds a recovery point message."""
    at = 0
    while at + 1 < len(payload) and payload[at] != 0x80:
        kind = size = 0
        while at < len(payload) and payload[at] == 255:
            kind, at = kind + 255, at + 1
        if at < len(payload):
            kind, at = kind + payload[at], at + 1
        while at < len(payload) and payload[at] == 255:
            size, at = size + 255, at + 1
        if at < len(payload):
            size, at = size + payload[at], at + 1
        if kind == _RECOVERY_POINT:
            return True
        at += size
    return False


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
