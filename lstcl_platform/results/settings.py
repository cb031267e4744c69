"""The settings behind compared cells: what the paper prints for each, what they differ in, which are asked for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lstcl_platform.results.compare import ComparedCell, Comparison, lower_is_better, mark_best
from lstcl_platform.results.published import printed_for
from lstcl_platform.specs.cell_names import cell_id
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import ExperimentSpec, TrialSpec
from lstcl_platform.specs.sweep import expand
from lstcl_platform.tracking.secrets import mask

ABSENT = "-"
"""Shown for a setting that a cell does not have, such as one of pretraining when training from scratch."""

WHERE_IT_RUNS = ("resources", "storage", "tracking", "checkpoint")
"""Blocks that change no result."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A setting in which experiments differ.

    Attributes:
        field: its dotted path.
        values: experiment -> the values of its cells, each once.
    """

    field: str
    values: Mapping[str, tuple[str, ...]]


def with_settings(comparison: Comparison, specs: Mapping[str, ExperimentSpec]) -> Comparison:
    """The comparison with the settings of each cell, and what the paper prints for it.

    Args:
        comparison: of one or more experiments.
        specs: experiment (as the comparison names it) -> what was launched; those that are missing stay without.
    """
    found: dict[tuple[str, str, str], tuple[TrialSpec, ExperimentSpec]] = {}
    for label, experiment in specs.items():
        for trial in expand(experiment).trials:
            key = cell_id(label, trial.name, trial.cell)
            found.setdefault(key, (trial.spec, experiment))
    return replace(comparison, cells=tuple(_settled(cell, found) for cell in comparison.cells))


def _settled(
    cell: ComparedCell, found: Mapping[tuple[str, str, str], tuple[TrialSpec, ExperimentSpec]]
) -> ComparedCell:
    key = cell_id(cell.experiment, cell.name, cell.cell)
    if key not in found:
        return cell
    spec, experiment = found[key]
    printed = None if experiment.published is None else printed_for(experiment.published, spec)
    return replace(cell, spec=spec, printed=printed)


def differences(comparison: Comparison) -> list[Difference]:
    """Settings that differ between the experiments of a comparison and that no sweep already shows."""
    swept = {path for cell in comparison.cells for path in cell.cell}
    rows: dict[str, dict[str, dict[str, None]]] = {}
    experiments = comparison.experiments
    dumps = [(cell.experiment, settings_of(cell.spec)) for cell in comparison.cells if cell.spec is not None]
    for field in dict.fromkeys(field for _, dump in dumps for field in dump):
        for experiment, dump in dumps:
            rows.setdefault(field, {}).setdefault(experiment, {})[dump.get(field, ABSENT)] = None
    return [
        Difference(
            field=field, values={name: tuple(values.get(name, {ABSENT: None})) for name in experiments}
        )
        for field, values in rows.items()
        if len({tuple(sorted(each)) for each in values.values()}) > 1
        and not any(field == path or field.startswith(f"{path}.") for path in swept)
    ]


def settings_of(spec: TrialSpec) -> dict[str, str]:
    """What a result depends on, dotted field -> text, without secrets."""
    dump = mask(spec.model_dump(mode="json", exclude=set(WHERE_IT_RUNS)))
    return {field: value if isinstance(value, str) else json.dumps(value) for field, value in leaves(dump)}


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in nested `values` that is no block."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def filtered(comparison: Comparison, conditions: Sequence[str]) -> Comparison:
    """The cells that meet every condition ``FIELD=VALUE``; a field may be named by its last parts.

    Raises:
        UserError: a condition is no ``FIELD=VALUE``, no cell has the field, or no cell is left.
    """
    cells = list(comparison.cells)
    for condition in conditions:
        field, equals, wanted = condition.partition("=")
        if not equals or not field:
            raise UserError(f"--where {condition}: write FIELD=VALUE, as in --where long_stride=32")
        valued = [(cell, _value_of(cell, field)) for cell in cells]
        if all(value is None for _, value in valued):
            known = sorted({path for cell in comparison.cells for path in cell.cell})
            raise UserError(
                f"--where {condition}: no cell has {field!r}; swept are: {', '.join(known) or 'none'}"
            )
        cells = [cell for cell, value in valued if value == wanted]
        if not cells:
            there = sorted({value for _, value in valued if value is not None})
            raise UserError(f"--where {condition}: no cell left; {field} is one of: {', '.join(there)}")
    return mark_best(replace(comparison, cells=tuple(cells)))


def ordered(comparison: Comparison, by: str) -> Comparison:
    """The cells of each experiment by metric `by` (best first), or by a setting (numbers ascending); unknown last.

    Raises:
        UserError: no cell has such a metric or setting.
    """
    sign = 1.0 if lower_is_better(by) else -1.0
    metrics = {name for cell in comparison.cells for name in cell.metrics}
    if by not in metrics and all(_value_of(cell, by) is None for cell in comparison.cells):
        swept = sorted({path for cell in comparison.cells for path in cell.cell})
        raise UserError(
            f"--sort {by}: no such metric or setting; there are: {', '.join([*sorted(metrics), *swept])}"
        )

    def rank(cell: ComparedCell) -> tuple[int, float, str]:
        if by in metrics:
            return (0, sign * cell.metrics[by].mean, "") if by in cell.metrics else (1, 0.0, "")
        value = _value_of(cell, by)
        if value is None:
            return (1, 0.0, "")
        try:
            return (0, float(value), "")
        except ValueError:
            return (0, 0.0, value)

    position = {name: number for number, name in enumerate(comparison.experiments)}
    return replace(
        comparison,
        cells=tuple(sorted(comparison.cells, key=lambda cell: (position[cell.experiment], *rank(cell)))),
    )


def _value_of(cell: ComparedCell, field: str) -> str | None:
    """The text of a cell's setting named by its dotted path or the end of it; swept ones first."""
    swept = {
        path: value if isinstance(value, str) else json.dumps(value) for path, value in cell.cell.items()
    }
    for known in (swept, {} if cell.spec is None else settings_of(cell.spec)):
        for path, value in known.items():
            if path == field or path.endswith(f".{field}"):
                return value
    return None
