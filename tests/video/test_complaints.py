"""Damaged reference pictures: what refers to them is what a full decode gives, or refused."""

import av
import numpy as np
import pytest

from lstcl_platform.video.complaints import ffmpeg_errors
from lstcl_platform.video.decoding import DecodeError, read_frames
from tests.helpers.videos import make_video

FRAMES = 24


def packets_of(path):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def flipped(source, target, *, byte, bit):
    data = bytearray(source.read_bytes())
    data[byte] ^= 1 << bit
    target.write_bytes(data)
    return target


def fully_decoded(path):
    """Time -> (pixels, damaged) of every frame; whether FFmpeg complained or gave up."""
    found, failed = {}, False
    with av.open(str(path)) as container, ffmpeg_errors() as log:
        context = container.streams.video[0].codec_context
        context.thread_count = 1
        for packet in container.demux(video=0):
            try:
                frames = context.decode(packet)
            except av.FFmpegError:
                failed = True
                continue
            found |= {frame.pts: (frame.to_ndarray(format="rgb24"), frame.is_corrupt) for frame in frames}
        return found, failed or bool(log)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("v") / "v.mp4", frames=FRAMES, gop=12, bframes=3, open_gop=True)


def test_a_damaged_picture_that_is_shown_later_counts(sound, tmp_path):
    packets = packets_of(sound)
    times = sorted(packet.pts for packet in packets)
    reference, between = packets[1], packets[2]
    assert reference.pts > between.pts
    flagged = 0
    for byte in range(reference.pos + reference.size // 3, reference.pos + reference.size, 9):
        path = flipped(sound, tmp_path / "v.mp4", byte=byte, bit=byte % 8)
        frames, _ = fully_decoded(path)
        if frames[reference.pts][1]:
            flagged += 1
            with pytest.raises(DecodeError, match="damaged"):
                read_frames(path, [times.index(between.pts)])
    assert flagged >= 3


def test_a_reference_that_lost_a_part_counts_although_it_comes_out_last_and_nothing_is_said(tmp_path):
    sound = make_video(tmp_path / "sound.mp4", frames=FRAMES, bframes=1, x264="slices=4")
    reference, between, *_ = packets_of(sound)[1:]
    times = sorted(packet.pts for packet in packets_of(sound))
    assert reference.pts > between.pts
    first_part = int.from_bytes(bytes(reference)[:4], "big")
    kind = reference.pos + 4 + first_part + 4  # of the second part: one that decoders leave out in silence
    path = flipped(sound, tmp_path / "v.mp4", byte=kind, bit=0)
    frames, complained = fully_decoded(path)
    assert not complained
    assert not np.array_equal(frames[between.pts][0], fully_decoded(sound)[0][between.pts][0])
    with pytest.raises(DecodeError, match="damaged"):
        read_frames(path, [times.index(between.pts)])


def test_what_only_the_log_tells_is_refused_or_decoded_in_full(sound, tmp_path):
    packets = packets_of(sound)
    times = sorted(packet.pts for packet in packets)
    reference = next(packet for packet in packets[13:] if packet.size > packets[14].size)
    refused = 0
    for bit in range(8, 40):  # of the slice header, behind the size of the unit and its type
        path = flipped(sound, tmp_path / "v.mp4", byte=reference.pos + 4 + bit // 8, bit=7 - bit % 8)
        frames, _ = fully_decoded(path)
        for index in range(12, FRAMES, 2):
            try:
                (got,) = read_frames(path, [index])
            except DecodeError:
                refused += 1
            else:
                assert np.array_equal(got, frames[times[index]][0]), (bit, index)
    assert refused


def test_the_same_complaint_is_heard_of_every_video():
    for _ in range(2):
        with ffmpeg_errors() as log:
            av.logging.log(av.logging.ERROR, "h264", "damaged")
            assert len(log) == 1


def test_a_sound_open_group_is_read_whatever_ffmpeg_misses(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=60, gop=12, bframes=3, open_gop=True)
    frames, complained = fully_decoded(path)
    assert not complained
    for index, time in enumerate(sorted(frames)):
        assert np.array_equal(read_frames(path, [index])[0], frames[time][0])
