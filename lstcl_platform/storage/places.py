"""Files and folders as objects with the part of `pathlib.Path` that is used here, local or in an object store."""

import io
import os
import posixpath
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from pyarrow import fs

from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage import files, locations
from lstcl_platform.storage.range_file import RangeFile

_LISTING_THREADS = 16
_SECOND_NS = 10**9


@dataclass(frozen=True)
class ObjectStatus:
    """What `stat` says of an object; named as in `os.stat_result`."""

    st_size: int
    st_mtime_ns: int
    """To the second: stores say more in one kind of answer than in another."""


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder in an object store.

    Attributes:
        uri: `s3://bucket/folder/file`, options of the bucket in its query.
    """

    uri: str

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str | PurePosixPath) -> "RemotePath":
        return RemotePath(locations.join(self.uri, str(name)))

    @property
    def parts(self) -> tuple[str, ...]:
        """Segments of the path inside the bucket."""
        return PurePosixPath(urlsplit(self.uri).path.lstrip("/")).parts

    @property
    def name(self) -> str:
        """Last segment."""
        return locations.parent(self.uri)[1]

    @property
    def stem(self) -> str:
        """Last segment without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """What follows the last dot, with it."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder that holds it."""
        return RemotePath(locations.parent(self.uri)[0])

    def with_name(self, name: str) -> "RemotePath":
        """The same folder, another name."""
        return self.parent / name

    def resolve(self) -> "RemotePath":
        """Itself: a URI is absolute, and stores know no links."""
        return self

    def as_posix(self) -> str:
        """The URI."""
        return self.uri

    def exists(self) -> bool:
        """Whether there is an object or folder of that name."""
        return files.exists(self.uri)

    def is_file(self) -> bool:
        """Whether there is an object of that name."""
        return bool(files.object_info(self.uri).type == fs.FileType.File)

    def is_dir(self) -> bool:
        """Whether there are objects below that name."""
        return bool(files.object_info(self.uri).type == fs.FileType.Directory)

    def stat(self) -> ObjectStatus:
        """Size and time of change; raises FileNotFoundError when there is no such object."""
        info = files.object_info(self.uri)
        if info.type != fs.FileType.File:
            raise FileNotFoundError(f"{self.uri}: no such object")
        return _status(info)

    def read_bytes(self) -> bytes:
        """The whole content."""
        return files.read_bytes(self.uri)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole content as text; a line ends in a newline alone."""
        return self.read_bytes().decode(encoding).replace("\r\n", "\n")

    def open(self, mode: str = "r", *, newline: str | None = None, encoding: str = "utf-8") -> Any:
        """Open for reading: `rb` in ranges, text at once."""
        if mode == "rb":
            return RangeFile(self.uri)
        return io.TextIOWrapper(io.BytesIO(self.read_bytes()), encoding=encoding, newline=newline)

    def files_below(self) -> list[str]:
        """Paths of all objects below the folder, relative to it, sorted."""
        base = "".join(f"{part}/" for part in (urlsplit(self.uri).netloc, *self.parts))
        found = files.list_objects(self.uri, recursive=True)
        return sorted(info.path.removeprefix(base) for info in found if info.type == fs.FileType.File)

    def stat_below(self, paths: Collection[str]) -> dict[str, ObjectStatus]:
        """`stat` of those of many relative paths that exist: one request for 1000 objects of a folder."""
        folders = sorted({posixpath.dirname(path) for path in paths})
        wanted, found = set(paths), {}
        with ThreadPoolExecutor(_LISTING_THREADS) as pool:
            places = [str(self / folder) if folder else self.uri for folder in folders]
            listings = pool.map(lambda place: files.list_objects(place, recursive=False), places)
            for folder, infos in zip(folders, listings, strict=True):
                for info in infos:
                    path = posixpath.join(folder, info.base_name)
                    if info.type == fs.FileType.File and path in wanted:
                        found[path] = _status(info)
        return found


Place: TypeAlias = Path | RemotePath
"""A file or folder, wherever it is."""


def place_of(location: str | Path | RemotePath) -> Place:
    """The file or folder that a path or URI names."""
    if isinstance(location, RemotePath | Path):
        return location
    local = locations.local_path(location) if location.startswith("file://") else None
    return local or (RemotePath(location) if "://" in location else Path(location))


def children(folder: Place, pattern: str) -> list[Place]:
    """What lies in a folder under names that match, sorted; subfolders are not searched."""
    names = [name for name in files.list_names(str(folder)) if fnmatchcase(name, pattern)]
    return [folder / name for name in names]


def stored_root(root: Place, *, folder: Place) -> str:
    """How a file in `folder` names the folder `root`: relative where one holds the other, else absolute."""
    if isinstance(root, Path) and isinstance(folder, Path):
        root, folder = root.resolve(), folder.resolve()
        near = root.is_relative_to(folder) or folder.is_relative_to(root)
        return Path(os.path.relpath(root, folder)).as_posix() if near else root.as_posix()
    if isinstance(root, Path) or isinstance(folder, Path) or _bucket(root) != _bucket(folder):
        return root.resolve().as_posix()
    shorter, longer = sorted((root.parts, folder.parts), key=len)
    if longer[: len(shorter)] != shorter:
        return root.uri
    return posixpath.relpath("/".join(("", *root.parts)), "/".join(("", *folder.parts)))


def root_from(stored: str, *, folder: Place) -> Place:
    """The folder that `stored_root` named."""
    if "://" in stored:
        return RemotePath(stored)
    if isinstance(folder, Path):
        return Path(os.path.normpath(folder / stored))
    if stored.startswith("/"):
        return Path(stored)
    parts = urlsplit(folder.uri)
    path = posixpath.normpath(posixpath.join("/", parts.path, stored))
    return RemotePath(urlunsplit(parts._replace(path=path)).rstrip("/"))


def common_root(uris: Collection[str]) -> tuple[RemotePath, list[str]]:
    """The folder that holds all objects, and their paths below it.

    Raises:
        UserError: they are in several buckets.
    """
    parts = [urlsplit(uri) for uri in uris]
    buckets = sorted({urlunsplit(part._replace(path="")) for part in parts})
    if len(buckets) > 1:
        raise UserError(
            f"videos in several buckets ({buckets[0]}, {buckets[1]}): a manifest holds those of one"
        )
    folder = posixpath.commonpath([posixpath.dirname(part.path) for part in parts])
    root = RemotePath(urlunsplit(parts[0]._replace(path=folder.rstrip("/"))))
    return root, [posixpath.relpath(part.path, folder) for part in parts]


def _bucket(path: RemotePath) -> tuple[str, str, str]:
    parts = urlsplit(path.uri)
    return parts.scheme, parts.netloc, parts.query


def _status(info: Any) -> ObjectStatus:
    return ObjectStatus(int(info.size), int(info.mtime_ns) // _SECOND_NS * _SECOND_NS)
