"""Frozen accuracy over epochs of pretraining, of cells that are probed on their way (`evaluate.probe_epochs`)."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from lstcl_platform.results.compare import ComparedCell, Summary
from lstcl_platform.results.text import spread


def probe_tables(cells: Sequence[ComparedCell]) -> Iterator[Table]:
    """A table for each measured top-1 accuracy: a line a cell, a column an epoch; none where nothing was probed."""
    for metric in probe_metrics(cells):
        curves = {cell.name: cell.probes[metric] for cell in cells if metric in cell.probes}
        epochs = sorted({epoch for curve in curves.values() for epoch in curve})
        table = Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            title=f"{metric} of frozen features after epochs of pretraining",
            title_justify="left",
            title_style="bold",
        )
        table.add_column("cell", overflow="fold")
        for epoch in epochs:
            table.add_column(str(epoch), justify="right", no_wrap=True)
        for name, curve in curves.items():
            table.add_row(Text(name), *(_value(curve.get(epoch)) for epoch in epochs))
        yield table


def probe_metrics(cells: Sequence[ComparedCell]) -> list[str]:
    """Top-1 accuracies that probes of some cell measured."""
    names = dict.fromkeys(name for cell in cells for name in cell.probes)
    return [name for name in names if name.endswith("top1")]


def _value(summary: Summary | None) -> str:
    return "-" if summary is None else spread(summary)
