"""A comparison as a table for people, and as CSV and JSON for programs."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lstcl_platform.results.compare import (
    CellCost,
    ComparedCell,
    Comparison,
    cost_note,
    halved,
    selection_note,
)
from lstcl_platform.results.probes import probe_tables
from lstcl_platform.results.settings import Difference, differences
from lstcl_platform.results.text import baselines, number, spread

_OTHERS_SHOWN = 2
_COLUMN = 19
"""Width of a metric's column with its padding."""
_COUNTS = 22
"""Width of the columns that count seeds and open trials."""
_COSTS = 25
"""Width of the columns of the cost."""
_PRINTED = 24
"""Width of the columns of the paper."""


def comparison_table(comparison: Comparison, *, width: int) -> Group:
    """A Rich table for each experiment, the cell that stands out marked with ``*``, and the baselines under it.

    Args:
        comparison: what to show.
        width: characters in a line; metrics but the first are left out when they do not fit.
    """
    parts: list[Table | Text] = []
    for experiment in comparison.experiments:
        cells = [cell for cell in comparison.cells if cell.experiment == experiment]
        parts.append(_experiment_table(experiment, cells, comparison, width=width))
        text = baselines(comparison.baselines.get(experiment, {}))
        if text:
            parts.append(Text(f"without learning: {text}"))
    spread_shown = any(
        cell.metrics[comparison.metric].sd is not None
        for cell in comparison.cells
        if comparison.metric in cell.metrics
    )
    notes = ["* best mean"] if any(map(comparison.stands_out, comparison.cells)) else []
    notes += ["± standard deviation over seeds"] if spread_shown else []
    if notes:
        parts.append(Text("; ".join(notes)))
    if any(cell.printed is not None for cell in comparison.cells):
        parts.append(Text("paper: the value that the paper prints; ours - paper: the difference"))
    if note := cost_note(comparison):
        parts.append(Text(note))
    for cell, standing in halved(comparison.cells):
        if not standing.goes_on:
            parts.append(Text(f"{cell.name}: {standing}"))
    if note := selection_note(comparison):
        parts.append(Text(note))
    parts += probe_tables(comparison.cells)
    if found := differences(comparison):
        parts.append(_differences_table(found, comparison.experiments))
    return Group(*parts)


def _differences_table(found: Sequence[Difference], experiments: Sequence[str]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title="settings that differ",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("setting", overflow="fold")
    for name in experiments:
        table.add_column(Text(name), overflow="fold")
    for each in found:
        table.add_row(Text(each.field), *(Text(" | ".join(each.values[name])) for name in experiments))
    return table


def _experiment_table(
    experiment: str, cells: Sequence[ComparedCell], comparison: Comparison, *, width: int
) -> Table:
    metric = comparison.metric
    others = _other_metrics(cells, metric)[:_OTHERS_SHOWN]
    name_width = max(len(cell.name) for cell in cells)
    costs = any(cell.cost is not None for cell in cells)
    printed = any(cell.printed is not None for cell in cells)
    counts = _COUNTS + (_COSTS if costs else 0) + (_PRINTED if printed else 0)
    while others and name_width + _COLUMN * (1 + len(others)) + counts > width:
        others.pop()
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=experiment, title_justify="left", title_style="bold"
    )
    table.add_column("cell", overflow="fold", min_width=min(name_width, 16))
    for name in (metric, *others):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("paper", "ours - paper") if printed else ():
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("params", "GMACs x views") if costs else ():
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    marked = any(map(comparison.stands_out, cells))
    for cell in cells:
        best = comparison.stands_out(cell)
        shown = [
            _value(cell, metric) + (" *" if best else "  " if marked else ""),
            *(_value(cell, name) for name in others),
        ]
        paper = _printed(cell, comparison) if printed else ()
        row = [cell.name, *shown, *paper, *(_cost(cell) if costs else ())]
        row += [str(cell.finished), _open_trials(cell)]
        table.add_row(*map(Text, row), style="bold" if best else None)
    return table


def comparison_records(comparison: Comparison) -> list[dict[str, Any]]:
    """One JSON-ready record a cell; a mean that is no number becomes null."""
    return [
        {
            "experiment": cell.experiment,
            "name": cell.name,
            "cell": dict(cell.cell),
            "best": cell.best,
            "trials": len(cell.statuses),
            "finished": cell.finished,
            "metrics": {
                name: {
                    "mean": _finite(summary.mean),
                    "sd": summary.sd,
                    "n": len(summary.values),
                    "values": [_finite(value) for value in summary.values],
                }
                for name, summary in cell.metrics.items()
            },
            **({} if cell.printed is None else {"published": asdict(cell.printed)}),
            **({} if cell.cost is None else {"cost": asdict(cell.cost)}),
            **({} if cell.standing is None else {"halving": asdict(cell.standing)}),
            **({} if not cell.probes else {"probes": _probe_records(cell)}),
        }
        for cell in comparison.cells
    ]


def _probe_records(cell: ComparedCell) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {"epoch": epoch, "mean": summary.mean, "sd": summary.sd, "n": len(summary.values)}
            for epoch, summary in curve.items()
        ]
        for name, curve in cell.probes.items()
    }


def comparison_json(comparison: Comparison) -> str:
    """The comparison as one JSON object."""
    content = {
        "metric": comparison.metric,
        "baselines": {name: dict(values) for name, values in comparison.baselines.items()},
        "cells": comparison_records(comparison),
        "differences": {each.field: dict(each.values) for each in differences(comparison)},
    }
    return json.dumps(content, indent=2)


def comparison_csv(comparison: Comparison) -> str:
    """One line a cell: its swept fields, then ``METRIC``, ``METRIC_sd`` and ``METRIC_n`` of each metric.

    Where the paper prints a value for a cell, columns `published` and `delta` follow; where costs were asked, four
    columns follow: convention, parameters, gmacs and views. Where cells were ranked by successive halving, `halving`
    ends the line.
    """
    fields = list(dict.fromkeys(path for cell in comparison.cells for path in cell.cell))
    metrics = [comparison.metric, *_other_metrics(comparison.cells, comparison.metric)]
    columns = [part for name in metrics for part in (name, f"{name}_sd", f"{name}_n")]
    asked = any(cell.cost is not None for cell in comparison.cells)
    costs = [field.name for field in dataclass_fields(CellCost)] if asked else []
    printed = ["published", "delta"] if any(cell.printed is not None for cell in comparison.cells) else []
    ranked = ["halving"] if halved(comparison.cells) else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["experiment", "name", *fields, *columns, "trials", "finished", "best", *printed, *costs, *ranked]
    )
    for cell in comparison.cells:
        numbers: list[Any] = []
        for name in metrics:
            summary = cell.metrics.get(name)
            numbers += ["", "", 0] if summary is None else [summary.mean, summary.sd, len(summary.values)]
        values = [_csv_field(cell.cell[path]) if path in cell.cell else "" for path in fields]
        counts = [len(cell.statuses), cell.finished, int(cell.best)]
        paper = _csv_printed(cell, comparison) if printed else []
        paid = [getattr(cell.cost, name, "") for name in costs]
        stood = [cell.standing or ""] if ranked else []
        writer.writerow([cell.experiment, cell.name, *values, *numbers, *counts, *paper, *paid, *stood])
    return text.getvalue()


def _csv_printed(cell: ComparedCell, comparison: Comparison) -> list[Any]:
    value = None if cell.printed is None else cell.printed.values.get(comparison.metric)
    return ["" if number_ is None else number_ for number_ in (value, comparison.delta(cell))]


def _csv_field(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else json.dumps(value)


def _other_metrics(cells: Sequence[ComparedCell], metric: str) -> list[str]:
    names = dict.fromkeys(name for cell in cells for name in cell.metrics if name not in (metric, "step"))
    return sorted(names, key=lambda name: (not name.startswith("top"), name))


def _cost(cell: ComparedCell) -> tuple[str, str]:
    if cell.cost is None:
        return "-", "-"
    return f"{cell.cost.parameters / 1e6:.2f}", f"{cell.cost.gmacs:.4g} x {cell.cost.views}"


def _printed(cell: ComparedCell, comparison: Comparison) -> tuple[str, str]:
    if cell.printed is None or comparison.metric not in cell.printed.values:
        return "-", "-"
    delta = comparison.delta(cell)
    return number(cell.printed.values[comparison.metric]), "-" if delta is None else f"{delta:+.3f}"


def _value(cell: ComparedCell, metric: str) -> str:
    return spread(cell.metrics[metric]) if metric in cell.metrics else "-"


def _open_trials(cell: ComparedCell) -> str:
    open_ = [status for status in cell.statuses if status != "finished"]
    return ", ".join(f"{open_.count(status)} {status}" for status in dict.fromkeys(open_))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
