"""Videos and manifests in an object store: the same frames and digests as on disk, and outages told from damage."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from lstcl_platform import storage
from lstcl_platform.cli.data import data_app
from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.storage import objects, range_file
from lstcl_platform.storage.places import place_of
from lstcl_platform.video import demuxing, guarded_probe, opening, reading
from lstcl_platform.video.decoding import DecodeError, read_frames
from lstcl_platform.video.guarded_probe import guarded_probes
from lstcl_platform.video.indexing import index_videos, open_manifest
from lstcl_platform.video.manifest import Manifest
from lstcl_platform.video.preparing import claim, copy_annotations, is_done, plan_copy, transcode_guarded
from lstcl_platform.video.sources import list_videos
from lstcl_platform.video.transcoding import TranscodeSettings
from tests.helpers.s3 import BUCKET
from tests.helpers.videos import make_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, five videos, one of them damaged."""
    root = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(["jump/a", "jump/b", "run/c", "run/d"]):
        make_video(root / f"{name}.mp4", frames=40, side=48, seed=number)
    (root / "run" / "e.mp4").write_bytes(b"no video" * 100)
    return root


@pytest.fixture
def remote(folder, s3, bucket):
    """The same folder in the bucket, as a URI."""
    key = bucket.removeprefix(f"s3://{BUCKET}/")
    for path in sorted(folder.rglob("*.mp4")):
        name = f"{key}/set/{path.relative_to(folder).as_posix()}"
        s3.client().put_object(Bucket=BUCKET, Key=name, Body=path.read_bytes())
    return f"{bucket}/set"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(objects, "_LONGEST_PAUSE", 0.05)


def facts(manifest):
    return manifest.table.drop_columns(["modified_ns"]).to_pylist()


def test_a_folder_in_a_bucket_has_the_manifest_of_the_same_folder_on_disk(folder, remote, s3, bucket):
    local = index_videos(folder)
    manifest = open_manifest(remote, cache_dir=f"{bucket}/manifests")
    assert facts(manifest) == facts(local)
    assert manifest.digest == local.digest
    assert len(manifest.problems) == 1
    sent = s3.sent
    again = open_manifest(remote, cache_dir=f"{bucket}/manifests")
    assert facts(again) == facts(local)
    assert again.file(0) == manifest.file(0)
    videos = sum(path.stat().st_size for path in folder.rglob("*.mp4"))
    assert s3.sent - sent < videos / 2, "the videos were read again"


def test_a_csv_beside_the_videos_or_elsewhere_names_objects(folder, remote, bucket, tmp_path, s3):
    rows = [("jump/a.mp4", "jump"), ("run/c.mp4", "run")]
    key = f"{remote}/list.csv".removeprefix(f"s3://{BUCKET}/")
    text = "".join(f"{path},{label}\n" for path, label in rows)
    s3.client().put_object(Bucket=BUCKET, Key=key, Body=text.encode())
    beside = index_videos(f"{remote}/list.csv")
    elsewhere = tmp_path / "list.csv"
    elsewhere.write_text("".join(f"{remote}/{path},{label}\n" for path, label in rows))
    assert facts(index_videos(elsewhere)) == facts(beside)
    assert [row["path"] for row in facts(beside)] == ["jump/a.mp4", "run/c.mp4"]
    elsewhere.write_text(f"{remote}/jump/a.mp4,jump\nrun/c.mp4,run\n")
    with pytest.raises(UserError, match="write all alike"):
        index_videos(elsewhere)


def test_a_manifest_moves_with_its_folder_and_misses_what_is_gone(folder, remote, s3, bucket):
    manifest = index_videos(remote)
    manifest.save(f"{remote}/manifest.parquet")
    key = remote.removeprefix(f"s3://{BUCKET}/")
    for name in s3.keys(key):
        source = {"Bucket": BUCKET, "Key": name}
        s3.client().copy_object(Bucket=BUCKET, Key=name.replace("/set/", "/moved/"), CopySource=source)
    s3.client().delete_object(Bucket=BUCKET, Key=f"{key.replace('/set', '/moved')}/jump/b.mp4")
    moved = open_manifest(f"{bucket}/moved/manifest.parquet", cache_dir=f"{bucket}/manifests")
    assert str(moved.root) == f"{bucket}/moved"
    assert dict(moved.problems)["jump/b.mp4"] == "missing: no such file"
    assert len(moved.problems) == 2
    elsewhere = f"{bucket}/manifests/x.parquet"
    manifest.save(elsewhere)
    assert str(Manifest.load(elsewhere).root) == remote


@pytest.mark.parametrize("throttled", [0, 8])
def test_frames_are_those_of_the_file(folder, remote, s3, throttled):
    expected = read_frames(folder / "jump" / "a.mp4", [0, 17, 39])
    s3.throttle = throttled
    assert np.array_equal(read_frames(f"{remote}/jump/a.mp4", [0, 17, 39]), expected)


def test_seeking_in_a_long_object_does_not_fetch_all_of_it(tmp_path, s3, bucket, monkeypatch):
    path = make_video(tmp_path / "long.mp4", frames=400, side=128, gop=20, x264="qp=1")
    size = path.stat().st_size
    key = f"{bucket}/long.mp4".removeprefix(f"s3://{BUCKET}/")
    s3.client().put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    for module, name, value in [
        (demuxing, "KEPT_BYTES", 0),
        (reading, "KEPT_BYTES", 0),
        (opening, "WHOLE_BYTES", 0),
        (range_file, "BLOCK_BYTES", size // 50),
    ]:
        monkeypatch.setattr(module, name, value)
    expected = read_frames(path, [350, 13])
    location = f"{bucket}/long.mp4"
    assert np.array_equal(read_frames(location, [350]), expected[:1])
    sent = s3.sent
    assert np.array_equal(read_frames(location, [13]), expected[1:])
    assert s3.sent - sent < 0.3 * size, (s3.sent - sent, size)


@pytest.mark.parametrize("whole", [True, False])
def test_an_outage_is_no_damage_and_damage_is_no_outage(remote, s3, monkeypatch, whole):
    if not whole:
        monkeypatch.setattr(opening, "WHOLE_BYTES", 0)
    with pytest.raises(DecodeError, match=r"e\.mp4"):
        read_frames(f"{remote}/run/e.mp4", [0])
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.5)
    s3.throttle = 10**6
    try:
        with pytest.raises(StorageError, match=r"a\.mp4: the storage does not answer"):
            read_frames(f"{remote}/jump/a.mp4", [0])
        with pytest.raises(StorageError):
            index_videos(remote)
    finally:
        s3.throttle = 0


def test_storage_that_goes_away_while_a_video_is_read_is_told_as_that(remote, s3, monkeypatch):
    """A demuxer takes a failed read for the end of the file; the frames so far would be a shorter video."""
    monkeypatch.setattr(opening, "WHOLE_BYTES", 0)
    monkeypatch.setattr(range_file, "BLOCK_BYTES", 500)
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.3)
    read, calls = objects.ObjectReader.read_at, []

    def fifth_fails(self, offset, length):
        calls.append(offset)
        if len(calls) == 5:
            s3.throttle = 10**6
        return read(self, offset, length)

    monkeypatch.setattr(objects.ObjectReader, "read_at", fifth_fails)
    try:
        with pytest.raises(StorageError, match="does not answer"):
            read_frames(f"{remote}/jump/a.mp4", [39])
    finally:
        s3.throttle = 0


def test_every_frame_of_a_remote_video_is_checked_and_storage_that_is_away_is_no_fault_of_it(
    folder, remote, s3, monkeypatch
):
    names = ("jump/a.mp4", "run/e.mp4", "run/none.mp4")
    there = list(guarded_probes([place_of(f"{remote}/{name}") for name in names]))
    here = list(guarded_probes([folder / name for name in names]))
    assert [replace(probe, modified_ns=0) for probe in there] == [
        replace(probe, modified_ns=0) for probe in here
    ]
    assert [probe.problem is None for probe in there] == [True, False, False]
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.2)
    s3.throttle = 10**6
    try:
        away = guarded_probe._answer(f"{remote}/jump/a.mp4")
    finally:
        s3.throttle = 0
    child = f"print('ready', flush=True); input(); print({json.dumps(away)!r}, flush=True)"
    monkeypatch.setattr(guarded_probe, "_SERVE", child)
    with pytest.raises(StorageError, match=r"jump/a\.mp4: the storage does not answer"):
        list(guarded_probes([place_of(f"{remote}/jump/a.mp4")]))


def test_a_dataset_in_a_bucket_is_prepared_there_and_gone_on_with(folder, remote, bucket, s3):
    settings, out = TranscodeSettings(short_side=32), place_of(f"{bucket}/prepared")
    csv = place_of(f"{remote}/list.csv")
    storage.write_bytes(csv.uri, b"path,label\njump/a.mp4,x\nrun/e.mp4,y\n")
    listing = list_videos(csv)
    claim(out, root=listing.root, settings=settings)
    jobs = plan_copy(listing, out)
    assert not any(map(is_done, jobs))
    done, bad = transcode_guarded(jobs, settings)
    assert (done.frames, done.problem, done.failure) == (40, None, None)
    assert bad.problem.startswith("unreadable")
    assert [is_done(job) for job in jobs] == [True, False]
    prepared = copy_annotations(csv, listing, out)
    first = list_videos(prepared).videos[0]
    assert (first.path, first.label_name) == ("jump/a.mp4", "x")
    assert index_videos(prepared).row(0).height == 32
    claim(out, root=listing.root, settings=settings)
    with pytest.raises(UserError, match=r"was prepared with short_side 32"):
        claim(out, root=listing.root, settings=TranscodeSettings())
    with pytest.raises(UserError, match="inside the folder of the videos"):
        plan_copy(list_videos(remote), place_of(f"{remote}/out"))


def test_videos_of_a_local_annotation_may_lie_in_a_bucket(remote, bucket, s3, tmp_path):
    """The annotation at hand, the videos where there is room: a CSV of paths, and Kinetics, which has names alone."""
    table, kinetics = tmp_path / "table.csv", tmp_path / "train.csv"
    table.write_text("path,label\njump/a.mp4,jump\nrun/d.mp4,run\n")
    kinetics.write_text("label,youtube_id,time_start,time_end,split\nhop,a,0,10,train\nhop,gone,0,10,train\n")
    key = bucket.removeprefix(f"s3://{BUCKET}/")
    source = {"Bucket": BUCKET, "Key": f"{key}/set/jump/a.mp4"}
    s3.client().copy_object(CopySource=source, Bucket=BUCKET, Key=f"{key}/set/hop/a_000000_000010.mp4")
    for annotation, paths in (
        (table, ["jump/a.mp4", "run/d.mp4"]),
        (kinetics, ["hop/a_000000_000010.mp4"]),
    ):
        output = tmp_path / "m" / f"{annotation.stem}.parquet"
        asked = ["index", str(annotation), "--videos", remote, "-o", str(output)]
        result = CliRunner().invoke(data_app, asked)
        assert result.exit_code == 0, result.output
        manifest = Manifest.load(output)
        assert str(manifest.root) == remote
        assert [row["path"] for row in manifest.table.to_pylist()] == paths
        assert len(manifest.usable) == len(paths)
    nowhere = ["index", str(kinetics), "--videos", f"{remote}/none", "-o", str(tmp_path / "x.parquet")]
    told = CliRunner().invoke(data_app, nowhere).exception
    assert isinstance(told, UserError)
    assert "none: no such folder of videos" in str(told)
