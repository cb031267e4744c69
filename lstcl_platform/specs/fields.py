"""Looking up spec fields by dotted path: which exist, of what type, and what is allowed there."""

import json
import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lstcl_platform.specs.base import Spec
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.problems import did_you_mean


def blocks_of(annotation: Any) -> list[type[Spec]]:
    """The spec classes a field, or each item of its list or map, may hold: several for a union told apart by `kind`."""
    origin = get_origin(annotation)
    if origin in (Annotated, list, tuple):
        return blocks_of(get_args(annotation)[0])
    if origin is dict:
        return blocks_of(get_args(annotation)[1])
    if origin in (Union, types.UnionType):
        return [block for member in get_args(annotation) for block in blocks_of(member)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Spec) else []


def is_list(field: FieldInfo) -> bool:
    """Whether the field's own value is always a list (or null), such as the two ends of a range."""
    is_union = get_origin(field.annotation) in (Union, types.UnionType)
    members = get_args(field.annotation) if is_union else (field.annotation,)
    return all(get_origin(kind) in (list, tuple) for kind in members if kind is not type(None))


def takes(path: str, value: Any) -> bool:
    """Whether the field at the dotted path `path` of a trial may have the plain value `value`.

    Raises:
        LookupError: no such field.
    """
    adapter = TypeAdapter[Any](find_field(path).rebuild_annotation())
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


def names_of(blocks: list[type[Spec]]) -> list[str]:
    """Field names of `blocks` together, in order."""
    return list(dict.fromkeys(name for block in blocks for name in block.model_fields))


def find_field(path: str, root: type[Spec] = TrialSpec) -> FieldInfo:
    """Field at a dotted path such as ``pretrain.clips.long_stride``.

    Raises:
        LookupError: no such field; the text says what is allowed there and the nearest valid path.
    """
    blocks, field = [root], None
    parts = path.split(".")
    for depth, part in enumerate(parts):
        known = names_of(blocks)
        candidates = [block.model_fields[part] for block in blocks if part in block.model_fields]
        if not candidates:
            before = ".".join(parts[:depth])
            if not known:
                raise LookupError(f"unknown field: {before} is not a block of fields")
            raise LookupError(unknown_field(part, known, root=root, prefix=before))
        field = candidates[0]
        blocks = [block for candidate in candidates for block in blocks_of(candidate.annotation)]
    if field is None:
        raise LookupError("unknown field: the path is empty")
    return field


def unknown_field(
    name: str, known: list[str], *, root: type[Spec], prefix: str = "", kinds: Sequence[str] = ()
) -> str:
    """Message for a name that is not among `known`: the nearest one, or who does have it.

    `kinds` are those other kinds of the block that have the name.
    """
    hint = did_you_mean(name, known)
    if kinds:
        hint = f"; it belongs to kind {' or '.join(kinds)}"
    elif not hint:
        tail = "." + name.rpartition(".")[2]
        elsewhere = [path for path in _all_paths(root) if path.endswith(tail)]
        hint = f"; did you mean {' or '.join(repr(path) for path in elsewhere)}?" if elsewhere else ""
    where = f" in {prefix}" if prefix else ""
    return f"unknown field{hint} (allowed{where}: {', '.join(known)})"


@cache
def _all_paths(root: type[Spec]) -> tuple[str, ...]:
    return tuple(field_paths(root))


def field_paths(root: type[Spec] = TrialSpec) -> Iterator[str]:
    """Dotted paths of all fields under `root`, blocks included."""
    for name, field in root.model_fields.items():
        yield name
        below = {path: None for block in blocks_of(field.annotation) for path in field_paths(block)}
        yield from (f"{name}.{path}" for path in below)
