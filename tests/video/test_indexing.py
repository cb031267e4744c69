import os
import time

import pytest

import lstcl_platform.video.probe as probing
from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.indexing import index_videos, known_manifest, manifest_cache, open_manifest
from lstcl_platform.video.manifest import Manifest
from tests.helpers.videos import make_labelled_folder, make_video


@pytest.fixture
def folder(tmp_path):
    return make_labelled_folder(tmp_path / "set", classes=2, videos=2, frames=10)


@pytest.fixture
def probed(monkeypatch):
    """Names of the files that are really read."""
    names = []
    real = probing.probe

    def spy(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(probing, "probe", spy)
    return names


def test_one_damaged_file_never_stops_the_index(folder):
    (folder / "class_0" / "bad.mp4").write_text("no video")
    seen = []
    manifest = index_videos(folder, progress=lambda done, total: seen.append((done, total)))
    assert len(manifest) == 5
    assert [path for path, _ in manifest.problems] == ["class_0/bad.mp4"]
    assert manifest.usable.tolist() == [1, 2, 3, 4]
    assert manifest.labels.tolist() == [0, 0, 0, 1, 1]
    assert manifest.classes == ["class_0", "class_1"]
    assert seen == [(i, 5) for i in range(1, 6)]


def test_csv_row_without_a_file_is_a_problem_of_that_video(folder):
    source = folder / "train.csv"
    source.write_text("class_0/video_0.mp4,0\ngone.mp4,1\n")
    manifest = index_videos(source)
    assert manifest.problems == [("gone.mp4", "missing: no such file")]
    assert manifest.file(0) == folder / "class_0" / "video_0.mp4"


def test_a_csv_may_name_files_anywhere_and_its_manifest_holds_them_below_one_root(folder, tmp_path, probed):
    (tmp_path / "lists").mkdir()
    source = tmp_path / "lists" / "train.csv"
    source.write_text(f"{folder}/class_1/video_0.mp4,0\n../set/class_0/video_0.mp4,1\n")
    manifest = open_manifest(source, cache_dir=tmp_path / "cache")
    assert manifest.root == folder
    assert [manifest.row(number).path for number in (0, 1)] == ["class_1/video_0.mp4", "class_0/video_0.mp4"]
    assert manifest.file(1) == folder / "class_0" / "video_0.mp4"
    probed.clear()
    assert open_manifest(source, cache_dir=tmp_path / "cache").digest == manifest.digest
    assert probed == []


def test_only_changed_files_are_read_again(folder, probed):
    first = index_videos(folder)
    assert len(probed) == 4
    probed.clear()
    make_video(folder / "class_1" / "video_0.mp4", frames=12, seed=9)
    second = index_videos(folder, previous=first)
    assert probed == ["video_0.mp4"]
    assert second.row(2).frames == 12
    assert second.row(0) == first.row(0)
    assert second.digest != first.digest


def test_opened_folder_is_cached_and_checked(folder, tmp_path, probed):
    first = open_manifest(folder, cache_dir=tmp_path / "cache")
    assert manifest_cache(folder, cache_dir=tmp_path / "cache").is_file()
    probed.clear()
    assert open_manifest(folder, cache_dir=tmp_path / "cache").digest == first.digest
    assert probed == []
    (folder / "class_0" / "video_1.mp4").unlink()
    make_video(folder / "class_1" / "video_9.mp4", frames=5)
    again = open_manifest(folder, cache_dir=tmp_path / "cache")
    assert probed == ["video_9.mp4"]
    assert len(again) == 4


def test_a_known_manifest_is_found_without_reading_and_not_once_a_file_changed(folder, tmp_path, probed):
    assert known_manifest(folder, cache_dir=tmp_path / "cache") is None
    assert probed == []
    made = open_manifest(folder, cache_dir=tmp_path / "cache")
    probed.clear()
    known = known_manifest(folder, cache_dir=tmp_path / "cache")
    assert known is not None
    assert known.digest == made.digest
    os.utime(next(folder.glob("class_0/*.mp4")))
    assert known_manifest(folder, cache_dir=tmp_path / "cache") is None
    assert probed == []


def test_damaged_cache_is_made_anew(folder, tmp_path):
    first = open_manifest(folder, cache_dir=tmp_path / "cache")
    manifest_cache(folder, cache_dir=tmp_path / "cache").write_text("torn")
    assert open_manifest(folder, cache_dir=tmp_path / "cache").digest == first.digest


def test_relative_and_absolute_names_share_the_cache(folder, tmp_path, probed, monkeypatch):
    open_manifest(folder, cache_dir=tmp_path / "cache")
    probed.clear()
    monkeypatch.chdir(tmp_path)
    manifest = open_manifest("set", cache_dir=tmp_path / "cache")
    assert probed == []
    assert manifest.file(0).is_file()


def test_parquet_is_checked_for_missing_and_changed_files(folder, tmp_path):
    index_videos(folder).save(tmp_path / "m.parquet")
    os.utime(folder / "class_0" / "video_0.mp4", (1, 1))
    assert open_manifest(tmp_path / "m.parquet", cache_dir=tmp_path).problems == []
    (folder / "class_0" / "video_1.mp4").unlink()
    (folder / "class_1" / "video_0.mp4").write_bytes(b"short")
    problems = dict(open_manifest(tmp_path / "m.parquet", cache_dir=tmp_path).problems)
    assert problems["class_0/video_1.mp4"] == "missing: no such file"
    assert problems["class_1/video_0.mp4"].startswith("changed since it was indexed: 5 bytes")
    assert len(problems) == 2


def test_wrong_parquet_is_a_user_error(tmp_path):
    (tmp_path / "m.parquet").write_text("x")
    with pytest.raises(UserError, match=r"m\.parquet: cannot be read"):
        open_manifest(tmp_path / "m.parquet", cache_dir=tmp_path)


def test_hundreds_of_files_are_checked_in_well_under_a_second(tmp_path):
    video = make_video(tmp_path / "one.mp4", frames=2, side=16)
    folder = tmp_path / "set" / "c"
    folder.mkdir(parents=True)
    for number in range(300):
        os.link(video, folder / f"{number}.mp4")
    open_manifest(tmp_path / "set", cache_dir=tmp_path / "cache")
    started = time.process_time()
    assert isinstance(open_manifest(tmp_path / "set", cache_dir=tmp_path / "cache"), Manifest)
    assert time.process_time() - started < 1


def test_a_published_dataset_is_indexed_once_and_again_when_a_video_comes_back(tmp_path, probed):
    make_video(tmp_path / "train" / "xy_000010_000020.mp4", frames=2, side=16)
    source = tmp_path / "train.csv"
    source.write_text("label,youtube_id,time_start,time_end,split\nb,xy,10,20,train\na,gone,0,10,train\n")
    first = open_manifest(source, cache_dir=tmp_path / "cache")
    assert (first.published, first.classes, first.labels.tolist()) == (2, ["a", "b"], [1])
    probed.clear()
    assert open_manifest(source, cache_dir=tmp_path / "cache").digest == first.digest
    assert probed == []
    make_video(tmp_path / "train" / "gone_000000_000010.mp4", frames=2, side=16)
    again = open_manifest(source, cache_dir=tmp_path / "cache")
    assert again.labels.tolist() == [1, 0]
    assert probed == ["gone_000000_000010.mp4"]
