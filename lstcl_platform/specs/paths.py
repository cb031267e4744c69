"""Writing a value to a dotted path of nested mappings, for `--set` and for the cells of a sweep."""

from typing import Any

from lstcl_platform.specs.base import Spec
from lstcl_platform.specs.fields import blocks_of


def assign(raw: dict[str, Any], path: str, value: Any, *, root: type[Spec]) -> None:
    """Set the field at `path` in `raw`, in place; blocks on the way that are not written yet come into being.

    Raises:
        ValueError: a block on the way is null, or is no block. (Turning a stage on by setting one of its
            fields would surprise, so a null block must be set itself first.)
    """
    node, blocks = raw, [root]
    parts = path.split(".")
    for depth, part in enumerate(parts[:-1]):
        here = ".".join(parts[: depth + 1])
        fields = [block.model_fields[part] for block in blocks if part in block.model_fields]
        missing_is_null = bool(fields) and all(
            not field.is_required() and field.default is None for field in fields
        )
        if part not in node and not missing_is_null:
            node[part] = {}
        inner = node.get(part)
        if inner is None:
            raise ValueError(f"{here} is null here, so {path} cannot be set")
        if not isinstance(inner, dict):
            raise ValueError(f"{here} is not a block of fields, so {path} cannot be set")
        node = inner
        blocks = [block for field in fields for block in blocks_of(field.annotation)]
    node[parts[-1]] = value
