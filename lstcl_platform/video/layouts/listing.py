"""What a layout makes of a source: videos with labels, and where the files are."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.storage.places import Place, RemotePath, common_root

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "avi", "flv", "gif", "h264", "m2ts", "m4v", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "ogv", "ts", "webm", "wmv"),
    )
)

_DEPTH = 3
"""Folders that videos may lie below the searched one: `k400/videos/train/abseiling/x.mp4`."""


@dataclass(frozen=True)
class Listed:
    """One video that the source names, before its file is looked at."""

    path: str
    """Relative to the root, with forward slashes; absolute or outside it if the CSV says so, until `enclosed`."""
    label: int
    label_name: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a dataset is said to be.

    Attributes:
        path: folder or annotation file.
        part: what follows `#`: the split that is meant, where an annotation holds several.
        videos: folder of the videos, where it is not to be found from `path`.
    """

    path: Place
    part: str | None = None
    videos: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The videos of a source, in the order that numbers them.

    Attributes:
        root: folder that the paths are relative to.
        videos: those that shall be there; of a Kinetics set, those that are.
        classes: names of the labels from 0 on, where the layout says more than the videos' own labels do.
        published: videos that the annotation lists, for sets of which some are no longer to be had.
        annotations: files that say so; none for a folder.
    """

    root: Place
    videos: list[Listed]
    classes: tuple[str, ...] | None = None
    published: int | None = None
    annotations: tuple[Place, ...] = ()


def enclosed(listing: Listing) -> Listing:
    """`listing` with all paths below its root, which becomes the folder that holds every video where it was not."""
    uris = [video.path for video in listing.videos if "://" in video.path]
    if uris:
        if len(uris) < len(listing.videos):
            raise UserError(
                f"{listing.root}: some videos are URIs ({uris[0]}), others are paths: write all alike"
            )
        remote, inside = common_root(uris)
        named = [replace(video, path=path) for video, path in zip(listing.videos, inside, strict=True)]
        return replace(listing, root=remote, videos=named)
    paths = [PurePosixPath(video.path) for video in listing.videos]
    if not any(path.is_absolute() or ".." in path.parts for path in paths):
        return listing
    if isinstance(listing.root, RemotePath):
        raise UserError(
            f"{listing.root}: names videos outside of it by path; write paths below it, or URIs of them all"
        )
    files = [os.path.normpath(listing.root.absolute() / path) for path in paths]
    root = os.path.commonpath([os.path.dirname(file) for file in files])
    videos = [
        replace(video, path=Path(os.path.relpath(file, root)).as_posix())
        for video, file in zip(listing.videos, files, strict=True)
    ]
    return replace(listing, root=Path(root), videos=videos)


def find_videos(
    names: Collection[str], *, beside: Place, videos: Place | None
) -> tuple[Place, dict[str, str]]:
    """Look for video files by name, whatever their suffix: prepared copies have another one.

    Args:
        names: path of each without suffix; it must be the end of the file's path.
        beside: folder of the annotation; the folder above it is searched where it holds none of the videos.
        videos: the one folder to search instead.

    Returns:
        The folder, and for each name that was found its path below the folder.

    Raises:
        UserError: none is there, or one is there twice.
    """
    if videos is not None and not videos.is_dir():
        raise UserError(f"{videos}: no such folder of videos")
    folders = [beside, beside.resolve().parent] if videos is None else [videos]
    parts = max((name.count("/") + 1 for name in names), default=1)
    wanted = set(names)
    for folder in folders:
        found: dict[str, str] = {}
        for path in _files(folder):
            name = "/".join(PurePosixPath(path).with_suffix("").parts[-parts:])
            if name not in wanted:
                continue
            if name in found:
                raise UserError(
                    f"{folder}: {found[name]} and {path} are the same video; name the folder of one of them "
                    "with `lstcl-platform data index --videos FOLDER`"
                )
            found[name] = path
        if found:
            return folder, found
    searched = " and ".join(map(str, folders))
    raise UserError(
        f"{beside}: none of the {len(wanted)} videos of the annotation is in {searched} or up to {_DEPTH} folders "
        f"below (the first would be {min(wanted, default='')}.mp4); name their folder with `lstcl-platform data "
        "index --videos FOLDER`, and then the manifest that it writes"
    )


def _files(root: Place) -> Iterator[str]:
    if isinstance(root, RemotePath):
        yield from (path for path in video_files(root) if path.count("/") <= _DEPTH)
        return
    for folder, folders, files in os.walk(root, followlinks=True):
        inside = Path(folder).relative_to(root)
        deeper = len(inside.parts) < _DEPTH
        folders[:] = sorted(name for name in folders if deeper and not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield (inside / name).as_posix()


def video_files(root: RemotePath) -> list[str]:
    """Relative paths of all objects below a folder that are videos by their name, sorted; hidden ones left out."""
    return [
        path
        for path in root.files_below()
        if PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES
        and not any(part.startswith(".") for part in path.split("/"))
    ]


def read_text(path: Place) -> str:
    """Content of an annotation.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except StorageError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text in UTF-8: {error}") from error
