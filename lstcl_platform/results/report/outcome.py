"""Ours, the published value and the difference, as cells of tables."""

from lstcl_platform.results.compare import ComparedCell, Comparison
from lstcl_platform.results.paper_figures import interval_for
from lstcl_platform.results.report.table import NOTHING, Cell, Table, figure, text
from lstcl_platform.results.text import metric_label, signed, value_text


def outcome_head(comparison: Comparison) -> list[str]:
    """Columns of `outcome_cells`; those of the paper only where it prints something."""
    paper = ["paper", "ours − paper"] if _is_printed(comparison) else []
    return ["ours", "95 % interval", "seeds", *paper]


def ours(cell: ComparedCell | None, comparison: Comparison, metric: str) -> Cell:
    """Our mean of `metric` over seeds; a cell that stands out in its experiment is marked."""
    if cell is None or metric not in cell.metrics:
        return NOTHING
    summary = cell.metrics[metric]
    best = comparison.stands_out(cell)
    spread = () if summary.sd is None else (f"sd {value_text(summary.sd, metric)}",)
    return figure(
        value_text(summary.mean, metric) + (" ★" if best else ""), *spread, tone="best" if best else ""
    )


def interval(cell: ComparedCell, metric: str) -> Cell:
    """``74.1 to 76.9``, and over what."""
    found = interval_for(cell, metric) if metric in cell.metrics else None
    if found is None:
        return NOTHING
    return figure(
        f"{value_text(found.low, metric)} to {value_text(found.high, metric)}", f"over {found.over}"
    )


def printed(cell: ComparedCell, metric: str) -> Cell:
    """The published value."""
    if cell.printed is None or metric not in cell.printed.values:
        return NOTHING
    notes = (cell.printed.derived,) if cell.printed.derived else ()
    return figure(value_text(cell.printed.values[metric], metric), *notes)


def delta(cell: ComparedCell, comparison: Comparison) -> Cell:
    """Ours less the published value."""
    found = comparison.delta(cell)
    if found is None:
        return NOTHING
    return figure(signed(found, comparison.metric), tone="good" if found > 0 else "bad" if found < 0 else "")


def seeds(cell: ComparedCell) -> Cell:
    """Finished seeds, and how many there will be."""
    all_ = len(cell.statuses)
    return figure(str(all_) if cell.finished == all_ else f"{cell.finished} of {all_}")


def outcome_cells(cell: ComparedCell, comparison: Comparison) -> list[Cell]:
    """The columns of `outcome_head`."""
    metric = comparison.metric
    return [
        ours(cell, comparison, metric),
        interval(cell, metric),
        seeds(cell),
        *([printed(cell, metric), delta(cell, comparison)] if _is_printed(comparison) else []),
    ]


def cells_table(comparison: Comparison) -> Table:
    """One line a cell: its name, what came out, what the paper prints, and where its open trials stand."""
    rows = []
    for cell in comparison.cells:
        open_ = [status for status in cell.statuses if status != "finished"]
        standing = ", ".join(f"{open_.count(each)} {each}" for each in dict.fromkeys(open_)) or "done"
        rows.append(
            [text(cell.name), *outcome_cells(cell, comparison), text(standing, tone="warn" if open_ else "")]
        )
    return Table(
        caption=f"Every cell: {metric_label(comparison.metric)}",
        head=["cell", *outcome_head(comparison), "trials"],
        rows=rows,
        note="★ best mean of the study. The interval over seeds is Student's t: what another training would give. "
        "A single seed has Wilson's interval over the test videos.",
    )


def _is_printed(comparison: Comparison) -> bool:
    return any(cell.printed is not None for cell in comparison.cells)
