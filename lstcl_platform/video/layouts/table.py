"""A CSV of `path,label`."""

import csv
from collections.abc import Sequence
from pathlib import Path

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered
from lstcl_platform.storage.places import Place
from lstcl_platform.video.layouts.listing import Listed, Listing, Source


def list_table(where: Source) -> Listing:
    """Videos of a `path,label` CSV, with or without header, in the order of its lines.

    Paths are relative to the CSV. Labels are integers from 0, or names, numbered in sorted order.

    Raises:
        UserError: a line is wrong.
    """
    source = where.path
    return Listing(
        root=where.videos or source.parent,
        videos=_list_rows(source, _read_rows(source)),
        annotations=(source,),
    )


def _list_rows(source: Place, rows: Sequence[tuple[int, str, str]]) -> list[Listed]:
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


def _read_rows(source: Place) -> list[tuple[int, str, str]]:
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
    source: Place, line: int, cells: Sequence[str], columns: tuple[int, int]
) -> tuple[int, str, str]:
    if len(cells) <= max(columns):
        raise UserError(f"{source}, line {line}: '{','.join(cells)}' has no label; expected path,label")
    if columns == (0, 1) and len(cells) > 2:
        raise UserError(
            f"{source}, line {line}: {numbered(len(cells), 'column')}; expected path,label (quote a path with commas)"
        )
    path, label = cells[columns[0]], cells[columns[1]]
    if not path:
        raise UserError(f"{source}, line {line}: the path is empty; expected path,label")
    if not label:
        raise UserError(
            f"{source}, line {line}: the label of {path} is empty; allowed: an integer from 0, or a name"
        )
    return line, path if "://" in path else Path(path).as_posix(), label


def _refuse_mixed(source: Place, rows: Sequence[tuple[int, str, str]]) -> None:
    for line, path, label in rows:
        if not _is_integer(label) or not 0 <= int(label) < 2**31:
            raise UserError(
                f"{source}, line {line}: label '{label}' of {path} is wrong; "
                "allowed: integers from 0 in all lines, or names in all lines"
            )


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
