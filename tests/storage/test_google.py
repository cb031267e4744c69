"""Google Cloud Storage over real HTTP: what is stored, listed, read in parts, throttled, refused and created once."""

import hashlib
import os

import pytest

from lstcl_platform import storage
from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage import google, objects, range_file
from lstcl_platform.storage.places import RemotePath
from lstcl_platform.storage.range_file import RangeFile
from tests.helpers.gcs import GcsServer
from tests.helpers.object_server import BUCKET
from tests.storage.promises import break_off_a_write, one_of_many_creates


@pytest.fixture(scope="module")
def server():
    server = GcsServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def leads_there(server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(objects, "_LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(objects, "_QUICK_SECONDS", 0.01)
    objects._filesystem.cache_clear()


@pytest.fixture
def folder(request):
    return f"gs://{BUCKET}/{request.node.name}"


def test_a_file_comes_back_is_listed_and_goes(folder, tmp_path):
    location = storage.join(folder, "deep", "er", "file.bin")
    data = os.urandom(100_000)
    assert not storage.exists(location)
    digest = storage.write_bytes(location, data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert storage.read_bytes(location) == data
    assert storage.download(location, tmp_path / "copy") == digest
    storage.write_bytes(storage.join(folder, "beside"), b"1")
    assert storage.list_names(folder) == ["beside", "deep"]
    assert storage.list_names(storage.join(folder, "deep", "er")) == ["file.bin"]
    assert storage.size(folder) == 100_001
    place = RemotePath(folder)
    assert place.files_below() == ["beside", "deep/er/file.bin"]
    assert place.stat_below(["beside", "gone"]).keys() == {"beside"}
    assert (place / "beside").stat() == place.stat_below(["beside"])["beside"]
    storage.delete_tree(storage.join(folder, "deep"))
    assert not storage.exists(location)
    assert storage.list_names(folder) == ["beside"]
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(location)


def test_an_upload_that_breaks_off_leaves_no_object(folder):
    location = storage.join(folder, "half")
    break_off_a_write(location)
    assert not storage.exists(location)


def test_one_of_many_creates_an_object(folder):
    one_of_many_creates(storage.join(folder, "claim"))


def test_parts_are_read_and_no_more(server, folder, monkeypatch):
    monkeypatch.setattr(range_file, "BLOCK_BYTES", 1000)
    location, data = storage.join(folder, "long"), os.urandom(50_500)
    storage.write_bytes(location, data)
    with RangeFile(location) as file:
        before = len(server.requests)
        file.seek(-300, os.SEEK_END)
        assert file.read() == data[-300:]
        file.seek(20_010)
        assert file.read(20) == data[20_010:20_030]
    ranges = [asked for _, _, asked in server.requests[before:] if asked]
    assert ranges == ["bytes=50000-50499", "bytes=20000-20999"]


def test_throttling_is_waited_out_and_endless_throttling_is_told(server, folder, monkeypatch):
    location, before = storage.join(folder, "file"), server.throttled
    for call in (
        lambda: storage.write_bytes(location, b"content"),
        lambda: storage.exists(location),
        lambda: storage.read_bytes(location),
        lambda: storage.list_names(folder),
        lambda: storage.create_exclusively(storage.join(folder, "claim"), b"me"),
    ):
        server.throttle = 3
        assert call()
        assert server.throttle == 0
    assert server.throttled == before + 15
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.5)
    server.throttle = 10**6
    try:
        for call in (
            storage.read_bytes,
            storage.list_names,
            lambda place: storage.write_bytes(place, b"new"),
        ):
            with pytest.raises(StorageError, match=r"does not answer as it should: .*rateLimitExceeded"):
                call(location)
    finally:
        server.throttle = 0
    assert storage.read_bytes(location) == b"content"


def test_a_missing_bucket_and_a_refusal_are_told_at_once(server, folder, monkeypatch):
    for write in (storage.write_bytes, storage.create_exclusively):
        with pytest.raises(StorageError, match=r"gs://nowhere/x: .*there is no bucket 'nowhere'"):
            write("gs://nowhere/x", b"1")
    monkeypatch.setattr(server, "refusal", ("403 Forbidden", "application/json", b"{}"))
    server.throttle, before = 10**6, server.throttled
    try:
        for write in (storage.write_bytes, storage.create_exclusively):
            with pytest.raises(StorageError, match=r"refuses: .*(PERMISSION_DENIED|403)"):
                write(storage.join(folder, "file"), b"1")
    finally:
        server.throttle = 0
    assert server.throttled - before <= 4


def test_missing_credentials_are_told_at_once(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    google.client.cache_clear()
    for call in (storage.exists, storage.list_names, storage.read_bytes):
        with pytest.raises(StorageError, match=r"no Google credentials: .*GOOGLE_APPLICATION_CREDENTIALS"):
            call("gs://bucket/file")


def test_an_emulator_can_be_named_by_the_options_of_a_uri(server, monkeypatch):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    location = f"gs://{BUCKET}/by-option?endpoint_override=127.0.0.1:{server.port}&scheme=http"
    storage.write_bytes(location, b"1")
    assert storage.read_bytes(location) == b"1"
    assert storage.create_exclusively(storage.join(location, "x"), b"1")
