"""`data check` as a user types it, on the shared cluster."""

import json

import pytest

from lstcl_platform.video.manifest import Manifest
from tests.helpers.study import run_cli
from tests.helpers.videos import damage, make_labelled_folder

pytestmark = pytest.mark.cluster


@pytest.fixture
def folder(tmp_path):
    folder = make_labelled_folder(tmp_path / "set", classes=2, videos=2, frames=40, side=64)
    damage(folder / "class_0" / "video_1.mp4", start=0.5, length=500)
    (folder / "class_1" / "text.mp4").write_text("no video")
    return folder


def test_problems_are_reported_and_written_into_the_manifest(folder, tmp_path, ray_address):
    manifest = tmp_path / "m.parquet"
    check = ("data", "check", folder, "-o", manifest, "--address", ray_address, "--format", "json")
    done = run_cli(*check)
    assert done.returncode == 1, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert (report["videos"], report["usable"]) == (5, 3)
    assert report["kinds"] == {"decode errors": 1, "unreadable": 1}
    assert [bad["path"] for bad in report["problems"]] == ["class_0/video_1.mp4", "class_1/text.mp4"]
    written = Manifest.load(manifest)
    assert dict(written.problems) == {bad["path"]: bad["problem"] for bad in report["problems"]}
    assert written.digest == report["digest"]
    assert written.row(0).frames == 40

    (folder / "class_0" / "video_1.mp4").write_bytes((folder / "class_0" / "video_0.mp4").read_bytes())
    (folder / "class_1" / "text.mp4").write_bytes((folder / "class_1" / "video_0.mp4").read_bytes())
    again = run_cli("data", "check", manifest, "--address", ray_address)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "sound" in again.stdout
    assert Manifest.load(manifest).problems == []
