"""One YAML file and `--set` overrides -> a checked experiment."""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.specs.override import lay_over
from lstcl_platform.specs.paths import assign
from lstcl_platform.specs.problems import Path as FieldPath
from lstcl_platform.specs.problems import Problem, refuse
from lstcl_platform.specs.sweep import check_sweep_fields, survey_cells
from lstcl_platform.specs.validation import broken_rules, validate_fields, without
from lstcl_platform.specs.yaml_source import YamlSource, parse_value, read_yaml

_FROM_THE_FILE: tuple[FieldPath, ...] = (
    ("data", "train"),
    ("data", "val"),
    ("data", "pretrain"),
    ("model", "init", "file"),
)
"""Fields whose relative paths count from the spec file's folder."""


@dataclass(frozen=True, kw_only=True)
class LoadedExperiment:
    """What the user asked for beside what it means.

    Attributes:
        path: the YAML file.
        overrides: the `--set` arguments, as typed.
        requested: the file's content with override files and overrides in it, nothing filled in.
        resolved: the same with every default filled in and relative paths made absolute.
    """

    path: Path
    overrides: tuple[str, ...]
    requested: Mapping[str, Any]
    resolved: ExperimentSpec


def load_experiment(
    path: str | os.PathLike[str],
    overrides: Iterable[str] = (),
    *,
    override_files: Iterable[str | os.PathLike[str]] = (),
) -> ExperimentSpec:
    """Read, check and resolve an experiment file.

    Args:
        path: YAML file.
        overrides: `a.b.c=value` arguments; the value is read as YAML.
        override_files: YAML files laid over the experiment, in order, before `overrides` (`specs.override`).

    Raises:
        UserError: everything that is wrong with files and overrides, in one message.
    """
    return load_requested(path, overrides, override_files=override_files).resolved


def load_requested(
    path: str | os.PathLike[str],
    overrides: Iterable[str] = (),
    *,
    override_files: Iterable[str | os.PathLike[str]] = (),
) -> LoadedExperiment:
    """As `load_experiment`, keeping what was written beside what it resolves to."""
    file = Path(path)
    arguments = tuple(overrides)
    source = read_yaml(file, kind="experiment")
    values, layers, wrong = _lay_over(source, override_files)
    requested, set_paths, problems = _apply_overrides(values, arguments)
    problems = [*wrong, *problems]
    unreadable = {problem.path for problem in source.problems}
    resolved, more = _resolve(requested, folder=file.absolute().parent)
    problems = [*source.problems, *problems, *(problem for problem in more if problem.path not in unreadable)]
    if problems or resolved is None:
        origins = _Origins(source=source, layers=layers, overridden=set_paths)
        raise refuse(sorted(problems, key=origins.rank), title=source.name, where=origins.of)
    return LoadedExperiment(path=file, overrides=arguments, requested=requested, resolved=resolved)


def parse_experiment(values: Mapping[str, Any], *, origin: str, folder: Path | None = None) -> ExperimentSpec:
    """Check and resolve an experiment that is not in a file, such as one that tracking recorded.

    Args:
        values: nested plain values, as in the YAML file.
        origin: where they come from, for messages.
        folder: what relative data paths count from; the working directory by default.

    Raises:
        UserError: everything that is wrong with them.
    """
    resolved, problems = _resolve(values, folder=folder or Path.cwd())
    if problems or resolved is None:
        raise refuse(problems, title=origin, where=lambda _: origin)
    return resolved


def _lay_over(
    source: YamlSource, files: Iterable[str | os.PathLike[str]]
) -> tuple[dict[str, Any], dict[str, Mapping[FieldPath, int]], list[Problem]]:
    """The experiment's values with the override files over them, the lines of each file, what is wrong."""
    values = copy.deepcopy(source.value)
    layers: dict[str, Mapping[FieldPath, int]] = {}
    problems: list[Problem] = []
    for file in map(Path, files):
        override = read_yaml(file, kind="override")
        _anchor_file(override.value, file.absolute().parent)
        laid = lay_over(values, override)
        values = laid.values
        layers[str(file)] = laid.lines
        problems += laid.problems
    return values, layers, problems


def _apply_overrides(
    values: dict[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[FieldPath, str], list[Problem]]:
    """The files' values with the overrides in them, the origin of each such path, and what went wrong."""
    values = copy.deepcopy(values)
    origins: dict[FieldPath, str] = {}
    problems: list[Problem] = []
    for override in overrides:
        path, equals, text = override.partition("=")
        path = path.strip()
        origin = f"--set {override}"
        key = _field_path(path)
        try:
            if not equals or not path:
                raise ValueError("must look like --set pretrain.epochs=100")
            _assign(values, key, parse_value(text))
        except ValueError as error:
            problems.append(Problem(path=key, text=str(error)))
        origins[key] = origin
    # Of the sweep as the overrides leave it.
    swept = _swept_paths(values)
    for field in origins:
        name = ".".join(map(str, field))
        if name in swept:
            text = f"{name} is swept by {swept[name]}, which would override it; change the sweep"
            problems.append(Problem(path=field, text=text))
    return values, origins, problems


def _field_path(path: str) -> tuple[str, ...]:
    """Keys of an override's path; what follows `sweep.grid.` is one key, itself dotted."""
    parts = tuple(path.split("."))
    return (*parts[:2], ".".join(parts[2:])) if parts[:2] == ("sweep", "grid") and len(parts) > 2 else parts


def _assign(values: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    if key[:2] != ("sweep", "grid") or len(key) == 2:
        assign(values, ".".join(key), value, root=ExperimentSpec)
        return
    axes: dict[str, Any] = {}
    assign(axes, "sweep.grid", copy.deepcopy(values.get("sweep", {}).get("grid", {})), root=ExperimentSpec)
    axes["sweep"]["grid"][key[2]] = value
    assign(values, "sweep.grid", axes["sweep"]["grid"], root=ExperimentSpec)


def _swept_paths(values: Mapping[str, Any]) -> dict[str, str]:
    """Dotted paths that the sweep sets -> the part of the sweep that does."""
    sweep = values.get("sweep")
    sweep = sweep if isinstance(sweep, dict) else {}
    cases, grid = sweep.get("cases"), sweep.get("grid")
    swept = {}
    for position, case in enumerate(cases if isinstance(cases, list) else []):
        swept.update(dict.fromkeys(case, f"sweep.cases[{position}]") if isinstance(case, dict) else {})
    swept.update(dict.fromkeys(grid, "sweep.grid") if isinstance(grid, dict) else {})
    swept.pop("name", None)
    return swept


def _resolve(requested: Mapping[str, Any], *, folder: Path) -> tuple[ExperimentSpec | None, list[Problem]]:
    """The resolved experiment, or None and all that is wrong."""
    values = _absolute(requested, folder)
    spec, problems = validate_fields(ExperimentSpec, values)
    if spec is not None:
        problems = survey_cells(spec).problems
        return (None if problems else spec), problems
    # Some names, types or ranges are wrong. The rules between the other fields are checked all the same, over
    # defaults in place of the wrong ones, so that the user learns everything at once.
    mended = {"name": "unnamed", **without(values, problems)}
    data = mended.get("data", {})
    mended["data"] = {"train": "<train>", "val": "<val>", **data} if isinstance(data, dict) else data
    stand_in, _ = validate_fields(ExperimentSpec, mended)
    if stand_in is not None:
        problems = [*problems, *_rules_apart_from(stand_in, problems), *check_sweep_fields(stand_in)]
    return None, problems


def _rules_apart_from(spec: ExperimentSpec, problems: Sequence[Problem]) -> list[Problem]:
    """Broken rules of the common part that involve no swept field and no field that already has a problem."""
    swept = {tuple(path.split(".")) for cell in (spec.sweep.grid, *spec.sweep.cases) for path in cell}
    uncertain = swept | {problem.path for problem in problems}
    return [
        rule
        for rule in broken_rules(spec)
        if not any(field[: len(path)] == path for field in rule.about for path in uncertain)
    ]


def _absolute(requested: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Copy in which data and weights count from the spec file's folder, and storage from the working directory."""
    values = copy.deepcopy(dict(requested))
    _anchor_file(values, folder)
    storage = values.setdefault("storage", {})
    if isinstance(storage, dict):
        storage["path"] = _anchored(storage.get("path", "lstcl_runs"), Path.cwd())
    return values


def _anchor_file(values: dict[str, Any], folder: Path) -> None:
    """Make the paths that a file in `folder` writes absolute, in place."""
    for field in _FROM_THE_FILE:
        _anchor(values, field, folder)
    sweep = values.get("sweep")
    if isinstance(sweep, dict):
        for cell in (sweep.get("grid"), *_list_of(sweep.get("cases")), *_list_of(sweep.get("exclude"))):
            _anchor_cell(cell, folder)


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _anchor_cell(cell: Any, folder: Path) -> None:
    if not isinstance(cell, dict):
        return
    for path, value in cell.items():
        parts = tuple(path.split(".")) if isinstance(path, str) else ()
        for field in _FROM_THE_FILE:
            if field[: len(parts)] == parts:
                rest = field[len(parts) :]
                several = isinstance(value, list)
                cell[path] = (
                    [_anchor(item, rest, folder) for item in value]
                    if several
                    else _anchor(value, rest, folder)
                )
                value = cell[path]


def _anchor(value: Any, field: FieldPath, folder: Path) -> Any:
    """`value` with what lies at `field` inside it made absolute; blocks on the way are changed in place."""
    if not field:
        return _anchored(value, folder)
    if isinstance(value, dict) and field[0] in value:
        value[field[0]] = _anchor(value[field[0]], field[1:], folder)
    return value


def _anchored(value: Any, folder: Path) -> Any:
    """`value` as an absolute path; URIs and what is no text are left alone."""
    if not isinstance(value, str) or "://" in value or not value:
        return value
    return os.path.normpath(folder / Path(value).expanduser())


@dataclass(frozen=True, kw_only=True)
class _Origins:
    """Where each field was written: in an override, on a line of an override file, or of the experiment's."""

    source: YamlSource
    layers: Mapping[str, Mapping[FieldPath, int]]
    overridden: Mapping[FieldPath, str]

    def of(self, problem: Problem) -> str:
        """The override or ``file:line`` that a problem comes from, or the file where nothing is written."""
        override = None if problem.line else self._override(problem)
        layer, line = self._layer(problem)
        line = line or self._line(problem)
        return override or (f"{layer or self.source.name}:{line}" if line else self.source.name)

    def rank(self, problem: Problem) -> tuple[int, int]:
        """Order of the problems: by file, then by line, those with no line first."""
        layer, line = self._layer(problem)
        return (1 + list(self.layers).index(layer), line) if layer else (0, self._line(problem))

    def _layer(self, problem: Problem) -> tuple[str, int]:
        """Override file and line that write a field of the problem, the last such file; or "" and 0."""
        for name in reversed(list(self.layers)):
            for path in problem.about or (problem.path,):
                if not problem.line and path in self.layers[name]:
                    return name, self.layers[name][path]
        return "", 0

    def _line(self, problem: Problem) -> int:
        """Line of the problem in the experiment's file, 0 where nothing of it is written."""
        exact = (self.source.lines.get(path) for path in problem.about)
        above = (self.source.line(path) for path in problem.about)
        candidates = (problem.line, self.source.line(problem.path), *exact, *above)
        return next((line for line in candidates if line), 0)

    def _override(self, problem: Problem) -> str | None:
        for path in (*problem.about, problem.path):
            for key, text in reversed(list(self.overridden.items())):
                # An override also stands for a block that it makes: `pretran` in `pretran.epochs=3`.
                made = key[: len(path)] == path and path and path not in self.source.lines
                if made or path[: len(key)] == key:
                    return text
        return None
