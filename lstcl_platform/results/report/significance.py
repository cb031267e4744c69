"""Is one cell better than another? Paired over the test videos, and over seeds."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lstcl_platform.results.compare import Comparison, Summary
from lstcl_platform.results.paired import McNemar, PairedDifference, mcnemar, paired_difference
from lstcl_platform.results.report.predictions import CellPredictions
from lstcl_platform.results.report.table import NOTHING, Cell, Table, figure, text
from lstcl_platform.results.text import signed

ALL_PAIRS = 5
"""Up to so many cells every pair is tested; beyond, each against the best."""
_RESAMPLES = 10_000
_DRAWS = 20_000_000
"""Resamples times videos at most: a large test set gets fewer."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two cells on the same test videos.

    Attributes:
        first: name of one.
        second: name of the other.
        difference: second less first, over the videos, seeds averaged.
        by_seed: McNemar's test of the first seed of each.
        over_seeds: p-value of Welch's t-test over seeds, None for a single one.
    """

    first: str
    second: str
    difference: PairedDifference
    by_seed: McNemar
    over_seeds: float | None


def pairs_of(cells: Sequence[CellPredictions], comparison: Comparison) -> list[Pair]:
    """All pairs of up to `ALL_PAIRS` cells, or every cell against the best; only cells that saw the same videos."""
    summaries = {
        cell.name: cell.metrics[comparison.metric]
        for cell in comparison.cells
        if comparison.metric in cell.metrics
    }
    best = next((cell.name for cell in comparison.cells if cell.best), None)
    # While a sweep runs, a cell can have predictions before it has a result.
    tested = [cell for cell in cells if cell.cell in summaries]
    chosen = [
        (first, second)
        for first, second in itertools.combinations(tested, 2)
        if (len(cells) <= ALL_PAIRS or best in (first.cell, second.cell)) and _same_videos(first, second)
    ]
    return [_pair(first, second, summaries) for first, second in chosen]


def significance_table(pairs: Sequence[Pair], metric: str) -> Table:
    """One line a pair, p-values also after Holm's correction for their number."""
    corrected = holm([pair.difference.p_value for pair in pairs])
    rows = []
    for pair, p_holm in zip(pairs, corrected, strict=True):
        found = pair.difference
        sure = p_holm < 1 - found.level
        told = f"{pair.second} is {'better' if found.mean > 0 else 'worse'}" if sure else "not told apart"
        rows.append(
            [
                text(pair.second),
                text(pair.first),
                figure(signed(found.mean, metric)),
                figure(f"{signed(found.low, metric)} to {signed(found.high, metric)}"),
                _p(found.p_value),
                _p(p_holm),
                figure(
                    _p_text(pair.by_seed.p_value), f"{pair.by_seed.only_second} : {pair.by_seed.only_first}"
                ),
                NOTHING if pair.over_seeds is None else _p(pair.over_seeds),
                text(told, tone="good" if sure else "muted"),
            ]
        )
    videos = pairs[0].difference.videos if pairs else 0
    return Table(
        caption=f"Pairs of cells on the same {videos} test videos",
        head=[
            "cell",
            "against",
            "difference (points)",
            "95 % bootstrap",
            "p, sign flips",
            "p, Holm",
            "p, McNemar",
            "p, seeds",
            "verdict",
        ],
        rows=rows,
        row_heads=2,
        note="Sign flips and bootstrap pair the videos, seeds averaged: would other test videos say the same? McNemar: "
        "first seed of each, below it the videos that only the one and only the other got right. Seeds: Welch's "
        "t-test, would another training say the same? The verdict is Holm's at 5 %, over the videos.",
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of `p_values` for their number, in their order."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def welch(first: Summary, second: Summary) -> float | None:
    """Two-sided p-value of Welch's t-test of two means over seeds; None where one has a single seed or no spread."""
    from scipy.special import stdtr

    if first.sd is None or second.sd is None or first.sd + second.sd == 0:
        return None
    a, b = (each.sd**2 / len(each.values) for each in (first, second) if each.sd is not None)
    freedom = (a + b) ** 2 / (a**2 / (len(first.values) - 1) + b**2 / (len(second.values) - 1))
    return float(2 * stdtr(freedom, -abs(first.mean - second.mean) / math.sqrt(a + b)))


def _pair(first: CellPredictions, second: CellPredictions, summaries: dict[str, Summary]) -> Pair:
    resamples = min(_RESAMPLES, max(1000, _DRAWS // max(len(first.video), 1)))
    return Pair(
        first=first.cell,
        second=second.cell,
        difference=paired_difference(first.correct, second.correct, resamples=resamples),
        by_seed=mcnemar(first.correct[0], second.correct[0]),
        over_seeds=welch(summaries[first.cell], summaries[second.cell]),
    )


def _same_videos(first: CellPredictions, second: CellPredictions) -> bool:
    return first.path == second.path and len(first.path) > 0


def _p(value: float) -> Cell:
    return figure(_p_text(value), tone="best" if value < 0.05 else "")


def _p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
