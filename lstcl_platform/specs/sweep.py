"""From an experiment to its trials: one per legal cell of the sweep.

A cell sets dotted fields over the experiment's common settings. The grid gives the cartesian product of its
axes; each case gives one more cell, or a small grid of its own where it lists several values. No cell is lost
silently: it becomes a trial, or is named in `excluded` with its reason, or is an error.
"""

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lstcl_platform.specs.cell_names import cell_name, short_labels
from lstcl_platform.specs.experiment import ExperimentSpec, TrialSpec
from lstcl_platform.specs.fields import find_field, is_list, takes
from lstcl_platform.specs.halving_check import halving_problems
from lstcl_platform.specs.paths import assign
from lstcl_platform.specs.problems import MAX_LINES, Path, Problem, dotted, refuse
from lstcl_platform.specs.stages import Trial
from lstcl_platform.specs.validation import broken_rules, validate_fields, written
from lstcl_platform.specs.weights import pinned

MAX_CELLS = 10_000


@dataclass(frozen=True, kw_only=True)
class Excluded:
    """A cell that does not become a trial.

    Attributes:
        name: readable name, as a trial's.
        reason: which `exclude` entry it matches, or which rule it breaks.
    """

    name: str
    reason: str


class Expansion(NamedTuple):
    """All cells of an experiment, in the order of the file: the grid's first, then the cases'."""

    trials: tuple[Trial, ...]
    excluded: tuple[Excluded, ...]


@dataclass(frozen=True, kw_only=True)
class _Cell:
    values: Mapping[str, Any]
    origins: Mapping[str, Path]
    case: str | None = None
    axes: tuple[str, ...] = ()
    """Fields that tell this cell from its neighbours of the same named case."""


@dataclass(kw_only=True)
class Survey:
    """An expansion together with everything that is wrong with it."""

    trials: list[Trial] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def expand(spec: ExperimentSpec) -> Expansion:
    """Trials of `spec`, and the cells that are left out.

    Raises:
        UserError: an unknown field, a value that a field does not take, two cells of one name, no cell left,
            or an illegal cell while `sweep.illegal` is `refuse`.
    """
    survey = survey_cells(spec)
    if survey.problems:
        raise refuse(survey.problems, title=f"experiment {spec.name}", where=lambda _: spec.name)
    return Expansion(tuple(survey.trials), tuple(survey.excluded))


def survey_cells(spec: ExperimentSpec) -> Survey:
    """Expand `spec`, collecting what is wrong instead of raising it."""
    survey = Survey(problems=list(check_sweep_fields(spec)))
    if survey.problems:
        return survey
    if (count := _count_cells(spec)) > MAX_CELLS:
        text = f"gives {count} cells, more than the {MAX_CELLS} that one study may have"
        return Survey(problems=[Problem(path=("sweep",), text=text)])
    common = {name: value for name, value in written(spec).items() if name in TrialSpec.model_fields}
    cells = [*_grid_cells(spec), *_case_cells(spec)]
    if not spec.sweep.grid and not spec.sweep.cases:
        cells = [_Cell(values={}, origins={}, case="default")]
    labels = short_labels(path for cell in cells for path in cell.values)
    names: set[str] = set()
    for cell in cells:
        if len(survey.problems) > MAX_LINES:
            break  # more would not be shown
        name = cell_name(cell.values, labels, case=cell.case, axes=cell.axes)
        if name in names:
            text = f"two cells are named '{name}': leave one out, or tell them apart by `name` in cases"
            survey.problems.append(Problem(path=("sweep",), text=text))
        names.add(name)
        _judge(cell, name, common, spec, survey)
    if spec.sweep.halving is not None:
        survey.problems.extend(halving_problems(spec.sweep.halving, survey.trials))
    if not survey.trials and not survey.problems:
        reasons = "; ".join(f"{cell.name}: {cell.reason}" for cell in survey.excluded)
        survey.problems.append(Problem(path=("sweep",), text=f"no cell is left ({reasons})"))
    return survey


def check_sweep_fields(spec: ExperimentSpec) -> Iterator[Problem]:
    """Yield a problem for every path in the sweep that is no field of a trial, and every empty axis."""
    for path, values in spec.sweep.grid.items():
        here: Path = ("sweep", "grid", path)
        if problem := _unknown(path, here):
            yield problem
        elif not values:
            yield Problem(path=here, text="needs at least one value")
    for kind, entries in (("cases", spec.sweep.cases), ("exclude", spec.sweep.exclude)):
        for position, entry in enumerate(entries):
            if not entry.keys() - {"name"}:
                yield Problem(path=("sweep", kind, position), text="sets no field")
            for path, value in entry.items():
                here = ("sweep", kind, position, path)
                if kind == "cases" and path == "name":
                    if not isinstance(value, str) or not value.strip():
                        yield Problem(path=here, text="must be text that names the case")
                elif problem := _unknown(path, here):
                    yield problem
                elif value == []:
                    yield Problem(path=here, text="needs at least one value")
                elif kind == "exclude":
                    yield from _impossible_values(path, value, here)


def _unknown(path: str, here: Path) -> Problem | None:
    try:
        find_field(path)
    except LookupError as error:
        return Problem(path=here, text=str(error.args[0]))
    return None


def _impossible_values(path: str, value: Any, here: Path) -> Iterator[Problem]:
    """An excluded value that its field can never take would exclude nothing, unnoticed."""
    for wanted in _axis(path, value):
        if isinstance(wanted, dict):
            continue
        if not takes(path, wanted):
            yield Problem(path=here, text=f"no cell can have the value {json.dumps(wanted)}")


def _axis(path: str, value: Any) -> list[Any]:
    """Values that `value` lists; a single value, also of a field that is itself a list, counts as one."""
    if not isinstance(value, list):
        return [value]
    single = is_list(find_field(path)) and not any(isinstance(item, list) for item in value)
    return [value] if single else value


def _count_cells(spec: ExperimentSpec) -> int:
    grid = math.prod(len(values) for values in spec.sweep.grid.values()) if spec.sweep.grid else 0
    return grid + sum(
        math.prod(len(_axis(path, value)) for path, value in case.items() if path != "name")
        for case in spec.sweep.cases
    )


def _grid_cells(spec: ExperimentSpec) -> Iterator[_Cell]:
    axes = [
        [(path, value, ("sweep", "grid", path, position)) for position, value in enumerate(values)]
        for path, values in spec.sweep.grid.items()
    ]
    for picks in itertools.product(*axes) if axes else ():
        yield _Cell(
            values={path: value for path, value, _ in picks},
            origins={path: origin for path, _, origin in picks},
        )


def _case_cells(spec: ExperimentSpec) -> Iterator[_Cell]:
    for position, case in enumerate(spec.sweep.cases):
        fields = {path: _axis(path, value) for path, value in case.items() if path != "name"}
        for values in itertools.product(*fields.values()):
            yield _Cell(
                values=dict(zip(fields, values, strict=True)),
                origins={path: ("sweep", "cases", position, path) for path in fields},
                case=case.get("name"),
                axes=tuple(path for path, axis in fields.items() if len(axis) > 1),
            )


def _judge(cell: _Cell, name: str, common: Mapping[str, Any], spec: ExperimentSpec, survey: Survey) -> None:
    """Put one cell where it belongs: trials, excluded, or problems."""
    raw = copy.deepcopy(dict(common))
    rules: list[Problem] = []
    for path in sorted(cell.values, key=lambda path: path.count(".")):
        try:
            assign(raw, path, copy.deepcopy(cell.values[path]), root=TrialSpec)
        except ValueError as error:
            rules.append(
                Problem(path=cell.origins[path][:3], text=str(error), about=(tuple(path.split(".")),))
            )
    if rules:
        _judge_rules(rules, cell, name, spec, survey)
        return
    resolved, problems = validate_fields(TrialSpec, raw)
    if resolved is None:
        survey.problems.extend(_problem_in_sweep(problem, cell) for problem in problems)
        return
    for entry in spec.sweep.exclude:
        if all(_matches(resolved, path, value) for path, value in entry.items()):
            text = " ".join(f"{path}={json.dumps(value)}" for path, value in entry.items())
            survey.excluded.append(Excluded(name=name, reason=f"matches sweep.exclude {text}"))
            return
    if rules := broken_rules(resolved):
        _judge_rules(rules, cell, name, spec, survey)
        return
    try:
        resolved = _with_pinned_weights(resolved)
    except OSError as error:
        problem = Problem(path=("model", "init", "file"), text=f"{error.filename}: {error.strerror}")
        inside = any(path.split(".")[0] == "model" for path in cell.values)
        survey.problems.append(_problem_in_sweep(problem, cell) if inside else problem)
        return
    survey.trials.append(
        Trial(
            experiment=spec.name,
            name=name,
            cell=dict(cell.values),
            spec=resolved,
            halving=spec.sweep.halving,
        )
    )


def _with_pinned_weights(trial: TrialSpec) -> TrialSpec:
    if trial.model.init is None:
        return trial
    model = trial.model.model_copy(update={"init": pinned(trial.model.init)})
    return trial.model_copy(update={"model": model})


def _judge_rules(rules: list[Problem], cell: _Cell, name: str, spec: ExperimentSpec, survey: Survey) -> None:
    """A broken rule about fields that the cell sets makes it illegal; any other is an error of the file."""
    own = [rule for rule in rules if _is_about(rule, cell)]
    survey.problems.extend(rule for rule in rules if rule not in own and rule not in survey.problems)
    if not own:
        return
    reason = "; ".join(rule.text if _in_sweep(rule) else _with_block(rule) for rule in own)
    if spec.sweep.illegal == "exclude":
        survey.excluded.append(Excluded(name=name, reason=reason))
        return
    text = f"cell '{name}' is illegal: {reason} (list it in sweep.exclude, or set sweep.illegal: exclude)"
    survey.problems.append(Problem(path=own[0].path if _in_sweep(own[0]) else ("sweep",), text=text))


def _is_about(rule: Problem, cell: _Cell) -> bool:
    """Whether the cell sets a field of the rule or a block around it; for a null block, the null itself."""
    for path in cell.values:
        parts = tuple(path.split("."))
        for field_path in rule.about:
            if field_path[: len(parts)] == parts and not (_in_sweep(rule) and parts == field_path):
                return True
    return False


def _in_sweep(problem: Problem) -> bool:
    return problem.path[:1] == ("sweep",)


def _with_block(rule: Problem) -> str:
    return f"{dotted(rule.path)}: {rule.text}" if rule.path else rule.text


def _problem_in_sweep(problem: Problem, cell: _Cell) -> Problem:
    """The same problem at the place of the sweep that caused it."""
    field_path = dotted(problem.path)
    for path, origin in cell.origins.items():
        if field_path == path or field_path.startswith(f"{path}."):
            inside = field_path[len(path) + 1 :]
            return Problem(path=origin, text=f"{inside}: {problem.text}" if inside else problem.text)
    return Problem(path=("sweep",), text=f"{field_path}: {problem.text}")


def _matches(resolved: TrialSpec, path: str, wanted: Any) -> bool:
    node: Any = resolved.model_dump(mode="json")
    for part in path.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return any(_includes(node, value) for value in _axis(path, wanted))


def _includes(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(value, dict):
        return all(key in value and _includes(value[key], wanted[key]) for key in wanted)
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)
