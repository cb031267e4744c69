"""Files of a stage in a local folder or an object store, by path or URI (`file://`, `s3://`, `gs://`).

A reader never sees half a file: local files are written beside their final name, flushed to disk and
renamed; an object appears when its upload ends.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pyarrow import fs

CHUNK_BYTES = 1 << 22


class HashingWriter:
    """A binary file open for writing that knows the SHA-256 and the size of what passed through it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: Any) -> int:
        """Write bytes-like `data`; returns its length in bytes."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self._file.write(view)
        self.bytes += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Hand buffered bytes on."""
        self._file.flush()

    @property
    def sha256(self) -> str:
        """64 hex digits over all bytes written so far."""
        return self._hash.hexdigest()


@lru_cache(maxsize=16)
def _root(scheme: str, netloc: str, query: str) -> tuple[Any, str]:
    # One client per bucket: an S3 client asks the network for its region when it is made.
    filesystem, base = fs.FileSystem.from_uri(urlunsplit((scheme, netloc, "" if netloc else "/", query, "")))
    return filesystem, base.rstrip("/")


def _split(location: str) -> tuple[Any, str]:
    local = local_path(location)
    if local is not None:
        return fs.LocalFileSystem(), str(local)
    parts = urlsplit(location)
    filesystem, base = _root(parts.scheme, parts.netloc, parts.query)
    return filesystem, base + unquote(parts.path)


def local_path(location: str) -> Path | None:
    """The absolute local path that `location` names, or None when it is in an object store."""
    if "://" not in location:
        return Path(location).absolute()
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def join(location: str, *names: str) -> str:
    """`location` with `names` as further path segments; the query of a URI is kept."""
    if "://" not in location:
        return str(Path(location, *names))
    parts = urlsplit(location)
    return urlunsplit(parts._replace(path="/".join([parts.path.rstrip("/"), *names])))


def parent(location: str) -> tuple[str, str]:
    """The folder that holds `location`, and its name there."""
    if "://" not in location:
        path = Path(location)
        return str(path.parent), path.name
    parts = urlsplit(location)
    folder, _, name = parts.path.rstrip("/").rpartition("/")
    return urlunsplit(parts._replace(path=folder)), name


def exists(location: str) -> bool:
    """Whether a file or folder of that name is there."""
    filesystem, path = _split(location)
    return bool(filesystem.get_file_info(path).type != fs.FileType.NotFound)


def list_names(folder: str) -> list[str]:
    """Names of the files and folders in `folder`, sorted; empty when it does not exist."""
    filesystem, path = _split(folder)
    return sorted(i.base_name for i in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)))


@contextmanager
def open_read(location: str) -> Iterator[Any]:
    """Open a file for reading its bytes from start to end.

    Raises:
        FileNotFoundError: there is no such file.
    """
    filesystem, path = _split(location)
    with filesystem.open_input_stream(path) as stream:
        yield stream


def read_bytes(location: str) -> bytes:
    """The content of a file; raises FileNotFoundError when it is missing."""
    with open_read(location) as stream:
        return bytes(stream.read())


def download(location: str, target: Path) -> str:
    """Copy a file to the local path `target`; returns the SHA-256 of what was copied."""
    with open_read(location) as source, target.open("wb") as file:
        writer = HashingWriter(file)
        while chunk := source.read(CHUNK_BYTES):
            writer.write(chunk)
    return writer.sha256


@contextmanager
def open_write(location: str) -> Iterator[HashingWriter]:
    """Write a file that appears whole at the end of the `with` block, or not at all if the block raises."""
    local = local_path(location)
    if local is not None:
        with _open_local(local) as writer:
            yield writer
        return
    filesystem, path = _split(location)
    stream = filesystem.open_output_stream(path)
    try:
        yield HashingWriter(stream)
    except BaseException:
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
    """Write a whole file atomically; returns its SHA-256."""
    with open_write(location) as writer:
        writer.write(data)
    return writer.sha256


def create_exclusively(location: str, data: bytes) -> bool:
    """Create a file unless it exists; True if this call created it.

    Locally (NFS included) exactly one of any number of callers gets True. pyarrow has no conditional
    upload, so in an object store two callers within one round trip of one another may both get True: a late
    one is turned away.
    """
    local = local_path(location)
    if local is None:
        if exists(location):
            return False
        write_bytes(location, data)
        return True
    local.parent.mkdir(parents=True, exist_ok=True)
    try:
        file: IO[bytes] = local.open("xb")
    except FileExistsError:
        return False
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
    filesystem, path = _split(location)
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.File:
        filesystem.delete_file(path)
    elif kind == fs.FileType.Directory:
        filesystem.delete_dir(path)
