"""One folder a class: the layout that needs no annotation."""

import os
from pathlib import Path

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered
from lstcl_platform.storage.places import RemotePath
from lstcl_platform.video.layouts.listing import VIDEO_SUFFIXES, Listed, Listing, Source, video_files


def list_folder(source: Source) -> Listing:
    """Videos below a folder, by path; labels in sorted order of the folders' names.

    Raises:
        UserError: there is no video, or one beside the class folders.
    """
    root = source.path
    paths = video_files(root) if isinstance(root, RemotePath) else _local_videos(root)
    found = [(path, path.partition("/")[0]) for path in paths if "/" in path]
    stray = [path for path in paths if "/" not in path]
    if stray:
        raise UserError(
            f"{root}: {numbered(len(stray), 'video')} ({stray[0]}) beside the class folders; "
            "put each into the folder of its class, or list path,label pairs in a CSV"
        )
    if not found:
        raise UserError(
            f"{root}: no video found; expected one folder a class with files ending in "
            f"{', '.join(sorted(VIDEO_SUFFIXES))}"
        )
    names = sorted({name for _, name in found})
    labels = {name: label for label, name in enumerate(names)}
    return Listing(root=root, videos=[Listed(path, labels[name], name) for path, name in sorted(found)])


def _local_videos(root: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(folder).relative_to(root)
        found += [
            (inside / name).as_posix()
            for name in sorted(files)
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    return found
