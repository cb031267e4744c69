"""Accuracy class by class, and what is taken for what."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lstcl_platform.results.report.predictions import CellPredictions
from lstcl_platform.results.report.table import NOTHING, Cell, Table, figure, text
from lstcl_platform.specs.wording import numbered

MAX_CLASSES = 24
"""Classes of a confusion matrix; beyond, the most frequent confusions are listed."""
MAX_COLUMNS = 6
MAX_LISTED = 30


def per_class_table(cells: Sequence[CellPredictions], names: Mapping[int, str], *, best: str | None) -> Table:
    """Accuracy of each class in percent, mean over seeds, for each cell (or the best and the first ones)."""
    shown = list(cells)
    if len(shown) > MAX_COLUMNS:
        shown.sort(key=lambda cell: cell.cell != best)
        shown = shown[:MAX_COLUMNS]
    lead = next((cell for cell in shown if cell.cell == best), shown[0])
    scores = {cell.cell: _by_class(cell) for cell in shown}
    ranking = sorted(names, key=lambda label: -scores[lead.cell].get(label, (0.0, 0))[0])
    left_out = ""
    if len(ranking) > 2 * MAX_LISTED:
        left_out = f" The {MAX_LISTED} best and the {MAX_LISTED} worst of {len(ranking)} classes."
        ranking = [*ranking[:MAX_LISTED], *ranking[-MAX_LISTED:]]
    rows = []
    for label in ranking:
        row = [text(names[label]), figure(str(scores[lead.cell].get(label, (0.0, 0))[1]))]
        for cell in shown:
            found = scores[cell.cell].get(label)
            row.append(NOTHING if found is None else _bar(found[0]))
        rows.append(row)
    return Table(
        caption="Accuracy of each class (%), mean over seeds",
        head=["class", "videos", *(cell.cell for cell in shown)],
        rows=rows,
        kind="bars",
        note=f"Ordered by {lead.cell}.{left_out}",
    )


def confusion_table(cell: CellPredictions, names: Mapping[int, str]) -> Table:
    """What the videos of each class were taken for, all seeds of `cell` together.

    Up to `MAX_CLASSES` classes: a matrix of shares of each true class; beyond: the most frequent confusions.
    """
    labels = sorted(names)
    counts = np.array(
        [[np.sum(cell.predicted[:, cell.label == true] == taken) for taken in labels] for true in labels]
    )
    if len(labels) > MAX_CLASSES:
        return _listed(cell, counts, labels, names)
    rows = []
    for place, true in enumerate(labels):
        videos = max(int(np.sum(cell.label == true)) * len(cell.predicted), 1)
        shares = counts[place] / videos
        row = [text(names[true])]
        for taken, share in enumerate(shares):
            shown = Cell(text=f"{share * 100:.0f}", number=True, share=float(share))
            row.append(replace(shown, tone="best") if taken == place else shown)
        rows.append(row)
    return Table(
        caption=f"Confusion of {cell.cell}: a line is the true class, its cells say what it was taken for (%)",
        head=["true class", *(names[label] for label in labels)],
        rows=rows,
        kind="heat",
        note=f"Over {numbered(len(cell.predicted), 'seed')}. Bold: right.",
    )


def _listed(
    cell: CellPredictions, counts: NDArray[np.int64], labels: Sequence[int], names: Mapping[int, str]
) -> Table:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_LISTED]
    rows = []
    for flat in order:
        true, taken = divmod(int(flat), len(labels))
        if wrong[true, taken]:
            videos = max(int(np.sum(cell.label == labels[true])) * len(cell.predicted), 1)
            share = float(wrong[true, taken] / videos)
            rows.append(
                [
                    text(names[labels[true]]),
                    text(names[labels[taken]]),
                    figure(str(wrong[true, taken])),
                    _bar(share),
                ]
            )
    return Table(
        caption=f"Most frequent confusions of {cell.cell}",
        head=["true class", "taken for", "times", "share of the class (%)"],
        rows=rows,
        row_heads=2,
        kind="bars",
        note=f"All seeds together; {len(labels)} classes are too many for a matrix.",
    )


def _by_class(cell: CellPredictions) -> dict[int, tuple[float, int]]:
    """Label -> accuracy in [0, 1] over videos and seeds, and number of videos."""
    right = cell.correct.mean(axis=0)
    return {
        int(label): (float(right[cell.label == label].mean()), int(np.sum(cell.label == label)))
        for label in np.unique(cell.label)
    }


def _bar(share: float) -> Cell:
    return Cell(text=f"{share * 100:.1f}", number=True, share=share)
