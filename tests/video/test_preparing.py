import os
from pathlib import Path

import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video import preparing
from lstcl_platform.video.preparing import (
    Job,
    claim,
    copy_annotations,
    is_done,
    plan_copy,
    transcode_guarded,
)
from lstcl_platform.video.sources import list_videos
from lstcl_platform.video.transcoding import TranscodeSettings
from tests.helpers.videos import make_video

SMALL = TranscodeSettings(short_side=32)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def copied(source, out):
    """The prepared dataset of a source whose videos are empty files."""
    listing = list_videos(source)
    out.mkdir()
    for job in plan_copy(listing, out):
        touch(out, job.target)
    return listing, list_videos(copy_annotations(source, listing, out))


def facts(listing):
    return [(video.path.rpartition(".")[0], video.label, video.label_name) for video in listing.videos]


def test_every_layout_stays_what_it_is(tmp_path):
    touch(tmp_path / "in", "clips/wave/one.avi", "clips/chew/xy_000010_000020.mkv", "s/labels.json")
    (tmp_path / "in" / "kinetics.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nb,xy,10,20,val\na,gone,0,10,val\n"
    )
    (tmp_path / "in" / "names.csv").write_text("clips/wave/one.avi,z\n")
    (tmp_path / "in" / "numbers.csv").write_text("path,label\nclips/wave/one.avi,3\n")
    (tmp_path / "in" / "s" / "wave_test_split1.txt").write_text("one.avi 2\n")
    (tmp_path / "in" / "s" / "labels.json").write_text('{"Waving something": "0"}')
    (tmp_path / "in" / "s" / "val.json").write_text('[{"id": "one", "template": "Waving [something]"}]')
    for number, name in enumerate(
        ("clips", "kinetics.csv#val", "names.csv", "numbers.csv", "s#test1", "s/val.json")
    ):
        before, after = copied(tmp_path / "in" / name, tmp_path / f"out{number}")
        assert facts(after) == facts(before), name
        assert (after.classes, after.published) == (before.classes, before.published)
        assert after.root.resolve() == tmp_path / f"out{number}"
        assert {video.path.rpartition(".")[2] for video in after.videos} == {"mp4"}


def test_videos_that_have_no_place_are_refused(tmp_path):
    touch(tmp_path / "in", "a/x.avi", "a/x.mp4")
    listing = list_videos(tmp_path / "in")
    with pytest.raises(UserError, match=r"a/x\.avi and a/x\.mp4 would both become a/x\.mp4"):
        plan_copy(listing, tmp_path / "out")
    for folder in ("in/out", "."):
        with pytest.raises(UserError, match="inside the folder of the videos"):
            plan_copy(listing, tmp_path / folder)
    (tmp_path / "in" / "list.csv").write_text("a/x.mp4,0\n")
    listed = list_videos(tmp_path / "in" / "list.csv")
    assert [Path(job.target) for job in plan_copy(listed, tmp_path / "in" / "out")] == [
        tmp_path / "in/out/a/x.mp4"
    ], "a CSV names its videos, so copies may lie below its folder"
    with pytest.raises(UserError, match=r"holds a/x\.mp4, a video of"):
        plan_copy(listed, tmp_path / "in" / "a")
    (tmp_path / "in" / "list.csv").write_text("../other.mp4,0\n")
    with pytest.raises(UserError, match="lies outside"):
        plan_copy(list_videos(tmp_path / "in" / "list.csv"), tmp_path / "out")


def test_a_folder_belongs_to_one_source_and_one_set_of_settings(tmp_path):
    out = tmp_path / "out"
    claim(out, root=tmp_path / "in", settings=SMALL)
    claim(out, root=tmp_path / "in", settings=SMALL)
    with pytest.raises(UserError, match=r"out: was prepared with short_side 32 \(now 256\)"):
        claim(out, root=tmp_path / "in", settings=TranscodeSettings())
    with pytest.raises(UserError, match=r"was prepared with videos .*/in \(now .*/other\)"):
        claim(out, root=tmp_path / "other", settings=SMALL)
    touch(tmp_path, "taken/file")
    with pytest.raises(UserError, match="taken: exists and holds no prepared videos"):
        claim(tmp_path / "taken", root=tmp_path / "in", settings=SMALL)


def test_a_changed_source_is_prepared_again(tmp_path):
    touch(tmp_path, "in.avi", "out.mp4")
    job = Job(str(tmp_path / "in.avi"), str(tmp_path / "out.mp4"))
    assert is_done(job)
    os.utime(tmp_path / "in.avi", (2e9, 2e9))
    assert not is_done(job)
    assert not is_done(Job(job.source, str(tmp_path / "none.mp4")))


def test_bad_videos_get_their_problem_and_a_full_disk_is_a_failure(tmp_path, monkeypatch):
    good = make_video(tmp_path / "in" / "good.mp4", frames=10, side=32)
    (tmp_path / "in" / "bad.mp4").write_text("no video")
    touch(tmp_path, "out/a/bad.mp4", "file")
    jobs = [Job(str(tmp_path / "in" / "bad.mp4"), str(tmp_path / "out" / "a" / "bad.mp4"))]
    jobs.append(Job(str(good), str(tmp_path / "out" / "b" / "good.mp4")))
    jobs.append(Job(str(good), str(tmp_path / "file" / "good.mp4")))
    bad, done, failed = transcode_guarded(jobs, SMALL)
    assert bad.problem.startswith("unreadable: ")
    assert not (tmp_path / "out" / "a" / "bad.mp4").exists()
    assert (done.frames, done.problem, done.failure) == (10, None, None)
    assert failed.problem is None
    assert "NotADirectoryError" in failed.failure
    monkeypatch.setattr(
        preparing, "_SERVE", "import os; print('ready', flush=True); input(); os.kill(os.getpid(), 11)"
    )
    (crashed,) = transcode_guarded(jobs[1:2], SMALL)
    assert crashed.problem == "crashes the decoder: its process ended with -11"
