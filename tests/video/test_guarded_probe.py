import os

import pytest

from lstcl_platform.video import guarded_probe
from lstcl_platform.video.guarded_probe import guarded_probes
from lstcl_platform.video.probe import probe
from tests.helpers.videos import make_video


def test_a_hang_is_named_and_the_next_video_is_probed(tmp_path):
    video = make_video(tmp_path / "v.mp4", frames=10, side=32)
    endless = tmp_path / "endless.mp4"
    os.mkfifo(endless)  # opening it waits for a writer that never comes
    probes = list(guarded_probes([endless, video], limit_seconds=8))
    assert probes[0].problem == "hangs the decoder: no result in 8 s"
    assert probes[1] == probe(video, thorough=True)


def test_a_crash_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        guarded_probe, "_SERVE", "import os; print('ready', flush=True); input(); os.kill(os.getpid(), 11)"
    )
    probes = list(guarded_probes([tmp_path / "a.mp4", tmp_path / "b.mp4"]))
    assert [found.problem for found in probes] == ["crashes the decoder: its process ended with -11"] * 2


@pytest.mark.parametrize("name", ["line\nbreak.mp4", "ümlaut 'quoted'.mp4"])
def test_any_file_name_goes_through(tmp_path, name):
    video = make_video(tmp_path / name, frames=4, side=32)
    (found,) = guarded_probes([video])
    assert found == probe(video, thorough=True)
