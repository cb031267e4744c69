"""From the name of a video to an open container: a local path, or an object, read whole or in parts by its size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage.objects import ObjectReader
from lstcl_platform.storage.places import Place, RemotePath, place_of
from lstcl_platform.storage.range_file import RangeFile

_LISTS = (b"#EXTM3U", b"ffconcat", b"v=0")
"""Beginnings of playlists and stream descriptions: FFmpeg would follow them, and wait for what is not there yet."""
WHOLE_BYTES = 64 << 20
"""Objects up to this size are fetched by one request: all packets of such a file are demuxed anyway
(`demuxing.KEPT_BYTES`). Of a larger one, the parts that are read."""


class _WholeFile(io.BytesIO):
    """A fetched object; `name` tells FFmpeg the suffix, and the packet table what to open again."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


@contextmanager
def open_container(name: str, *, content: bytes | None = None) -> Iterator[InputContainer]:
    """Open a video with PyAV.

    Args:
        name: path or URI.
        content: what `whole_content` returned, so that it is not fetched again.

    Raises:
        StorageError: its storage is away, now or while the container is read.
        FileNotFoundError: there is no such file.
        av.FFmpegError: the file is no video.
        ValueError: the file names others.
    """
    where = place_of(name)
    if isinstance(where, Path):
        with where.open("rb") as start:
            _refuse_lists(start.read(8))
        with av.open(str(where)) as container:
            yield container
        return
    content = whole_content(where) if content is None else content
    with RangeFile(where.uri) if content is None else _WholeFile(where.uri, content) as file:
        try:
            _refuse_lists(file.read(8))
            file.seek(0)
            with av.open(file) as container:
                yield container
        except Exception:
            _raise_failure(file)
            raise
        _raise_failure(file)


def _refuse_lists(start: bytes | None) -> None:
    if start is not None and start.startswith(_LISTS):
        raise ValueError("a list of other files, no video")


def whole_content(where: Place) -> bytes | None:
    """The content of a remote object that is read whole; None for a local file, and for a larger object.

    Raises:
        StorageError: its storage is away.
        FileNotFoundError: there is no such object.
    """
    if not isinstance(where, RemotePath):
        return None
    reader = ObjectReader(where.uri)
    return reader.read_at(0, reader.size) if reader.size <= WHOLE_BYTES else None


def stamp(name: str) -> tuple[int, int]:
    """Size in bytes and time of change of a file: whether what is known of it still holds."""
    status = place_of(name).stat()
    return status.st_size, status.st_mtime_ns


def _raise_failure(file: RangeFile | _WholeFile) -> None:
    """Demuxers take a failed read for the end of the file: what failed is told all the same."""
    if isinstance(file, RangeFile) and isinstance(file.failure, StorageError):
        raise file.failure
