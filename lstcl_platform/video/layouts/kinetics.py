"""Kinetics-400, -600 and -700: the official CSV, and videos named `<youtube id>_<start>_<end>`.

Many of the published videos are gone from YouTube. Those that are not here have no row in the manifest: they are
counted, but they are not damage.
"""

import csv
import io
from dataclasses import dataclass

from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage.places import Place
from lstcl_platform.video.layouts.listing import Listed, Listing, Source, find_videos, read_text

_NAMING = ("youtube_id", "time_start", "time_end")


@dataclass(frozen=True)
class _Row:
    line: int
    name: str
    label: str
    split: str


def is_kinetics(source: Source) -> bool:
    """Whether the first line of a CSV names YouTube clips."""
    if source.path.suffix.lower() != ".csv":
        return False
    with source.path.open("rb") as stream:
        first = stream.readline(1000).decode("utf-8-sig", errors="replace").lower()
    return all(name in first for name in _NAMING)


def list_kinetics(source: Source) -> Listing:
    """Videos of an official CSV (label,youtube_id,time_start,time_end,split) that are here, in its order.

    A video is `<youtube_id>_<time_start>_<time_end>`, times in seconds of six digits, with any suffix, in class
    folders or not. Labels are the sorted names of all lines, so that they do not depend on which videos are here.

    Raises:
        UserError: a line is wrong or there twice, the CSV has several splits and none is chosen, or no video is here.
    """
    rows = _read(source.path)
    chosen = _choose(source, rows)
    seen: dict[str, int] = {}
    for row in chosen:
        if row.name in seen:
            raise UserError(f"{source.path}, line {row.line}: {row.name} is already in line {seen[row.name]}")
        seen[row.name] = row.line
    classes = tuple(sorted({row.label for row in rows}))
    root, found = find_videos(seen, beside=source.path.parent, videos=source.videos)
    labels = {name: label for label, name in enumerate(classes)}
    here = [Listed(found[row.name], labels[row.label], row.label) for row in chosen if row.name in found]
    return Listing(root=root, videos=here, classes=classes, published=len(chosen), annotations=(source.path,))


def _read(path: Place) -> list[_Row]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    names = {name: (name or "").strip().lower() for name in reader.fieldnames or ()}
    if "label" not in names.values():
        raise UserError(
            f"{path}, line 1: no column 'label': a Kinetics test set without labels can be neither trained nor "
            "tested on; its videos in a folder or a path,label CSV can be pretrained on"
        )
    rows = []
    for cells in reader:
        row = {
            names[name]: value.strip()
            for name, value in cells.items()
            if isinstance(value, str) and name in names
        }
        rows.append(_row(path, reader.line_num, row))
    if not rows:
        raise UserError(
            f"{path}: no video listed; expected lines of label,youtube_id,time_start,time_end,split"
        )
    return rows


def _row(path: Place, line: int, row: dict[str, str]) -> _Row:
    empty = [name for name in ("label", *_NAMING) if not row.get(name)]
    if empty:
        raise UserError(f"{path}, line {line}: {', '.join(empty)} is empty")
    try:
        start, end = (int(float(row[name])) for name in ("time_start", "time_end"))
    except ValueError as error:
        raise UserError(
            f"{path}, line {line}: time_start '{row['time_start']}' and time_end '{row['time_end']}' must be seconds"
        ) from error
    return _Row(line, f"{row['youtube_id']}_{start:06d}_{end:06d}", row["label"], row.get("split", ""))


def _choose(source: Source, rows: list[_Row]) -> list[_Row]:
    splits = sorted({row.split for row in rows})
    if source.part is None:
        if len(splits) > 1:
            raise UserError(
                f"{source.path}: holds the splits {', '.join(splits)}; say which: {source.path.name}#{splits[-1]}"
            )
        return rows
    if source.part not in splits:
        raise UserError(f"{source.path}#{source.part}: no such split; allowed: {', '.join(splits)}")
    return [row for row in rows if row.split == source.part]
