"""YAML with the line of every value, and without YAML 1.1's surprises.

Scalars follow the YAML 1.2 core schema: `1e-3` is a number, `yes`, `on` and `1:30` are text, `010` is 10.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.problems import Path as FieldPath
from lstcl_platform.specs.problems import Problem

_NULL = re.compile(r"^(?:~|null|Null|NULL)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]{1,40}$|^0o[0-7]{1,40}$|^0x[0-9a-fA-F]{1,40}$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_UNREADABLE = object()  # stands for a value with a problem of its own, so that no second one is made of it
_INF_NAN = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}


MAX_BYTES = 1_000_000
MAX_VALUES = 10_000
MAX_DEPTH = 50
"""Far beyond any study, and read in a fraction of a second."""


class _Loader(yaml.SafeLoader):
    """Composes nodes without resolving plain scalars: that is done here."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = 0
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_VALUES or self._depth > MAX_DEPTH:
            problem = _TOO_MANY if self._nodes > MAX_VALUES else _TOO_DEEP
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
_TOO_MANY = f"more than {MAX_VALUES} names and values"
_TOO_DEEP = f"blocks and lists inside one another over more than {MAX_DEPTH} levels"


@dataclass(frozen=True, kw_only=True)
class YamlSource:
    """One YAML file as plain values.

    Attributes:
        name: the file, as the user named it.
        value: the top-level mapping, made of dict, list, str, int, float, bool and None.
        lines: path -> line (1-based) of its key or list item.
        problems: duplicate keys, empty values and whatever else the file alone shows to be wrong.
    """

    name: str
    value: dict[str, Any]
    lines: Mapping[FieldPath, int]
    problems: tuple[Problem, ...]

    def line(self, path: FieldPath) -> int | None:
        """Line of the nearest written ancestor of `path`, or None if nothing of it is written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def read_yaml(file: Path, *, kind: str) -> YamlSource:
    """Read the file that a user named; `kind` says in messages what it should be.

    Raises:
        UserError: not readable, too large, not UTF-8, or as `parse_yaml`.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot read the {kind} file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file in UTF-8 (byte {error.start})") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{file}: larger than {MAX_BYTES} bytes, so this is no {kind} file")
    return parse_yaml(text, name=str(file), kind=kind)


def parse_yaml(text: str, *, name: str, kind: str = "experiment") -> YamlSource:
    """Read one YAML document whose top level is a mapping; `kind` says what it is of.

    Raises:
        UserError: not YAML, more than one document, or not a mapping; the message has file and line.
    """
    node = _compose(text, name)
    if node is None:
        needs = "; an experiment needs at least `name` and `data`" if kind == "experiment" else ""
        raise UserError(f"{name}: the file is empty{needs}")
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise UserError(
            f"{name}:{line}: the top level must be a mapping of fields such as `name: ...`, not {kind}"
        )
    reader = _Reader()
    value = reader.read(node, ())
    if reader.values > MAX_VALUES:
        raise UserError(f"{name}: its aliases stand for {_TOO_MANY}")
    return YamlSource(name=name, value=value, lines=reader.lines, problems=tuple(reader.problems))


def parse_value(text: str) -> Any:
    """Read the value of a `--set PATH=VALUE`: a YAML scalar, list or mapping.

    Raises:
        ValueError: not YAML, or empty.
    """
    try:
        node = _compose(text, "value")
    except UserError as error:
        raise ValueError(f"{text!r} is not a YAML value") from error
    if node is None:
        raise ValueError("no value; write `null` if none is meant")
    reader = _Reader()
    value = reader.read(node, ())
    if reader.problems:
        raise ValueError(reader.problems[0].text)
    return value


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{place}: not valid YAML: {reason}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {error}") from error
    return node


@dataclass
class _Reader:
    """Turns nodes into values; remembers lines and problems on the way."""

    lines: dict[FieldPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    values: int = 0
    _open: list[yaml.Node] = field(default_factory=list)

    def read(self, node: yaml.Node, path: FieldPath) -> Any:
        if any(node is outer for outer in self._open):
            return self._problem(node, path, "an alias refers to the block that contains it")
        self.values += 1
        if self.values > MAX_VALUES:  # aliases of aliases grow without end
            return _UNREADABLE
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, path)
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _problem(self, node: yaml.Node, path: FieldPath, text: str) -> object:
        self.problems.append(Problem(path=path, text=text, line=node.start_mark.line + 1))
        return _UNREADABLE

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        if node.tag != "tag:yaml.org,2002:map":
            self._problem(node, path, f"tag {node.tag} is not supported")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, path, "a field name must be text")
                continue
            key = key_node.value
            if not _is_text(key):
                self._problem(key_node, path, "a field name with a null or half a character in it")
                continue
            if key == "<<":
                self._problem(key_node, path, "merge keys (<<) are not supported; write the fields out")
                continue
            here = (*path, key)
            if key in result:
                self.problems.append(
                    Problem(
                        path=here, text=f"written twice, on lines {self.lines[here]} and {line}", line=line
                    )
                )
                continue
            self.lines[here] = line
            value = self.read(value_node, here)
            if value is not _UNREADABLE:
                result[key] = value
        return result

    def _sequence(self, node: yaml.SequenceNode, path: FieldPath) -> list[Any]:
        if node.tag != "tag:yaml.org,2002:seq":
            self._problem(node, path, f"tag {node.tag} is not supported")
        for position, item in enumerate(node.value):
            self.lines[(*path, position)] = item.start_mark.line + 1
        values = [self.read(item, (*path, position)) for position, item in enumerate(node.value)]
        return [None if value is _UNREADABLE else value for value in values]

    def _scalar(self, node: yaml.Node, path: FieldPath) -> Any:
        text: str = node.value
        if node.tag != "tag:yaml.org,2002:str":
            return self._problem(node, path, f"tag {node.tag} is not supported")
        if not _is_text(text):
            return self._problem(node, path, "text with a null or half a character in it")
        if getattr(node, "style", None) is not None:
            return text
        if text == "":
            # `pretrain:` with its fields commented out would otherwise mean null: train from scratch.
            return self._problem(
                node, path, "no value; write `null` if none is meant, `{}` for a block of defaults"
            )
        return _plain_scalar(text)


def _is_text(text: str) -> bool:
    """Whether files can be named so and terminals can print it; escapes in quotes reach beyond."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def _plain_scalar(text: str) -> Any:
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text, 10)
    if _FLOAT.match(text):
        return float(text)
    return _INF_NAN.get(text.lower(), text)
