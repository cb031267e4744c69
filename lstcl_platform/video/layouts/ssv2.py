"""Something-Something-V2: a JSON of the split, the JSON of the labels beside it, videos named `<id>`."""

import json
from typing import Any

from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage.places import Place, children
from lstcl_platform.video.layouts.listing import Listed, Listing, Source, find_videos, read_text


def is_ssv2(source: Source) -> bool:
    """Whether it is a JSON."""
    return source.path.suffix.lower() == ".json"


def list_ssv2(source: Source) -> Listing:
    """Videos of an official `train.json` or `validation.json`, in its order.

    An entry's class is its `template` without brackets, numbered by the file whose name ends in `labels.json`. A video
    that is not here is listed as `<id>.webm`, and so becomes a row with a problem.

    Raises:
        UserError: a JSON is wrong, an entry has no template or an unknown one, or no video is here.
    """
    labels_file, labels = _labels(source.path.parent)
    text = read_text(source.path)
    entries = _parse(source.path, text)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{source.path}: expected a list of entries with id, label and template")
    named: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        video, template = (_field(entry, name) for name in ("id", "template"))
        where = f"{source.path}, line {_line(text, video)} (entry {number})"
        name = template.replace("[", "").replace("]", "")
        if not video or not template:
            raise UserError(
                f"{where}: no {'id' if not video else 'template'}; a test set without labels cannot be used here"
            )
        if video in named:
            raise UserError(f"{where}: id {video} is there twice")
        if name not in labels:
            raise UserError(f"{where}: '{name}' is not in {labels_file.name}")
        named[video] = name
    root, found = find_videos(named, beside=source.path.parent, videos=source.videos)
    return Listing(
        root=root,
        videos=[
            Listed(found.get(video, f"{video}.webm"), labels[name], name) for video, name in named.items()
        ],
        classes=tuple(sorted(labels, key=labels.__getitem__)),
        annotations=(source.path, labels_file),
    )


def _labels(folder: Place) -> tuple[Place, dict[str, int]]:
    files = children(folder, "*labels.json")
    if len(files) != 1:
        raise UserError(
            f"{folder}: {len(files)} files are named *labels.json; expected Something-Something-V2's one, with "
            "a number for each class"
        )
    found = _parse(files[0], read_text(files[0]))
    try:
        labels = {str(name): int(number) for name, number in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f'{files[0]}: expected {{"name of a class": "number", ...}}: {error}') from error
    if sorted(labels.values()) != list(range(len(labels))):
        raise UserError(f"{files[0]}: the numbers of {len(labels)} classes must be 0 to {len(labels) - 1}")
    return files[0], labels


def _parse(path: Place, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error


def _field(entry: object, name: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    return str(value) if value is not None else ""


def _line(text: str, video: str) -> int:
    """Line of the (last) entry of a video; 1 if it has no id."""
    return text.count("\n", 0, max(0, text.rfind(f'"{video}"') if video else 0)) + 1
