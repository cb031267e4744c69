"""UCF101: `trainlist01.txt` or `testlist01.txt`, and `classInd.txt` beside it."""

import re
from pathlib import PurePosixPath

from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage.places import Place
from lstcl_platform.video.layouts.listing import Listed, Listing, Source, find_videos, read_text

_LIST = re.compile(r"(?:train|test)list\d+\.txt")
_CLASSES = "classInd.txt"


def is_ucf101(source: Source) -> bool:
    """Whether it is named as an official list of a split."""
    return _LIST.fullmatch(source.path.name) is not None


def list_ucf101(source: Source) -> Listing:
    """Videos of an official list, in its order; classes are numbered by `classInd.txt`, from 0 here.

    Raises:
        UserError: a line is wrong, its number is not that of its class, or no video is here.
    """
    classes_file = source.path.parent / _CLASSES
    if not classes_file.is_file():
        raise UserError(f"{source.path}: {_CLASSES} with UCF101's classes must lie beside it")
    labels = _classes(classes_file)
    named: dict[str, str] = {}
    paths: list[tuple[str, str]] = []
    for line, text in enumerate(read_text(source.path).splitlines(), start=1):
        if not text.strip():
            continue
        path, name = _entry(source.path, line, text, labels)
        key = PurePosixPath(path).with_suffix("").as_posix()
        if key in named:
            raise UserError(f"{source.path}, line {line}: {path} is there twice")
        named[key] = path
        paths.append((key, name))
    root, found = find_videos(named, beside=source.path.parent, videos=source.videos)
    return Listing(
        root=root,
        videos=[Listed(found.get(key, named[key]), labels[name], name) for key, name in paths],
        classes=tuple(labels),
        annotations=(source.path, classes_file),
    )


def _entry(file: Place, line: int, text: str, labels: dict[str, int]) -> tuple[str, str]:
    """Path and class of a line `Class/video.avi [number]`."""
    path, *number = text.split()
    name = path.partition("/")[0]
    if name not in labels or path.count("/") != 1 or len(number) > 1:
        raise UserError(
            f"{file}, line {line}: '{text.strip()}' is wrong; expected a class of {_CLASSES}, /, the video, and in a "
            "training list the class's number"
        )
    if number and number[0] != str(labels[name] + 1):
        raise UserError(
            f"{file}, line {line}: {path} has number {number[0]}, but {name} is {labels[name] + 1} in {_CLASSES}"
        )
    return path, name


def _classes(file: Place) -> dict[str, int]:
    labels: dict[str, int] = {}
    for line, text in enumerate(read_text(file).splitlines(), start=1):
        cells = text.split()
        if cells and (len(cells) != 2 or cells[0] != str(len(labels) + 1) or cells[1] in labels):
            raise UserError(
                f"{file}, line {line}: '{text.strip()}' is wrong; expected {len(labels) + 1} and a new class's name"
            )
        if cells:
            labels[cells[1]] = len(labels)
    return labels
