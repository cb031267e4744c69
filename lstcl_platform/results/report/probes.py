"""Frozen accuracy over epochs of pretraining in a report: a curve a cell, and its numbers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lstcl_platform.results.compare import ComparedCell, Summary
from lstcl_platform.results.drawing import DASHES, GRID, MARKERS, SERIES, Drawing, Mark, Panel, epoch_axis
from lstcl_platform.results.probes import probe_metrics
from lstcl_platform.results.report.table import NOTHING, Cell, Table, figure, text
from lstcl_platform.results.text import metric_label, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def probes_drawing(cells: Sequence[ComparedCell]) -> Drawing | None:
    """A panel for each frozen protocol, a line a cell; None where nothing is probed on its way.

    Args:
        cells: all of the study: the place of a cell is its colour, as in the training curves.
    """
    metrics = probe_metrics(cells)
    if not metrics:
        return None
    return Drawing(
        name="probes",
        title="Frozen accuracy during pretraining",
        note="Mean over the seeds that have come so far.",
        panels=[_panel(metric, cells) for metric in metrics],
        legend=[
            Mark(label=cell.name, color=_color(place), marker=_marker(place), dash=_dash(place))
            for place, cell in enumerate(cells)
            if cell.probes
        ],
    )


def probes_tables(cells: Sequence[ComparedCell]) -> list[Table]:
    """The numbers of the drawing, a table for each protocol."""
    tables = []
    for metric in probe_metrics(cells):
        curves = {cell.name: cell.probes[metric] for cell in cells if metric in cell.probes}
        epochs = sorted({epoch for curve in curves.values() for epoch in curve})
        rows = []
        for name, curve in curves.items():
            found = [curve.get(epoch) for epoch in epochs]
            rows.append([text(name), *(NOTHING if each is None else _figure(each, metric) for each in found)])
        tables.append(
            Table(
                caption=f"{metric_label(metric)} after epochs of pretraining",
                head=["cell", *(f"epoch {epoch}" for epoch in epochs)],
                rows=rows,
            )
        )
    return tables


def _figure(summary: Summary, metric: str) -> Cell:
    spread = () if summary.sd is None else (f"sd {value_text(summary.sd, metric)}",)
    return figure(value_text(summary.mean, metric), *spread)


def _panel(metric: str, cells: Sequence[ComparedCell]) -> Panel:
    curves: Mapping[int, Mapping[int, Summary]] = {
        place: cell.probes[metric] for place, cell in enumerate(cells) if metric in cell.probes
    }

    def draw(axes: "Axes") -> None:
        for place, curve in curves.items():
            axes.plot(
                list(curve),
                [100 * summary.mean for summary in curve.values()],
                color=_color(place),
                linestyle=_dash(place),
                marker=_marker(place),
                markersize=4,
                linewidth=1.2,
            )
        epoch_axis(
            axes, "epoch of pretraining", last=max(epoch for curve in curves.values() for epoch in curve)
        )
        axes.grid(axis="y", color=GRID)

    told = "; ".join(
        f"{cells[place].name}: "
        + ", ".join(f"{value_text(summary.mean, metric)} at {epoch}" for epoch, summary in curve.items())
        for place, curve in curves.items()
    )
    label = metric_label(metric)
    return Panel(title=label, alt=f"{label} over epochs of pretraining: {told}.", draw=draw)


def _color(place: int) -> str:
    return SERIES[place % len(SERIES)]


def _marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]


def _dash(place: int) -> str:
    return DASHES[place // len(SERIES) % len(DASHES)]
