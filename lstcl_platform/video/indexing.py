"""From a source to a manifest, reading only the files that changed since the last time."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage.places import ObjectStatus, Place, RemotePath, place_of
from lstcl_platform.video.layouts.listing import Listed, Listing, enclosed
from lstcl_platform.video.manifest import Manifest, VideoRow
from lstcl_platform.video.sources import list_videos

_THREADS = min(8, os.cpu_count() or 1)
_REMOTE_THREADS = 16
"""Most of the time they wait for an object."""

Progress = Callable[[int, int], None]
"""Told (videos done, videos in all) after every video."""


def index_videos(
    source: str | Place,
    *,
    videos: Place | None = None,
    previous: Manifest | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Index every video of a source; a damaged file becomes a row with a `problem`, never an error.

    All packets of a file are demuxed (frames, rate, duration), its first frame is decoded (size, rotation)
    and its content is hashed. Damage further inside shows only when a sample is decoded.

    Args:
        source: Folder with one folder a class, CSV, or annotation of a published dataset (`video.sources`).
        videos: Folder of the videos of an annotation, where they do not lie near it.
        previous: Manifest of the same source; files of equal size and modification time are not read again.
        progress: Called after every video.

    Raises:
        UserError: The source is missing, names no video, or a line of it is wrong.
    """
    listing = enclosed(list_videos(source, videos=videos))
    known = {} if previous is None else {row.path: row for row in _rows(previous)}
    status = _statuses(listing.root, [video.path for video in listing.videos])
    known = {path: row for path, row in known.items() if _unchanged(status(path), row)}
    jobs = [(listing.root / video.path, known.get(video.path)) for video in listing.videos]
    found: list[dict[str, object]] = []
    with ThreadPoolExecutor(_threads(listing.root)) as pool:
        for facts in pool.map(lambda job: _facts(*job), jobs):
            found.append(facts)
            if progress is not None:
                progress(len(found), len(jobs))
    return manifest_of(listing, found)


def list_source(source: str | Place, *, videos: Place | None = None) -> Listing:
    """Videos of a folder, annotation or manifest Parquet, in the order that numbers them.

    Raises:
        UserError: As `list_videos` and `Manifest.load`.
    """
    source = place_of(source)
    if source.suffix.lower() != ".parquet":
        return enclosed(list_videos(source, videos=videos))
    if videos is not None:
        raise UserError(f"{source}: a manifest knows the folder of its videos; leave {videos} out")
    manifest = Manifest.load(source)
    return Listing(
        root=manifest.root,
        videos=[Listed(row.path, row.label, row.label_name) for row in _rows(manifest)],
        classes=manifest.stated_classes,
        published=manifest.published,
        annotations=(source,),
    )


def manifest_of(listing: Listing, found: Sequence[dict[str, object]]) -> Manifest:
    """Manifest of videos and the fields of the `Probe` of each."""
    pairs = zip(listing.videos, found, strict=True)
    rows = [_row(number, video, facts) for number, (video, facts) in enumerate(pairs)]
    return Manifest.from_rows(
        rows, root=listing.root, stated_classes=listing.classes, published=listing.published
    )


def open_manifest(source: str | Place, *, cache_dir: str | Place) -> Manifest:
    """Manifest of a folder, annotation or manifest Parquet, indexed at most once.

    That of a folder or annotation is kept in `cache_dir` and checked by listing the files and comparing sizes
    and modification times. The files of a Parquet are checked for presence and size only (copying a dataset
    changes modification times); a row that fails gets a `problem`.

    Raises:
        UserError: As `index_videos` and `Manifest.load`.
    """
    source = place_of(source)
    known = known_manifest(source, cache_dir=cache_dir)
    if known is not None:
        return known
    cached = manifest_cache(source, cache_dir=cache_dir)
    manifest = index_videos(source, previous=_load_if_readable(cached))
    manifest.save(cached)
    return manifest


def known_manifest(source: str | Place, *, cache_dir: str | Place) -> Manifest | None:
    """The manifest that `open_manifest` would find without reading a video, or None if it would have to.

    Raises:
        UserError: As `index_videos` and `Manifest.load`.
    """
    source = place_of(source)
    if source.suffix.lower() == ".parquet":
        return _check_files(Manifest.load(source))
    listing = enclosed(list_videos(source))
    previous = _load_if_readable(manifest_cache(source, cache_dir=cache_dir))
    if previous is None:
        return None
    moved = replace(previous, root=listing.root)
    return moved if _is_current(moved, listing) else None


def manifest_cache(source: str | Place, *, cache_dir: str | Place) -> Place:
    """Where `open_manifest` keeps the manifest of a folder or annotation."""
    name = hashlib.sha256(place_of(source).resolve().as_posix().encode()).hexdigest()[:16]
    return place_of(cache_dir) / f"{name}.parquet"


def _load_if_readable(path: Place) -> Manifest | None:
    if path.exists():
        with suppress(UserError):
            return Manifest.load(path)
    return None


def _facts(path: Place, known: VideoRow | None) -> dict[str, object]:
    """Facts of one file by name: those that are known of it, if any."""
    if known is not None:
        return asdict(known)
    from lstcl_platform.video.probe import probe

    return asdict(probe(path))


def _row(number: int, video: Listed, facts: dict[str, object]) -> VideoRow:
    named = {"row": number, "path": video.path, "label": video.label, "label_name": video.label_name}
    return VideoRow(**{**facts, **named})  # type: ignore[arg-type]  # the two dataclasses share field names


def _rows(manifest: Manifest) -> Iterator[VideoRow]:
    for number, values in enumerate(manifest.table.to_pylist()):
        yield VideoRow(row=number, **values)


def _statuses(root: Place, paths: Collection[str]) -> Callable[[str], os.stat_result | ObjectStatus | None]:
    """What tells the size and time of change of a file by its path, None if it is not there; objects are listed."""
    if isinstance(root, RemotePath):
        return root.stat_below(paths).get

    def local(path: str) -> os.stat_result | None:
        try:
            return (root / path).stat()
        except OSError:
            return None

    return local


def _threads(root: Place) -> int:
    return _THREADS if isinstance(root, Path) else _REMOTE_THREADS


def _unchanged(status: os.stat_result | ObjectStatus | None, known: VideoRow) -> bool:
    if status is None:
        return False
    return (status.st_size, status.st_mtime_ns) == (known.size_bytes, known.modified_ns)


def _is_current(manifest: Manifest, listing: Listing) -> bool:
    if (manifest.stated_classes, manifest.published) != (listing.classes, listing.published):
        return False
    columns = (manifest.table[name].to_pylist() for name in ("path", "label", "label_name"))
    if [tuple(row) for row in zip(*columns, strict=True)] != [
        (v.path, v.label, v.label_name) for v in listing.videos
    ]:
        return False
    rows = list(_rows(manifest))
    status = _statuses(manifest.root, [row.path for row in rows])
    return all(_unchanged(status(row.path), row) for row in rows)


def _check_files(manifest: Manifest) -> Manifest:
    rows = list(_rows(manifest))
    root = manifest.root
    if isinstance(root, RemotePath):
        found = root.stat_below([row.path for row in rows])
        problems = [row.problem or _size_problem(found.get(row.path), row) for row in rows]
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            problems = list(pool.map(lambda row: row.problem or _file_problem(root / row.path, row), rows))
    if problems == [row.problem for row in rows]:
        return manifest
    checked = [replace(row, problem=problem) for row, problem in zip(rows, problems, strict=True)]
    table = Manifest.from_rows(checked, root=manifest.root).table
    return replace(manifest, table=table)


def _file_problem(path: Path, row: VideoRow) -> str | None:
    try:
        return _size_problem(path.stat(), row)
    except FileNotFoundError:
        return _size_problem(None, row)
    except OSError as error:
        return f"unreadable: {error.strerror or error}"


def _size_problem(status: os.stat_result | ObjectStatus | None, row: VideoRow) -> str | None:
    if status is None:
        return "missing: no such file"
    size = status.st_size
    if size != row.size_bytes:
        return f"changed since it was indexed: {size} bytes, then {row.size_bytes}; index the data again"
    return None
