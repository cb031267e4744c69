"""Object storage over real HTTP: whole files, parts of files, throttling, outages, refusals, exclusive creation."""

import hashlib
import os
import threading

import pytest

from lstcl_platform import storage
from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.storage import objects, range_file
from lstcl_platform.storage.range_file import RangeFile
from tests.helpers.s3 import BUCKET
from tests.storage.promises import break_off_a_write, one_of_many_creates

THROTTLED = 8
"""More than the AWS library's own tries can swallow in one request."""
THROTTLING = "SLOW_DOWN|SERVICE_UNAVAILABLE|503"
"""What Amazon's library calls it: not always the same for the same answer."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(objects, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 1.0)


def test_a_file_comes_back_and_goes(bucket, tmp_path):
    location = storage.join(bucket, "deep", "file.bin")
    data = os.urandom(100_000)
    assert not storage.exists(location)
    assert storage.list_names(bucket) == []
    digest = storage.write_bytes(location, data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert storage.read_bytes(location) == data
    assert storage.download(location, tmp_path / "copy") == digest
    assert storage.list_names(bucket) == ["deep"]
    storage.delete_tree(storage.join(bucket, "deep"))
    assert not storage.exists(location)
    storage.delete_tree(location)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(location)


def test_an_upload_that_breaks_off_leaves_no_object(bucket):
    location = storage.join(bucket, "half")
    break_off_a_write(location)
    assert not storage.exists(location)


def test_throttling_is_waited_out(s3, bucket):
    location, before = storage.join(bucket, "file"), s3.throttled
    for call in (
        lambda: storage.write_bytes(location, b"content"),
        lambda: storage.exists(location),
        lambda: storage.read_bytes(location),
        lambda: storage.create_exclusively(storage.join(bucket, "claim"), b"me"),
    ):
        s3.throttle = THROTTLED
        assert call()
        assert s3.throttle == 0
    assert s3.throttled == before + 4 * THROTTLED


def test_endless_throttling_is_a_storage_error_in_bounded_time(s3, bucket, impatient):
    location = storage.join(bucket, "file")
    storage.write_bytes(location, b"content")
    s3.throttle = 10**6
    try:
        for call in (storage.read_bytes, storage.exists, lambda place: storage.write_bytes(place, b"new")):
            with pytest.raises(StorageError, match=rf"test_endless.*({THROTTLING}).*launch again"):
                call(location)
    finally:
        s3.throttle = 0
    assert storage.read_bytes(location) == b"content"


def test_a_server_that_is_gone_is_a_storage_error_and_one_that_returns_is_waited_for(s3, bucket, monkeypatch):
    location = storage.join(bucket, "file")
    storage.write_bytes(location, b"content")
    s3.go_away()
    try:
        monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.5)
        with pytest.raises(StorageError, match=r"file: the storage does not answer"):
            storage.read_bytes(location)
        monkeypatch.setattr(objects, "PATIENCE_SECONDS", 120.0)
        back = threading.Timer(0.5, s3.come_back)
        back.start()
        assert storage.read_bytes(location) == b"content"
        back.join()
    finally:
        s3.come_back()


def test_a_refusal_is_told_at_once(s3):
    asked = len(s3.requests)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/x: the storage refuses: .*NO_SUCH_BUCKET"):
        storage.write_bytes("s3://no-such-bucket/x", b"1")
    assert len(s3.requests) - asked < 3


def test_a_wrong_uri_is_the_users_error():
    with pytest.raises(UserError, match=r"ftp://host: no such kind of storage; allowed: .*s3://, gs://"):
        storage.exists("ftp://host/file")
    with pytest.raises(UserError, match=r"no option 'regoin'; allowed: region, endpoint_override, scheme"):
        storage.exists("s3://bucket/file?regoin=eu")


def test_one_of_many_creates_an_object(bucket):
    one_of_many_creates(storage.join(bucket, "claim"))


def test_a_range_file_fetches_what_is_read_and_no_more(s3, bucket, monkeypatch):
    monkeypatch.setattr(range_file, "BLOCK_BYTES", 1000)
    location, data = storage.join(bucket, "long"), os.urandom(100_500)
    storage.write_bytes(location, data)
    with RangeFile(location) as file:
        sent = s3.sent
        file.seek(-300, os.SEEK_END)
        assert file.read() == data[-300:]
        file.seek(50_010)
        assert file.read(20) == data[50_010:50_030]
        file.seek(50_500)
        assert file.read(20) == data[50_500:50_520]
        assert s3.sent - sent == 1500
        file.seek(0)
        assert file.read() == data
    assert s3.sent - sent <= 102_500


def test_a_range_file_outlives_throttling_and_says_when_storage_is_away(s3, bucket, monkeypatch):
    monkeypatch.setattr(range_file, "BLOCK_BYTES", 1000)
    location, data = storage.join(bucket, "long"), os.urandom(20_000)
    storage.write_bytes(location, data)
    with RangeFile(location) as file:
        s3.throttle = THROTTLED
        assert file.read(5000) == data[:5000]
        monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.5)
        s3.throttle = 10**6
        try:
            with pytest.raises(StorageError, match=THROTTLING):
                file.read()
        finally:
            s3.throttle = 0
        assert isinstance(file.failure, StorageError)


def test_the_bucket_is_found_by_the_options_of_a_uri(s3, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    location = f"s3://{BUCKET}/by-option?endpoint_override=127.0.0.1:{s3.port}&scheme=http"
    storage.write_bytes(location, b"1")
    assert storage.read_bytes(location) == b"1"
    assert storage.create_exclusively(storage.join(location, "x"), b"1")
