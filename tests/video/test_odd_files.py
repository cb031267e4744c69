"""Files in which nothing can be taken for granted: every frame is still the one that a full decode gives."""

import av
import numpy as np
import pytest

from lstcl_platform.video.decoding import DecodeError, decode_clips, read_frames
from lstcl_platform.video.probe import probe
from lstcl_platform.video.sampling import Box, Clip
from tests.helpers.videos import copy_packets, make_video, set_display_matrix, set_edits

SIDES = {"frames": 40, "side": 48, "width": 64}


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def plain(name, **options):
    return lambda folder: make_video(folder / name, **SIDES | options)


def joined(*parts, name):
    def make(folder):
        made = [make_video(folder / f"{i}-{name}", seed=i, **SIDES | part) for i, part in enumerate(parts)]
        (folder / name).write_bytes(b"".join(path.read_bytes() for path in made))
        return folder / name

    return make


def edited(name, edits, **options):
    return lambda folder: set_edits(make_video(folder / name, bframes=3, **SIDES | options), edits)


def copied(name, edit, **options):
    source = options.pop("source", "source.mp4")
    return lambda folder: copy_packets(make_video(folder / source, **SIDES | options), folder / name, edit)


def show_when_decoded(_, packet):
    packet.pts = packet.dts
    return True


def call_keyframe(_, packet):
    packet.is_keyframe = True
    return True


FILES = {
    "alternate references of VP8": plain(
        "v.webm", codec="libvpx", gop=40, options={"auto-alt-ref": "1", "lag-in-frames": "16"}
    ),
    "alternate references of VP9": plain(
        "v.webm", codec="libvpx-vp9", gop=40, options={"lag-in-frames": "16", "cpu-used": "8"}
    ),
    "shown when decoded, mkv": copied("v.mkv", show_when_decoded),
    "shown when decoded, mp4": copied("v.mp4", show_when_decoded),
    "B-frames in asf": plain("v.asf", bframes=3, open_gop=True, fps=25),
    "program stream": plain("v.mpg", codec="mpeg2video", fps=25),
    "clock that wraps": plain("v.ts", muxer={"output_ts_offset": "95443.0"}),
    "clock that is set back": joined({"muxer": {"output_ts_offset": "50"}}, {}, name="v.ts"),
    "times that overlap": joined({}, {"muxer": {"output_ts_offset": "0.017"}}, name="v.ts"),
    "all keyframes, in vain": copied("v.mkv", call_keyframe, codec="libvpx-vp9", source="v.webm"),
    "raw H.261": plain("v.h261", codec="h261", side=144, width=176, bframes=0),
    "an edit twice": edited("v.mp4", [(0.5, 0.1), (0.5, 0.1)], gop=15),
    "edits out of order": edited("v.mp4", [(0.3, 0.9), (0.4, 0.2)], gop=15),
    "a pause between edits": edited("v.mp4", [(0.3, 0.1), (0.3, -1), (0.3, 0.7)], gop=15),
    "begins with leading pictures": copied(
        "v.mkv", lambda i, _: i >= 12, codec="libx265", bframes=4, hevc="open-gop=1"
    ),
    "fragments": plain("v.mp4", bframes=3, muxer={"movflags": "frag_every_frame+empty_moov"}),
    "ProRes": plain("v.mov", codec="prores_ks", pixel_format="yuv422p10le", bframes=0),
    "RGB": plain("v.mkv", codec="ffv1", pixel_format="bgr0", bframes=0, gop=8),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_every_frame_is_that_of_a_full_decode(tmp_path, make):
    path = make(tmp_path)
    frames = decoded(path)
    facts = probe(path)
    assert (facts.problem, facts.frames) == (None, len(frames))
    assert np.array_equal(read_frames(path, range(len(frames))), np.stack(frames))
    for wanted in np.random.default_rng(0).integers(0, len(frames), (6, 2)).tolist():
        got = read_frames(path, wanted)
        assert all(np.array_equal(frame, frames[i]) for frame, i in zip(got, wanted, strict=True))


MATRICES = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (-1, 0, 0, -1): lambda p: np.rot90(p, 2),
    (0, 1, -1, 0): lambda p: np.rot90(p, 3),
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (0, 1, 1, 0): lambda p: np.swapaxes(p, 0, 1),
    (0, -1, -1, 0): lambda p: np.swapaxes(np.rot90(p, 2), 0, 1),
}


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_pictures_are_turned_and_mirrored_for_display(tmp_path, pixel_format):
    path = make_video(tmp_path / "v.mp4", frames=3, side=48, width=64, pixel_format=pixel_format)
    stored = decoded(path)[1]
    for matrix, display in MATRICES.items():
        expected = display(stored)
        set_display_matrix(path, matrix=matrix)
        assert np.array_equal(read_frames(path, [1])[0], expected), matrix
        facts = probe(path)
        assert (facts.height, facts.width) == expected.shape[:2]
        clip = Clip(np.array([1]), Box(4, 10, 20, 20), False)
        (cut,) = decode_clips(path, [clip], size=20, target_fps=None)
        assert np.array_equal(cut[0], expected[10:30, 4:24]), matrix


def test_a_playlist_is_no_video(tmp_path):
    make_video(tmp_path / "part.ts", **SIDES)
    live = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\npart.ts\n"
    for text in (live, "ffconcat version 1.0\nfile part.ts\n"):
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(DecodeError, match="a list of other files, no video"):
            read_frames(tmp_path / "list.mp4", [0])
        assert probe(tmp_path / "list.mp4").problem == "unreadable: a list of other files, no video"
