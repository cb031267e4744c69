import av
import numpy as np
import pytest
from av.video.frame import PictureType

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.video.decoding import read_frames
from lstcl_platform.video.probe import probe
from lstcl_platform.video.reading import open_video
from lstcl_platform.video.transcoding import TranscodeSettings, transcode
from tests.helpers.videos import damage, make_video

SMALL = TranscodeSettings(short_side=64, crf=4)


def seconds(path):
    with open_video(path) as video:
        return video.seconds(np.arange(len(video.index))).tolist()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("ntsc.mkv", {"fps": 30000 / 1001}),
        ("open.ts", {"open_gop": True}),
        ("cut.mp4", {"cut_frames": 7}),
        ("varying.mp4", {"times": [0.1, 0.2, 0.23, 0.5, 0.51, 1.7, 1.8, 3.0], "frames": 8}),
        ("deep.mp4", {"pixel_format": "yuv420p10le"}),
        ("full.mp4", {"pixel_format": "yuvj420p"}),
        ("colours.mp4", {"codec": "libx264rgb", "pixel_format": "rgb24"}),
        ("turned.mp4", {"rotation": 90, "width": 96}),
        ("one.mp4", {"frames": 1}),
    ],
)
def test_frames_times_and_pictures_stay(tmp_path, name, options):
    source = make_video(tmp_path / name, **{"frames": 40, "side": 64, **options})
    target = tmp_path / "out.mp4"
    done = transcode(source, target, SMALL)
    assert done.problem is None
    before, after = probe(source), probe(target, thorough=True)
    assert after.problem is None
    assert (after.frames, after.width, after.height) == (before.frames, before.width, before.height)
    assert (after.fps, after.duration) == pytest.approx((before.fps, before.duration))
    assert seconds(target) == pytest.approx(seconds(source), abs=1e-9)
    assert (done.frames, done.size_bytes) == (after.frames, after.size_bytes)
    assert (after.codec, after.rotation) == ("h264", 0)
    indices = np.arange(before.frames)
    apart = read_frames(source, indices).astype(int) - read_frames(target, indices)
    assert np.abs(apart).mean() < 10
    assert np.abs(apart.mean(axis=(1, 2))).max() < 3
    assert list(tmp_path.glob("*.tmp")) == []


def test_settings_are_those_of_the_file(tmp_path):
    source = make_video(tmp_path / "in.mp4", frames=40, side=96, width=130, gop=40)
    done = transcode(source, tmp_path / "out.mp4", TranscodeSettings(short_side=48, gop=5))
    assert done.problem is None
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        keys = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
        assert (stream.width, stream.height, stream.profile) == (64, 48, "High")
        assert not container.streams.audio
    assert keys == [index % 5 == 0 for index in range(40)]
    large = transcode(source, tmp_path / "large.mp4", TranscodeSettings(crf=1, fastdecode=False))
    assert large.size_bytes > done.size_bytes
    assert (probe(tmp_path / "large.mp4").width, probe(tmp_path / "large.mp4").height) == (130, 96)


def kinds(path):
    with av.open(str(path)) as container:
        return "".join(PictureType(frame.pict_type).name for frame in container.decode(video=0))


def test_few_packets_lie_between_a_keyframe_and_any_picture(tmp_path):
    constant = make_video(tmp_path / "constant.mp4", frames=40)
    transcode(constant, tmp_path / "c.mp4", TranscodeSettings())
    assert kinds(tmp_path / "c.mp4") == 2 * "IBBBBBBBPBBBBBBP" + "IBBBBBBP"
    varying = make_video(tmp_path / "varying.mp4", frames=20, times=[i / 30 + (i > 9) for i in range(20)])
    transcode(varying, tmp_path / "v.mp4", TranscodeSettings())
    assert kinds(tmp_path / "v.mp4") == 2 * "IPPPPPPP" + "IPPP"


def test_equal_sources_give_equal_files(tmp_path):
    source = make_video(tmp_path / "in.mp4", frames=30)
    for name in ("a.mp4", "b.mp4"):
        transcode(source, tmp_path / name, SMALL)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_what_does_not_decode_is_named_and_not_written(tmp_path):
    target = tmp_path / "out.mp4"
    broken = damage(make_video(tmp_path / "broken.mp4", frames=60), start=0.5, length=300)
    assert transcode(broken, target, SMALL).problem == probe(broken, thorough=True).problem
    cut = make_video(tmp_path / "cut.mp4", frames=60, faststart=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert transcode(cut, target, SMALL).problem.startswith("truncated at frame")
    assert transcode(tmp_path / "none.mp4", target, SMALL).problem == "missing: no such file"
    (tmp_path / "text.mp4").write_text("no video")
    assert transcode(tmp_path / "text.mp4", target, SMALL).problem.startswith("unreadable: ")
    (tmp_path / "empty.mp4").touch()
    assert transcode(tmp_path / "empty.mp4", target, SMALL).problem == "empty file"
    assert not target.exists()
    assert list(tmp_path.glob("*.tmp")) == []


def test_a_full_disk_is_no_verdict_about_the_video(tmp_path):
    source = make_video(tmp_path / "in.mp4", frames=10)
    with pytest.raises(StorageError, match="cannot be written"):
        transcode(source, tmp_path / "in.mp4" / "out.mp4", SMALL)
