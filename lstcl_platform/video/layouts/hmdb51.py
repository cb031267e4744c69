"""HMDB51: a folder of `<class>_test_split<n>.txt`, each line a video and 1 (train), 2 (test) or 0 (neither)."""

import re
from pathlib import PurePosixPath

from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage.places import Place, children
from lstcl_platform.video.layouts.listing import Listed, Listing, Source, find_videos, read_text

_FILES = re.compile(r"(?P<name>.+)_test_split(?P<split>\d)\.txt")
_CODES = {"train": "1", "test": "2"}


def is_hmdb51(source: Source) -> bool:
    """Whether it is a folder of official split files."""
    return source.path.is_dir() and any(
        _FILES.fullmatch(path.name) for path in children(source.path, "*_split*.txt")
    )


def list_hmdb51(source: Source) -> Listing:
    """Videos of one part of one split, by class; the folder is named with the part, as in `splits#train1`.

    Raises:
        UserError: no such part, a line is wrong, or no video is here.
    """
    files = [(path, _FILES.fullmatch(path.name)) for path in children(source.path, "*")]
    found = [(path, match["name"], match["split"]) for path, match in files if match]
    parts = [f"{name}{split}" for split in sorted({split for _, _, split in found}) for name in _CODES]
    if source.part not in parts:
        said = f"#{source.part}: no such part" if source.part else ": holds several splits; say which"
        raise UserError(
            f"{source.path}{said}; allowed: {', '.join(f'{source.path.name}#{part}' for part in parts)}"
        )
    code, split = _CODES[source.part[:-1]], source.part[-1]
    classes = tuple(sorted({name for _, name, number in found if number == split}))
    named: dict[str, tuple[str, str]] = {}
    for path, name, number in found:
        if number == split:
            for video in _chosen(path, code):
                named[PurePosixPath(name, video).with_suffix("").as_posix()] = (f"{name}/{video}", name)
    root, paths = find_videos(named, beside=source.path, videos=source.videos)
    labels = {name: label for label, name in enumerate(classes)}
    return Listing(
        root=root,
        videos=[Listed(paths.get(key, path), labels[name], name) for key, (path, name) in named.items()],
        classes=classes,
        annotations=tuple(path for path, _, _ in found),
    )


def _chosen(file: Place, code: str) -> list[str]:
    """Videos of a split file that have the code."""
    videos: list[str] = []
    for line, text in enumerate(read_text(file).splitlines(), start=1):
        if not text.strip():
            continue
        video, _, found = text.strip().rpartition(" ")
        if not video or found not in ("0", "1", "2"):
            raise UserError(
                f"{file}, line {line}: '{text.strip()}' is wrong; expected a video and 0 (neither), "
                "1 (train) or 2 (test)"
            )
        if found == code:
            if video.strip() in videos:
                raise UserError(f"{file}, line {line}: {video.strip()} is there twice")
            videos.append(video.strip())
    return videos
