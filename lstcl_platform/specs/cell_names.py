"""Readable names of cells: ``short=8 long=32 seed=0``; and what the trials of one cell share, whatever their seeds."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_SEED_TOKEN = re.compile(r"(?:[\w.]+\.)?seed=\S+")


def short_labels(paths: Iterable[str]) -> dict[str, str]:
    """Shortest label of each dotted path that tells it from the others: its last parts, `_stride` dropped.

    A block's `kind` goes by the name of the block: ``framework=byol``.
    """
    unique = list(dict.fromkeys(paths))
    depth = dict.fromkeys(unique, 1)
    while True:
        labels = {path: _label(path, depth[path]) for path in unique}
        counts = Counter(labels.values())
        longer = [path for path in unique if counts[labels[path]] > 1 and depth[path] <= path.count(".")]
        if not longer:
            return labels
        for path in longer:
            depth[path] += 1


def _label(path: str, depth: int) -> str:
    parts = path.split(".")
    if depth == 1 and parts[-1] == "kind" and len(parts) > 1:
        return parts[-2]
    return ".".join(parts[-depth:]).removesuffix("_stride")


def cell_name(
    values: Mapping[str, Any], labels: Mapping[str, str], *, case: str | None = None, axes: Iterable[str] = ()
) -> str:
    """Name of a cell.

    Args:
        values: dotted path -> value of every field the cell sets.
        labels: label of each path, from `short_labels`.
        case: the name that the user gave to the case, if any; only `axes` are added to it.
        axes: the fields that tell the cells of one named case apart.
    """
    shown = list(values) if case is None else list(axes)
    parts = [f"{labels[path]}={_text(values[path])}" for path in shown]
    return " ".join(parts if case is None else [case, *parts])


def cell_id(experiment: str, name: str, cell: Mapping[str, Any]) -> tuple[str, str, str]:
    """What the trials of one cell share: all but seeds. The name may already be without them."""
    return experiment, name_without_seeds(name), json.dumps(without_seeds(cell), sort_keys=True)


def without_seeds(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The swept fields of a trial (dotted path -> value) less those named ``seed``."""
    return {path: value for path, value in cell.items() if path.rsplit(".", 1)[-1] != "seed"}


def name_without_seeds(name: str) -> str:
    """Name of the cell that the trial `name` is a seed of."""
    kept = [part for part in name.split(" ") if not _SEED_TOKEN.fullmatch(part)]
    return " ".join(kept) or "all settings as given"


def _text(value: Any) -> str:
    if isinstance(value, dict) and "kind" in value:
        rest = {key: inner for key, inner in value.items() if key != "kind"}
        return _text(value["kind"]) + (_text(rest) if rest else "")
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(inner) for inner in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and "/" in value:
        # A data path: its end says which it is, and the same experiment has the same names on every machine.
        return "/".join(value.rstrip("/").split("/")[-2:])
    return str(value)
