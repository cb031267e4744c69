"""One folder a class: the layout that needs no annotation."""

import os
from pathlib import Path

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.layouts.listing import VIDEO_SUFFIXES, Listed, Listing, Source


def list_folder(source: Source) -> Listing:
    """Videos below a folder, by path; labels in sorted order of the folders' names.

    Raises:
        UserError: there is no video, or one beside the class folders.
    """
    root = source.path
    found: list[tuple[str, str]] = []
    stray: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(folder).relative_to(root)
        for name in sorted(files):
            if name.startswith(".") or Path(name).suffix.lower() not in VIDEO_SUFFIXES:
                continue
            if inside.parts:
                found.append(((inside / name).as_posix(), inside.parts[0]))
            else:
                stray.append(name)
    if stray:
        raise UserError(
            f"{root}: {len(stray)} videos ({stray[0]}) lie beside the class folders; "
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
