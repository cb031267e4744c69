"""Successive halving: cells ranked after some epochs of finetuning, of which only the best go on."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction as Exact
from statistics import fmean
from typing import Literal

from pydantic import Field

from lstcl_platform.specs.base import PositiveInt, Relation, Spec


class HalvingSpec(Spec):
    """Train all cells for some epochs of finetuning, and only the best of them to the end.

    Cells are ranked by the test protocol on `data.val`, once all have come so far; the seeds of a cell by their mean,
    and they go on together. The learning-rate schedule stays that of the whole finetuning: a cell that goes on ends
    with the same bits as without halving. Since `data.val` is where results are tested too, those of the cells that
    went on are chosen on it: hold videos out for `data.val` that no result is reported on.
    """

    after_epochs: tuple[PositiveInt, ...]
    """Epochs of finetuning after which the cells are ranked, ascending; below every cell's `finetune.epochs`."""
    keep: float = Field(default=0.5, gt=0, lt=1)
    """Share of the cells ranked that goes on, rounded down to whole cells; at least one."""
    metric: Literal["val_top1", "val_top5"] = "val_top1"
    """Accuracy on `data.val` that ranks; equal cells rank in the order of the study."""

    def broken_relations(self) -> Iterator[Relation]:
        """There are epochs, and they ascend."""
        if not self.after_epochs:
            yield Relation(fields=("after_epochs",), text="after_epochs needs at least one")
        if list(self.after_epochs) != sorted(set(self.after_epochs)):
            yield Relation(
                fields=("after_epochs",),
                text=f"after_epochs must be ascending, not {list(self.after_epochs)}",
            )

    @property
    def measured(self) -> str:
        """Name of the metric in the test that measures it."""
        return self.metric.removeprefix("val_")

    def going_on(self, cells: int) -> int:
        """How many of so many cells go on."""
        # Exactly what is written: 0.29 as a float times 100 would be 28 cells.
        return max(1, math.floor(Exact(str(self.keep)) * cells))


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The place of a cell at a rung.

    Attributes:
        cell: its name, without seeds.
        epoch: epochs of finetuning after which it was ranked.
        metric: what it was ranked by.
        score: its value, the mean over its seeds.
        rank: from 1 for the best.
        cells: how many were ranked.
        going_on: how many of them go on.
        bar: score of the last that goes on.
    """

    cell: str
    epoch: int
    metric: str
    score: float
    rank: int
    cells: int
    going_on: int
    bar: float

    @property
    def goes_on(self) -> bool:
        """Whether the cell is trained further."""
        return self.rank <= self.going_on

    def __str__(self) -> str:
        """``stopped after epoch 5: val_top1 0.312, rank 3 of 4; going on took rank 2 (0.45)``."""
        return (
            f"{'went on' if self.goes_on else 'stopped'} after epoch {self.epoch}: {self.metric} {self.score:.4g}, "
            f"rank {self.rank} of {self.cells}; going on took rank {self.going_on} ({self.bar:.4g})"
        )


def standings(
    spec: HalvingSpec, *, epoch: int, cells: Sequence[tuple[str, Sequence[float]]]
) -> tuple[Standing, ...]:
    """Rank cells by the mean over their seeds.

    Args:
        spec: the rule.
        epoch: of the rung.
        cells: name, and the metric of each seed, in the order of the study; at least one cell.

    Returns:
        One standing a cell, in the order given.
    """
    means = [fmean(values) for _, values in cells]
    ranked = sorted(
        range(len(cells)), key=lambda place: -means[place]
    )  # stable: of equal ones the first stays first
    going_on = spec.going_on(len(cells))
    return tuple(
        Standing(
            cell=name,
            epoch=epoch,
            metric=spec.metric,
            score=means[place],
            rank=ranked.index(place) + 1,
            cells=len(cells),
            going_on=going_on,
            bar=means[ranked[going_on - 1]],
        )
        for place, (name, _) in enumerate(cells)
    )
