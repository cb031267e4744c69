"""`data prepare` as a user types it, on the shared cluster."""

import json

import pytest

from lstcl_platform.video.indexing import index_videos
from tests.helpers.study import run_cli
from tests.helpers.videos import make_labelled_folder

pytestmark = pytest.mark.cluster


def test_a_folder_is_prepared_once_measured_and_gone_on_with(tmp_path, ray_address):
    folder = make_labelled_folder(tmp_path / "set", classes=2, videos=2, frames=40, side=96)
    (folder / "class_1" / "text.mp4").write_text("no video")
    out = tmp_path / "out"
    command = ("data", "prepare", folder, "-o", out, "--short-side", "64", "--strides", "2,4")
    first = run_cli(*command, "--address", ray_address, "--format", "json")
    assert first.returncode == 1, first.stderr[-3000:]
    report = json.loads(first.stdout)
    assert (report["videos"], report["written"], report["found"], report["measured"]) == (5, 4, 0, 4)
    assert [path for path, _ in report["problems"]] == ["class_1/text.mp4"]
    assert report["speed_up"] == pytest.approx(report["rate_after"] / report["rate_before"])
    made = index_videos(out)
    assert (made.classes, len(made), made.problems) == (["class_0", "class_1"], 4, [])
    assert {(row["frames"], row["height"]) for row in made.table.to_pylist()} == {(40, 64)}
    assert report["bytes_after"] == sum(made.table["size_bytes"].to_pylist())

    (folder / "class_1" / "text.mp4").unlink()
    kept = (out / "class_0" / "video_0.mp4").stat().st_mtime_ns
    (out / "class_0" / "video_1.mp4").unlink()
    again = run_cli(*command, "--address", ray_address)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "4: 1 prepared, 3 there before, 0 left out" in again.stdout
    assert (out / "class_0" / "video_0.mp4").stat().st_mtime_ns == kept
    assert index_videos(out).digest == made.digest

    other = run_cli(*command, "--gop", "4")
    assert other.returncode == 2
    assert "was prepared with gop 16 (now 4)" in other.stderr
