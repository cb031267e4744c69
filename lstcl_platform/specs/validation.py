"""Plain values -> a spec, with every mistake told at once and in the user's words."""

import copy
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lstcl_platform.specs.base import DEFER_RELATIONS, Spec, all_broken_relations
from lstcl_platform.specs.fields import blocks_of, names_of, unknown_field
from lstcl_platform.specs.problems import Path, Problem, did_you_mean, dotted

S = TypeVar("S", bound=Spec)

_REQUIREMENTS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "model_type": "a block of fields",
    "model_attributes_type": "a block of fields",
    "dict_type": "a block of fields",
    "list_type": "a list",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "too_short": "a list of at least {min_length} values",
    "too_long": "a list of at most {max_length} values",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "text of at most {max_length} characters",
}
"""Pydantic error type -> what the field must be."""
_SHOWN = 80
"""Characters of a wrong text that a message repeats."""


def validate_fields(model: type[S], raw: Mapping[str, Any]) -> tuple[S | None, list[Problem]]:
    """Check names, types and ranges of every field; rules between fields are left to the caller.

    The values go through JSON, in which a list stands for a tuple while `"3"` and `true` are no numbers.

    Returns:
        The spec, or None where there are problems; and the problems.
    """
    try:
        return model.model_validate_json(json.dumps(raw), context=DEFER_RELATIONS), []
    except ValidationError as error:
        return None, _explain(error, model, raw)


def broken_rules(spec: Spec) -> list[Problem]:
    """The rules between fields that `spec` breaks, in all its blocks."""
    return [
        Problem(path=block, text=rule.text, about=tuple((*block, *name.split(".")) for name in rule.fields))
        for block, rule in all_broken_relations(spec)
    ]


def written(spec: Spec) -> dict[str, Any]:
    """The fields of `spec` that were given rather than filled in, as nested plain values.

    `kind` is always among them, since without it a block would be read as another member of its union.
    """
    result: dict[str, Any] = {}
    for name in type(spec).model_fields:
        if name in spec.model_fields_set or name == "kind":
            value = getattr(spec, name)
            result[name] = written(value) if isinstance(value, Spec) else json.loads(json.dumps(value))
    return result


def without(raw: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Copy of `raw` in which each field that has a problem is left to its default."""
    result = copy.deepcopy(dict(raw))
    for problem in problems:
        node: Any = result
        for position, part in enumerate(problem.path):
            last = position + 1 == len(problem.path)
            inside_list = not last and isinstance(problem.path[position + 1], int)
            if not isinstance(node, dict) or part not in node:
                break
            if last or inside_list:
                del node[part]
                break
            node = node[part]
    return result


def _explain(error: ValidationError, model: type[Spec], raw: Mapping[str, Any]) -> list[Problem]:
    """One problem a field; the branches of a union (`number or 'auto'`) are told as one."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_path.setdefault(_written_path(detail, raw), []).append(detail)
    return [Problem(path=path, text=_text(details, path, model, raw)) for path, details in by_path.items()]


def _written_path(detail: ErrorDetails, raw: Mapping[str, Any]) -> Path:
    """Path of the error in the file: pydantic's own, less the names of union branches."""
    node: Any = raw
    path: list[str | int] = []
    for position, part in enumerate(detail["loc"]):
        written = (
            part in node if isinstance(node, dict) else isinstance(node, list) and part in range(len(node))
        )
        if written:
            path.append(part)
            node = node[part]
        elif detail["type"] == "missing" and position + 1 == len(detail["loc"]) and isinstance(part, str):
            path.append(part)
    return tuple(path)


def _text(details: list[ErrorDetails], path: Path, model: type[Spec], raw: Mapping[str, Any]) -> str:
    first = details[0]
    context: dict[str, Any] = dict(first.get("ctx", {}))
    if first["type"] == "extra_forbidden":
        blocks, of_other_kinds = _blocks_at(model, path[:-1], raw)
        kinds = [
            str(block.model_fields["kind"].default)
            for block in of_other_kinds
            if path[-1] in block.model_fields
        ]
        name, where = str(path[-1]), dotted(path[:-1])
        return unknown_field(name, names_of(blocks), root=model, prefix=where, kinds=kinds)
    if first["type"] == "missing" and isinstance(first["loc"][-1], str):
        return "required, but missing"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_kind(first, context)
    if first["type"] == "missing":
        needed = len({detail["loc"] for detail in details}) + len(_value_at(raw, path))
        return f"must be a list of {needed} values, not {_shown(_value_at(raw, path))}"
    phrases = []
    for detail in details:
        wanted = _REQUIREMENTS.get(detail["type"])
        if wanted is None:
            return detail["msg"][:1].lower() + detail["msg"][1:]
        bounds = detail.get("ctx", {}).items()
        phrases.append(wanted.format_map({key: f"{x:g}" if isinstance(x, float) else x for key, x in bounds}))
    value = _value_at(raw, path)
    options = [name for detail in details for name in _quoted(detail)]
    return f"must be {' or '.join(dict.fromkeys(phrases))}, not {_shown(value)}{did_you_mean(value, options)}"


def _wrong_kind(detail: ErrorDetails, context: dict[str, Any]) -> str:
    if detail["type"] == "union_tag_not_found":
        return "required field 'kind' is missing"
    tag, tags = context["tag"], re.findall(r"'([^']*)'", str(context["expected_tags"]))
    return f"kind must be one of {', '.join(tags)}, not {_shown(tag)}{did_you_mean(tag, tags)}"


def _quoted(detail: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))


def _blocks_at(
    model: type[Spec], path: Path, raw: Mapping[str, Any]
) -> tuple[list[type[Spec]], list[type[Spec]]]:
    """Spec classes that the block at `path` may be, and those it is not; its `kind`, written or the default's,
    decides between several."""
    blocks: list[type[Spec]] = [model]
    node: Any = raw
    default = None
    for part in path:
        node = node[part]
        fields = [block.model_fields[str(part)] for block in blocks if part in block.model_fields]
        if not fields:  # an item of a list or of a map of blocks
            continue
        blocks = [block for field in fields for block in blocks_of(field.annotation)]
        default = getattr(fields[0].default, "kind", None)
    kind = node.get("kind", default)
    chosen = [
        block
        for block in blocks
        if "kind" in block.model_fields and block.model_fields["kind"].default == kind
    ]
    return (chosen, [block for block in blocks if block not in chosen]) if chosen else (blocks, [])


def _value_at(raw: Mapping[str, Any], path: Path) -> Any:
    node: Any = raw
    for part in path:
        node = node[part]
    return node


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the text '{value if len(value) <= _SHOWN else f'{value[:_SHOWN]}...'}'"
    if isinstance(value, dict):
        return "a block of fields"
    return f"a list of {len(value)}" if isinstance(value, list) else json.dumps(value)
