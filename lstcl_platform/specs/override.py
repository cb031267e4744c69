"""An override file: one set of changes for many experiments, such as all of a study at toy size.

It is written like an experiment file, of which it may hold any part: blocks merge with the experiment's, anything
else takes the place of what the experiment says. A sweep goes on setting what it sets. `replace` reaches those
fields too: it names values, and what stands for them wherever the experiment writes them, its sweep included::

    pretrain: {epochs: 2}
    replace:
      model.name: {st_swin_base: st_swin_micro}
      model.init: {"*": null}     # whatever it is
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lstcl_platform.specs.fields import find_field, takes
from lstcl_platform.specs.problems import Path, Problem, refuse
from lstcl_platform.specs.yaml_source import YamlSource, parse_value

REPLACE = "replace"
ANY = "*"
"""Stands in a table of `replace` for every value that is not null and has no entry of its own."""


@dataclass(kw_only=True)
class Overlaid:
    """An experiment's values with an override file over them.

    Attributes:
        values: the merged values.
        lines: path in `values` -> line of the override file that it comes from.
        problems: what of the override file makes no sense.
    """

    values: dict[str, Any]
    lines: dict[Path, int]
    problems: list[Problem] = field(default_factory=list)


def lay_over(values: Mapping[str, Any], override: YamlSource) -> Overlaid:
    """Put `override` over the values of an experiment file.

    Raises:
        UserError: the override file has duplicate keys, empty values or the like.
    """
    if override.problems:
        raise refuse(
            override.problems,
            title=override.name,
            where=lambda problem: f"{override.name}:{problem.line or override.line(problem.path) or 1}",
        )
    laid = Overlaid(values=copy.deepcopy(dict(values)), lines=dict(override.lines))
    fields = {name: value for name, value in override.value.items() if name != REPLACE}
    laid.problems += _merge(laid.values, fields, ())
    tables = override.value.get(REPLACE, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        text = "must give for each field the values to replace, as `model.name: {old: new}`"
        laid.problems.append(Problem(path=(REPLACE,), text=text))
        return laid
    for path, table in tables.items():
        problems = list(_table_problems(path, table))
        laid.problems += problems
        if not problems:
            _replace(laid, path, table)
    return laid


def _merge(values: dict[str, Any], over: Mapping[str, Any], prefix: Path) -> Iterator[Problem]:
    """Put `over` into `values`, in place."""
    for name, value in over.items():
        here = (*prefix, name)
        before = values.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            yield from _merge(before, value, here)
        elif isinstance(value, dict) and name in values and before is None:
            # As with --set: turning a stage on by setting one of its fields would surprise.
            yield Problem(path=here, text="is null in the experiment, so its fields cannot be set")
        else:
            values[name] = copy.deepcopy(value)


def _table_problems(path: str, table: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        find_field(path)
    except LookupError as error:
        yield Problem(path=(REPLACE, path), text=str(error.args[0]))
        return
    for old in table:
        if old != ANY and not takes(path, parse_value(old)):
            yield Problem(
                path=(REPLACE, path, old), text=f"{path} can never be {json.dumps(parse_value(old))}"
            )


def _replace(laid: Overlaid, path: str, table: Mapping[str, Any]) -> None:
    """Exchange the values of the field at `path` where the settings and the sweep write it, in place."""
    names = {json.dumps(parse_value(old)): old for old in table if old != ANY}

    def exchange(node: Any, key: Any, here: Path) -> None:
        if isinstance(node[key], list):
            for position in range(len(node[key])):
                exchange(node[key], position, (*here, position))
            return
        rest = ANY if ANY in table and node[key] is not None else None
        if (old := names.get(json.dumps(node[key]), rest)) is not None:
            node[key] = copy.deepcopy(table[old])
            laid.lines[here] = laid.lines[REPLACE, path, old]

    for block, key, here in _places(laid.values, path):
        if isinstance(block, dict) and key in block:
            exchange(block, key, here)


def _places(values: Mapping[str, Any], path: str) -> Iterator[tuple[Any, str, Path]]:
    """Mappings that may hold the field at `path`, its key there, and where that is: settings, then sweep."""
    *above, last = path.split(".")
    block: Any = values
    for part in above:
        block = block.get(part) if isinstance(block, dict) else None
    yield block, last, (*above, last)
    sweep = values.get("sweep")
    for kind, part in sweep.items() if isinstance(sweep, dict) else ():
        yield part, path, ("sweep", kind, path)
        for position, cell in enumerate(part if isinstance(part, list) else []):
            yield cell, path, ("sweep", kind, position, path)
