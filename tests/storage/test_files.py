"""Atomic files, exclusive creation and URI handling on the local file system."""

import hashlib
from pathlib import Path

import pytest

from lstcl_platform import storage
from tests.storage.promises import break_off_a_write, one_of_many_creates


@pytest.mark.parametrize("as_uri", [False, True])
def test_a_file_comes_back_with_its_digest(tmp_path: Path, as_uri: bool):
    root = tmp_path.as_uri() if as_uri else str(tmp_path)
    location = storage.join(root, "deep", "er", "file.bin")
    digest = storage.write_bytes(location, b"abc")
    assert digest == hashlib.sha256(b"abc").hexdigest()
    assert storage.read_bytes(location) == b"abc"
    assert storage.exists(location)
    assert storage.list_names(storage.join(root, "deep")) == ["er"]
    assert storage.download(location, tmp_path / "copy") == digest
    assert (tmp_path / "copy").read_bytes() == b"abc"


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path):
    location = str(tmp_path / "file")
    storage.write_bytes(location, b"old")
    break_off_a_write(location)
    assert storage.list_names(str(tmp_path)) == ["file"]
    assert storage.read_bytes(location) == b"old"


def test_a_file_is_invisible_until_it_is_whole(tmp_path: Path):
    location = str(tmp_path / "file")
    with storage.open_write(location) as file:
        file.write(b"some")
        assert not storage.exists(location)
    assert storage.exists(location)


def test_written_files_are_readable_as_any_other(tmp_path: Path):
    storage.write_bytes(str(tmp_path / "stored"), b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "stored").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_one_of_many_creates(tmp_path: Path):
    one_of_many_creates(str(tmp_path / "claim"))


def test_delete_tree_takes_folders_files_and_nothing(tmp_path: Path):
    storage.write_bytes(str(tmp_path / "a" / "b"), b"1")
    storage.write_bytes(str(tmp_path / "c"), b"1")
    for name in ("a", "c", "never-there"):
        storage.delete_tree(str(tmp_path / name))
    assert storage.list_names(str(tmp_path)) == []


def test_a_uri_keeps_its_query_and_a_missing_folder_is_empty(tmp_path: Path):
    assert storage.join("s3://bucket/a?region=x", "b", "c") == "s3://bucket/a/b/c?region=x"
    assert storage.join("s3://bucket", "b") == "s3://bucket/b"
    assert storage.parent("s3://bucket/a/b?region=x") == ("s3://bucket/a?region=x", "b")
    assert storage.parent("/a/b") == ("/a", "b")
    assert storage.local_path("s3://bucket/a") is None
    assert storage.list_names(str(tmp_path / "missing")) == []
