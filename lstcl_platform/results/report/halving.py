"""Successive halving in a report: who was stopped when, and what that means for the results."""

from lstcl_platform.results.compare import halved, selection_note
from lstcl_platform.results.report.study import Study
from lstcl_platform.results.report.table import Table, figure, text
from lstcl_platform.results.text import value_text


def halving_warning(study: Study) -> str:
    """That the results are chosen on the videos they are reported on; empty without halving."""
    return selection_note(study.comparison)


def halving_table(study: Study) -> Table:
    """One line a ranked cell: where it stood at the last rung that it reached, and what going on took."""
    rows = []
    for cell, standing in halved(study.comparison.cells):
        metric = standing.metric.removeprefix("val_")
        rows.append(
            [
                text(cell.name),
                figure(str(standing.epoch)),
                figure(value_text(standing.score, metric)),
                figure(f"{standing.rank} of {standing.cells}"),
                figure(f"{standing.going_on}", f"took {value_text(standing.bar, metric)}"),
                text("went on", tone="good") if standing.goes_on else text("stopped", tone="warn"),
            ]
        )
    return Table(
        caption="Successive halving: where each cell stood when it was last ranked",
        head=["cell", "after epoch", "on data.val (%)", "rank", "rank that goes on", ""],
        rows=rows,
        note="The seeds of a cell are ranked by their mean. A cell that was stopped has no result.",
    )
