import hashlib
import re

import av
import numpy as np
import pytest

from lstcl_platform.video.probe import probe
from tests.helpers.videos import make_video


def test_facts_of_a_plain_video(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=50, fps=25, side=48, width=64)
    facts = probe(path)
    assert (facts.frames, facts.fps, facts.duration) == (50, 25.0, 2.0)
    assert (facts.width, facts.height, facts.codec, facts.rotation) == (64, 48, "h264", 0)
    assert facts.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (facts.size_bytes, facts.problem) == (path.stat().st_size, None)


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mkv", "libx264"), ("v.webm", "libvpx-vp9"), ("v.avi", "mpeg4")]
)
def test_containers_that_state_no_frame_count(tmp_path, name, codec):
    facts = probe(make_video(tmp_path / name, frames=45, codec=codec))
    assert (facts.frames, facts.fps, facts.duration) == (45, 30.0, 1.5)


def test_rotation_turns_the_size(tmp_path):
    facts = probe(make_video(tmp_path / "v.mp4", frames=3, side=48, width=64, rotation=90))
    assert (facts.rotation, facts.width, facts.height) == (90, 48, 64)


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path):
    facts = probe(make_video(tmp_path / "v.mp4", frames=60, gop=12, cut_frames=17))
    assert (facts.frames, facts.problem) == (43, None)
    assert facts.duration == pytest.approx(43 / 30)


def test_variable_rate_gives_the_mean_rate_and_the_real_duration(tmp_path):
    times = [i / 30 for i in range(20)] + [20 / 30 + i / 6 for i in range(20)]
    facts = probe(make_video(tmp_path / "v.mp4", frames=40, times=times))
    assert facts.frames == 40
    assert facts.fps == pytest.approx(39 / times[-1], rel=1e-3)
    assert times[-1] < facts.duration <= times[-1] + 1 / 6 + 1e-3


def test_cover_pictures_are_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(tmp_path / "a.mp4").problem == "no video stream"


def test_damage_is_named_and_never_raised(tmp_path):
    whole = make_video(tmp_path / "v.mkv", frames=60).read_bytes()
    assert probe(tmp_path / "none.mp4").problem == "missing: no such file"
    (tmp_path / "zero.mp4").touch()
    assert probe(tmp_path / "zero.mp4").problem == "empty file"
    (tmp_path / "text.mp4").write_text("not a video " * 100)
    assert probe(tmp_path / "text.mp4").problem.startswith("unreadable: Invalid data")
    (tmp_path / "head.mkv").write_bytes(whole[:300])
    assert probe(tmp_path / "head.mkv").problem is not None
    (tmp_path / "folder.mp4").mkdir()
    assert probe(tmp_path / "folder.mp4").problem.startswith("unreadable")


def test_a_file_cut_short_is_truncated(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=60, faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert re.fullmatch(r"truncated at frame \d+ of 60", probe(path).problem)
