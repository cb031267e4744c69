import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.decode_bench import bench_decode
from lstcl_platform.video.lent_ffmpeg import lend
from tests.helpers.videos import make_labelled_folder


def test_every_way_here_is_timed_on_every_video_and_makes_equal_pixels(tmp_path):
    folder = make_labelled_folder(tmp_path / "set", classes=1, videos=2, frames=50, side=48)
    (folder / "class_0" / "bad.mp4").write_text("no video")
    for clips in (0, 3):
        rates = bench_decode([folder], strides=[2, 8], frames=4, size=32, clips=clips, rounds=2)
        by_name = {file.name: file for file in rates.files}
        assert by_name["bad.mp4"].facts.problem is not None
        for name in ("video_0.mp4", "video_1.mp4"):
            file = by_name[name]
            assert not file.failed
            assert file.equal["sequential"] is True
            assert {len(seconds) for seconds in file.cpu.values()} == {2}
            assert all(file.rate(way) > 0 for way in ("ours", "floor", "sequential"))
    assert rates.mean_ratio("ours", to="ours") == 1


def test_no_video_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        bench_decode([tmp_path / "none"], strides=[2], frames=4)
    with pytest.raises(UserError, match="no video found"):
        bench_decode([tmp_path], strides=[2], frames=4)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"text.mp4: unreadable"):
        bench_decode([tmp_path], strides=[2], frames=4)


def test_ffmpeg_of_pyav_is_lent_under_its_own_names(tmp_path):
    found = lend(tmp_path / "ffmpeg")
    names = {link.name.split(".")[0] for link in (tmp_path / "ffmpeg").iterdir()}
    assert found == 0 or {"libavcodec", "libavformat", "libavutil", "libswscale"} <= names
    assert all(link.resolve().is_file() for link in (tmp_path / "ffmpeg").iterdir())
