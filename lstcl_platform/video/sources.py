"""The two ways to say which videos there are: a folder with one folder a class, or a `path,label` CSV."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lstcl_platform.specs.errors import UserError

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "avi", "flv", "gif", "h264", "m2ts", "m4v", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "ogv", "ts", "webm", "wmv"),
    )
)


@dataclass(frozen=True)
class Listed:
    """One video that the source names, before its file is looked at."""

    path: str
    """Relative to the root, with forward slashes; absolute if the CSV says so."""
    label: int
    label_name: str


def list_videos(source: Path) -> tuple[Path, list[Listed]]:
    """Root folder and videos of a folder or CSV, in the order that numbers them.

    Raises:
        UserError: The source is missing, holds no video, or a line of the CSV is wrong (with its number).
    """
    if source.is_dir():
        return source, _list_folder(source)
    if not source.exists():
        raise UserError(
            f"{source}: no such file or folder; expected a folder with one folder a class, or a CSV"
        )
    if source.suffix.lower() not in (".csv", ".txt"):
        raise UserError(
            f"{source}: not a data source; allowed: a folder with one folder a class, a .csv, a .parquet"
        )
    return source.parent, _list_csv(source)


def _list_folder(root: Path) -> list[Listed]:
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
    return [Listed(path, labels[name], name) for path, name in sorted(found)]


def _list_csv(source: Path) -> list[Listed]:
    rows = _read_rows(source)
    if not rows:
        raise UserError(f"{source}: no video listed; expected lines of path,label")
    seen: dict[str, int] = {}
    for line, path, _ in rows:
        if path in seen:
            raise UserError(f"{source}, line {line}: {path} is already listed in line {seen[path]}")
        seen[path] = line
    texts = [label for _, _, label in rows]
    if any(_is_integer(text) for text in texts):
        _refuse_mixed(source, rows)
        return [Listed(path, int(label), str(int(label))) for _, path, label in rows]
    labels = {name: label for label, name in enumerate(sorted(set(texts)))}
    return [Listed(path, labels[name], name) for _, path, name in rows]


def _read_rows(source: Path) -> list[tuple[int, str, str]]:
    """(line, path, label) of every line but the header; named columns may stand anywhere."""
    rows: list[tuple[int, str, str]] = []
    columns = (0, 1)
    try:
        with source.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                lowered = [cell.lower() for cell in cells]
                if not rows and "path" in lowered and "label" in lowered:
                    columns = (lowered.index("path"), lowered.index("label"))
                elif any(cells):
                    rows.append(_parse_row(source, reader.line_num, cells, columns))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{source}: not a CSV in UTF-8: {error}") from error
    return rows


def _parse_row(
    source: Path, line: int, cells: Sequence[str], columns: tuple[int, int]
) -> tuple[int, str, str]:
    if len(cells) <= max(columns):
        raise UserError(f"{source}, line {line}: '{','.join(cells)}' has no label; expected path,label")
    if columns == (0, 1) and len(cells) > 2:
        raise UserError(
            f"{source}, line {line}: {len(cells)} columns; expected path,label (quote a path with commas)"
        )
    path, label = cells[columns[0]], cells[columns[1]]
    if not path:
        raise UserError(f"{source}, line {line}: the path is empty; expected path,label")
    if not label:
        raise UserError(
            f"{source}, line {line}: the label of {path} is empty; allowed: an integer from 0, or a name"
        )
    return line, Path(path).as_posix(), label


def _refuse_mixed(source: Path, rows: Sequence[tuple[int, str, str]]) -> None:
    for line, path, label in rows:
        if not _is_integer(label) or not 0 <= int(label) < 2**31:
            raise UserError(
                f"{source}, line {line}: label '{label}' of {path} is wrong; "
                "allowed: integers from 0 in all lines, or names in all lines"
            )


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
