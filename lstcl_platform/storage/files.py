"""Files in a local folder or an object store, by path or URI (`file://`, `s3://`, `gs://`).

A reader never sees half a file: local files are written beside their final name, flushed to disk and
renamed; an object appears when its upload ends. What fails because storage is away, full or closed to us is a
`StorageError`; requests to an object store are repeated first (`objects.persistently`).
"""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from pyarrow import fs

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage import google, objects
from lstcl_platform.storage.exclusive import create_object
from lstcl_platform.storage.locations import local_path
from lstcl_platform.storage.range_file import RangeFile

T = TypeVar("T")

CHUNK_BYTES = 1 << 22

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class HashingWriter:
    """A binary file open for writing that knows the SHA-256 and the size of what passed through it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.failure: OSError | None = None
        """Why a write failed: torch's own complaint about a file cut short comes on top of it."""

    def write(self, data: Any) -> int:
        """Write bytes-like `data`; returns its length in bytes."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        try:
            self._file.write(view)
        except OSError as error:
            self.failure = error
            raise
        self.bytes += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Hand buffered bytes on."""
        self._file.flush()

    @property
    def sha256(self) -> str:
        """64 hex digits over all bytes written so far."""
        return self._hash.hexdigest()


def exists(location: str) -> bool:
    """Whether a file or folder of that name is there."""
    local = local_path(location)
    return local.exists() if local is not None else object_info(location).type != fs.FileType.NotFound


def list_names(folder: str) -> list[str]:
    """Names of the files and folders in `folder`, sorted; empty when it does not exist."""
    local = local_path(folder)
    if local is not None:
        return sorted(os.listdir(local)) if local.is_dir() else []
    return sorted(info.base_name for info in list_objects(folder, recursive=False))


def size(location: str) -> int:
    """Bytes of a file, or of all files below a folder; 0 when there is nothing."""
    local = local_path(location)
    if local is not None:
        files = [local] if local.is_file() else [path for path in local.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files)
    info = object_info(location)
    found = [info] if info.type == fs.FileType.File else list_objects(location, recursive=True)
    return sum(entry.size or 0 for entry in found)


def object_info(location: str) -> Any:
    """What an object store says of one name: pyarrow's FileInfo; its type is NotFound where there is nothing."""
    filesystem, path = objects.client(location)
    return objects.persistently(location, lambda: filesystem.get_file_info(path))


def list_objects(folder: str, *, recursive: bool) -> list[Any]:
    """pyarrow's FileInfo of all that an object store holds below a folder; empty when there is no such folder."""
    if google.is_google(folder):
        server = objects.endpoint(folder)
        with suppress(FileNotFoundError):
            return objects.persistently(folder, lambda: google.listing(folder, server, recursive=recursive))
        return []
    filesystem, path = objects.client(folder)
    selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
    return list(objects.persistently(folder, lambda: filesystem.get_file_info(selector)))


@contextmanager
def open_read(location: str) -> Iterator[Any]:
    """Open a file for reading its bytes from start to end.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the store is away; also while it is read.
    """
    local = local_path(location)
    with local.open("rb") if local is not None else RangeFile(location) as stream:
        yield stream


def read_bytes(location: str) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: it is missing.
        StorageError: the store is away.
    """
    local = local_path(location)
    if local is not None:
        return local.read_bytes()
    reader = objects.ObjectReader(location)
    return reader.read_at(0, reader.size)


def download(location: str, target: Path) -> str:
    """Copy a file to the local path `target`; returns the SHA-256 of what was copied."""
    with open_read(location) as source, target.open("wb") as file:
        writer = HashingWriter(file)
        while chunk := source.read(CHUNK_BYTES):
            writer.write(chunk)
    return writer.sha256


@contextmanager
def open_write(location: str) -> Iterator[HashingWriter]:
    """Write a file that appears whole at the end of the `with` block, or not at all if the block raises.

    Raises:
        StorageError: no space is left, or the place cannot be written to; what was there before is untouched.
    """
    local = local_path(location)
    failure: OSError | None = None
    try:
        with _open_object(location) if local is None else _open_local(local) as writer:
            try:
                yield writer
            finally:
                failure = writer.failure
    except StorageError:
        raise
    except Exception as error:
        failure = failure or (error if isinstance(error, OSError) else None)
        if failure is None:
            raise
        raise _explained(location, failure) from failure


def _explained(location: str, error: OSError) -> StorageError:
    what = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        what = f"{what}: make space (or raise the quota), then launch again"
    return StorageError(f"{location}: cannot be written: {what}")


@contextmanager
def _open_object(location: str) -> Iterator[HashingWriter]:
    filesystem, path = objects.client(location)
    try:
        stream = objects.persistently(location, lambda: filesystem.open_output_stream(path))
    except FileNotFoundError:
        raise objects.no_bucket(location) from None
    try:
        yield HashingWriter(stream)
    except BaseException:
        with suppress(OSError):  # the first failure is the one to tell
            stream.close()  # pyarrow cannot abort an upload: what it closed is removed again
            filesystem.delete_file(path)
        raise
    stream.close()


@contextmanager
def _open_local(path: Path) -> Iterator[HashingWriter]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            yield HashingWriter(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(location: str, data: bytes) -> str:
    """Write a whole file atomically; returns its SHA-256.

    Raises:
        StorageError: as `open_write`; an upload is repeated first.
    """

    def write() -> str:
        with open_write(location) as writer:
            writer.write(data)
        return writer.sha256

    return repeated(location, write)


def repeated(location: str, write: Callable[[], T]) -> T:
    """What `write` returns: an upload to `location`, from its beginning once more if the store breaks it off.

    Raises:
        StorageError: as `open_write` for a local file, as `objects.persistently` for an object.
    """
    if local_path(location) is not None:
        return write()

    def request() -> T:
        try:
            return write()
        except StorageError as error:
            raise error.__cause__ or error from None

    return objects.persistently(location, request)


def create_exclusively(location: str, data: bytes) -> bool:
    """Create a file unless it exists; True if this call created it.

    Of any number of callers exactly one gets True: locally (NFS included), on S3 and on Google Cloud Storage. An object
    store whose answer got lost is asked again, and its object recognised by `data`: let it tell the caller.

    Raises:
        UserError: the object store's own library is not installed.
        StorageError: storage is away, full or closed to us.
    """
    local = local_path(location)
    if local is None:
        return create_object(location, data)
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        file: IO[bytes] = local.open("xb")
    except FileExistsError:
        return False
    except OSError as error:
        raise _explained(location, error) from error
    with file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return True


def delete_tree(location: str) -> None:
    """Delete a file or a folder with all that is in it; nothing happens when there is none."""
    local = local_path(location)
    if local is not None:
        if local.is_dir():
            shutil.rmtree(local, ignore_errors=True)
        else:
            local.unlink(missing_ok=True)
        return
    filesystem, path = objects.client(location)
    match object_info(location).type:
        case fs.FileType.File:
            delete = filesystem.delete_file
        case fs.FileType.Directory:
            delete = filesystem.delete_dir
        case _:
            return
    with suppress(FileNotFoundError):  # another's deletion, or an earlier try whose answer got lost
        objects.persistently(location, lambda: delete(path))
