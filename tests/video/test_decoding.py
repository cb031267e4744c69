import pickle
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from lstcl_platform.video import decoding, demuxing, reading
from lstcl_platform.video.decoding import DecodeError, decode_clips, read_frames
from lstcl_platform.video.sampling import Box, Clip
from tests.helpers.videos import damage, make_video, picture

KINDS = {
    "b_frames": {},
    "b_pyramid": {"bframes": 5, "gop": 60},
    "open_gop": {"open_gop": True, "bframes": 3},
    "no_b_frames": {"bframes": 0},
    "intra_only": {"gop": 1, "bframes": 0},
    "intra_refresh": {"x264": "intra-refresh=1", "bframes": 0, "gop": 20},
    "variable_rate": {"times": [i / 30 if i < 20 else 20 / 30 + (i - 20) / 6 for i in range(60)]},
    "edit_list": {"cut_frames": 17},
    "4:4:4": {"pixel_format": "yuv444p"},
    "10_bit": {"pixel_format": "yuv420p10le"},
    "bt709": {"x264": "colormatrix=bt709"},
    "full_range": {"pixel_format": "yuvj420p"},
    "rotated": {"rotation": 90},
    "upside_down": {"rotation": 180},
    "odd_size": {"codec": "libvpx-vp9", "name": "v.webm", "side": 47, "width": 61},
    "matroska": {"name": "v.mkv"},
    "transport": {"name": "v.ts"},
    "mpeg4": {"codec": "mpeg4"},
    "avi": {"codec": "mpeg4", "name": "v.avi"},
    "hevc": {"codec": "libx265", "pixel_format": "yuv420p"},
    "interlaced": {"x264": "tff=1"},
    "hevc_open_gop": {"codec": "libx265", "bframes": 4, "gop": 20, "name": "v.mkv"},
    "hevc_10_bit": {"codec": "libx265", "pixel_format": "yuv420p10le"},
    "av1": {"codec": "libsvtav1", "gop": 20},
    "mpeg2": {"codec": "mpeg2video", "name": "v.mkv"},
    "mpeg4_b_frames": {"codec": "mpeg4", "name": "v.mkv"},
    "no_timestamps": {"name": "v.h264"},
}


@pytest.fixture(scope="module", params=KINDS, ids=str)
def video(request, tmp_path_factory):
    """A file, all its upright frames decoded one after the other, and their times from the first one."""
    options = {"frames": 60, "side": 64, "width": 96, **KINDS[request.param]}
    path = make_video(tmp_path_factory.mktemp("v") / options.pop("name", "v.mp4"), **options)
    return path, *everything(path)


def everything(path):
    frames, times = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            frames.append(np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90))
            times.append((frame.pts or 0) * stream.time_base)
        tick = stream.time_base
    if path.suffix in (".avi", ".h264"):
        times = [Fraction(i, 30) for i in range(len(frames))]
    return frames, [t - times[0] for t in times], tick


def shown_at(times, tick, position, fps=30):
    slack = min(Fraction(3, 4) * tick, Fraction(1, 1000))
    return max(i for i, t in enumerate(times) if i == 0 or t <= Fraction(position, fps) + slack)


def finish(frames, box, size, flip):
    x0, y0, x1, y1 = box
    clip = torch.from_numpy(np.stack([frame[y0:y1, x0:x1] for frame in frames])).permute(0, 3, 1, 2)
    clip = functional.resize(clip, [size, size], antialias=True)
    return (clip.flip(-1) if flip else clip).permute(0, 2, 3, 1).numpy()


def test_frames_are_those_of_a_full_decode(video):
    path, frames, _, _ = video
    rng = np.random.default_rng(0)
    for wanted in ([0], [len(frames) - 1], [11, 12, 13], rng.integers(0, len(frames), 9).tolist()):
        got = read_frames(path, wanted)
        assert got.dtype == np.uint8
        for index, frame in zip(wanted, got, strict=True):
            assert np.array_equal(frame, frames[index])


def test_clips_are_those_of_a_full_decode(video):
    path, frames, times, tick = video
    height, width = frames[0].shape[:2]
    rng = np.random.default_rng(1)
    for _ in range(3):
        left, top = int(rng.integers(0, width // 4)) * 2, int(rng.integers(0, height // 4)) * 2
        box = Box(left, top, int(rng.integers(4, width // 4)) * 2, int(rng.integers(4, height // 4)) * 2)
        start = int(rng.integers(0, 30))
        clips = [
            Clip(start + 2 * np.arange(6), box, False),
            Clip(start // 4 + 13 * np.arange(6), Box(0, 0, width // 2 * 2, height // 2 * 2), True),
        ]
        got = decode_clips(path, clips, size=24, target_fps=30.0, expected_frames=len(frames))
        for clip, pixels in zip(clips, got, strict=True):
            chosen = [frames[shown_at(times, tick, int(p))] for p in clip.positions]
            b = clip.box
            edges = (b.x, b.y, b.x + b.width, b.y + b.height)
            assert np.array_equal(pixels, finish(chosen, edges, 24, clip.flip))


def test_every_single_frame_and_pair_is_exact(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=26, gop=12, bframes=2, open_gop=True, side=32)
    frames, _, _ = everything(path)
    for first in range(26):
        for second in range(first, 26):
            got = read_frames(path, [first, second])
            assert np.array_equal(got[0], frames[first])
            assert np.array_equal(got[1], frames[second])


def test_what_is_decoded_is_what_was_encoded(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=30, side=64, x264="crf=1", pixel_format="yuv444p")
    for index in (0, 17, 29):
        difference = read_frames(path, [index])[0].astype(int) - picture(index, height=64, width=64)
        assert np.abs(difference).mean() < 3


def whole(positions, side=32):
    return Clip(np.array(positions), Box(0, 0, side, side), False)


def matches(path, positions, **options):
    """Display index of the frame that each position got."""
    frames, _, _ = everything(path)
    side = frames[0].shape[0]
    (clip,) = decode_clips(path, [whole(positions, side)], size=side, **options)
    return [next(i for i, frame in enumerate(frames) if np.array_equal(frame, pixels)) for pixels in clip]


def test_grid_time_takes_the_last_frame_that_has_started(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=6, side=32, times=[0, 0.1, 0.2, 1.0, 1.05, 2.0])
    got = matches(path, [0, 2, 3, 29, 30, 31, 32, 59, 60, 500], target_fps=30.0)
    assert got == [0, 0, 1, 2, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts"])
def test_rounded_timestamps_shift_nothing(tmp_path, name):
    path = make_video(tmp_path / name, frames=30, side=32)
    assert matches(path, range(30), target_fps=30.0) == list(range(30))


def test_other_rates_are_brought_to_the_grid(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=25, fps=25, side=32)
    assert matches(path, [0, 1, 2, 6, 12, 29], target_fps=30.0) == [0, 0, 1, 5, 10, 24]
    assert matches(path, [0, 1, 2, 6, 12, 24, 99], target_fps=None) == [0, 1, 2, 6, 12, 24, 24]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_crop_edges_move_outward_to_even_coordinates(tmp_path, pixel_format):
    path = make_video(tmp_path / "v.mp4", frames=4, side=32, pixel_format=pixel_format)
    frames, _, _ = everything(path)
    (clip,) = decode_clips(path, [Clip(np.array([2]), Box(3, 5, 10, 8), False)], size=16, target_fps=None)
    assert np.array_equal(clip, finish([frames[2]], (2, 4, 14, 14), 16, False))


@pytest.mark.parametrize("rotation", [0, 90])
def test_how_many_crops_are_converted_together_does_not_matter(tmp_path, monkeypatch, rotation):
    path = make_video(tmp_path / "v.mp4", side=64, width=96, rotation=rotation)
    clip = Clip(np.array([3, 3, 20, 21, 40]), Box(6, 4, 34, 50), True)
    together = decode_clips(path, [clip], size=24, target_fps=None)
    for pixels in (1, 34 * 50 * 2):
        monkeypatch.setattr(decoding, "_CONVERTED_PIXELS", pixels)
        assert np.array_equal(decode_clips(path, [clip], size=24, target_fps=None), together)


def test_wrong_requests_are_refused(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=10, side=32)
    with pytest.raises(IndexError, match="no frame 10: the video has frames 0 to 9"):
        read_frames(path, [3, 10])
    with pytest.raises(DecodeError, match="10 frames, expected 12: the file has changed"):
        decode_clips(path, [whole([0])], size=8, target_fps=30.0, expected_frames=12)
    with pytest.raises(DecodeError, match="reaches outside the frame of 32x32"):
        decode_clips(path, [Clip(np.array([0]), Box(8, 0, 32, 8), False)], size=8, target_fps=30.0)
    assert read_frames(path, []).shape == (0, 32, 32, 3)


def test_damage_in_the_middle_is_an_error_only_where_it_matters(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=60, gop=12, side=64)
    first = read_frames(path, [0])
    damage(path, start=0.5, length=600)
    assert np.array_equal(read_frames(path, [0]), first)
    with pytest.raises(DecodeError) as caught:
        read_frames(path, range(60))
    assert caught.value.path == str(path)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_no_video_is_a_decode_error(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for path in (tmp_path / "text.mp4", tmp_path / "none.mp4"):
        with pytest.raises(DecodeError, match=path.name):
            read_frames(path, [0])


def test_cut_file_is_a_decode_error(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=60, faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DecodeError):
        decode_clips(path, [whole([0], 64)], size=8, target_fps=30.0, expected_frames=60)


def test_a_long_file_is_sought_and_its_packets_are_not_held(video, monkeypatch):
    path, frames, _, _ = video
    monkeypatch.setattr(demuxing, "KEPT_BYTES", 0)
    monkeypatch.setattr(reading, "KEPT_BYTES", 0)
    for wanted in ([40], [3, 42, 20], [len(frames) - 1]):
        got = read_frames(path, wanted)
        assert all(np.array_equal(frame, frames[i]) for frame, i in zip(got, wanted, strict=True))
    with reading.open_video(path) as opened:
        assert opened.index.table.is_long


@pytest.mark.parametrize("name", ["v.mkv", "v.ts"])
def test_frames_whose_keyframe_is_missing_are_not_shown(tmp_path, name):
    whole, cut = make_video(tmp_path / "v.mp4", frames=60, gop=12, bframes=2), tmp_path / name
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][5:]:
            packet.stream = stream
            target.mux(packet)
    frames, _, _ = everything(cut)
    assert len(frames) == 48
    assert np.array_equal(read_frames(cut, range(48)), np.stack(frames))
    with pytest.raises(IndexError, match="frames 0 to 47"):
        read_frames(cut, [48])
