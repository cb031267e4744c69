"""Training curves and the health of the features, from the logged rows of each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lstcl_platform.results.drawing import DASHES, GRID, SERIES, Drawing, Mark, Panel, epoch_axis
from lstcl_platform.results.report.study import Study
from lstcl_platform.results.report.table import NOTHING, Cell, Table, figure, text
from lstcl_platform.results.text import number
from lstcl_platform.training.watch import LEAST_RANK, LEAST_STD

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lstcl_platform.tracking.tracker import Tracker

MAX_POINTS = 300
"""Points of a line; more are averaged in bins."""
TRAINING: Mapping[str, Mapping[str, str]] = {
    "pretrain": {
        "loss": "contrastive loss",
        "retrieval_top1": "retrieval: short finds its long clip",
        "lr": "learning rate",
        "samples_per_second": "videos a second",
    },
    "finetune": {"loss": "loss", "train_top1": "training accuracy (share)"},
}
HEALTH: Mapping[str, str] = {
    "feature_std": "spread of features (1: even, 0: collapsed)",
    "effective_rank": "effective rank of features",
    "embedding_std": "spread of embeddings",
    "embedding_rank": "effective rank of embeddings",
}
_ALARMS = {
    "feature_std": LEAST_STD,
    "embedding_std": LEAST_STD,
    "effective_rank": LEAST_RANK,
    "embedding_rank": LEAST_RANK,
}

Curve = list[tuple[float, float]]
"""Epoch and value."""


@dataclass(frozen=True, kw_only=True)
class StageCurves:
    """The curves of one stage.

    Attributes:
        cell: name of the first cell that uses it.
        curves: metric -> points.
    """

    cell: str
    curves: Mapping[str, Curve]


def read_curves(tracker: "Tracker", study: Study, kind: str) -> list[StageCurves]:
    """Curves of all stages of `kind` that have logged rows."""
    wanted = list(TRAINING[kind]) + (["collapsed", *HEALTH] if kind == "pretrain" else [])
    found = []
    for key, trials in study.trials_of(kind, "furthest").items():
        run_id = study.stages[key].state.run_id
        if run_id is None:
            continue
        rows = tracker.stage_curves(run_id, ["epoch", *wanted])
        epochs = dict(rows.pop("epoch", []))
        curves = {
            name: [(epochs[step], value) for step, value in points if step in epochs]
            for name, points in rows.items()
        }
        cell = study.cell_name(trials[0])
        found.append(StageCurves(cell=cell, curves={name: curve for name, curve in curves.items() if curve}))
    return [stage for stage in found if stage.curves]


def curves_drawing(
    stages: Sequence[StageCurves],
    labels: Mapping[str, str],
    *,
    cells: Sequence[str],
    name: str,
    title: str,
) -> Drawing | None:
    """A panel for each metric of `labels` that was logged, a line a stage.

    Args:
        stages: with their curves.
        labels: metric -> what it is called.
        cells: names of all cells: the place of a cell is its colour, in every figure the same.
        name: of the figure's files.
        title: its heading.
    """
    panels = []
    for metric, label in labels.items():
        drawn = [
            (stage.cell, stage.curves[metric]) for stage in stages if len(stage.curves.get(metric, ())) > 1
        ]
        if drawn:
            panels.append(_panel(metric, label, drawn, cells))
    if not panels:
        return None
    legend = [
        Mark(label=cell, color=_color(number_), marker="", dash=_dash(number_))
        for number_, cell in enumerate(cells)
        if any(stage.cell == cell for stage in stages)
    ]
    return Drawing(
        name=name,
        title=title,
        note="One line a training; seeds of a cell share its colour.",
        panels=panels,
        legend=legend,
    )


def _panel(metric: str, label: str, drawn: Sequence[tuple[str, Curve]], cells: Sequence[str]) -> Panel:
    def draw(axes: "Axes") -> None:
        for cell, curve in drawn:
            place = cells.index(cell)
            thin = thinned(curve)
            axes.plot(
                [epoch for epoch, _ in thin],
                [value for _, value in thin],
                color=_color(place),
                linestyle=_dash(place),
                linewidth=1.2,
                alpha=0.9,
            )
        if metric in _ALARMS:
            axes.axhline(_ALARMS[metric], color=SERIES[1], linestyle=":", linewidth=1.2)
            axes.set_ylim(bottom=0)
        epoch_axis(axes, "epoch", last=max(epoch for _, curve in drawn for epoch, _ in curve))
        axes.grid(axis="y", color=GRID)

    ends = "; ".join(f"{cell} ends at {number(curve[-1][1])}" for cell, curve in drawn)
    alarm = f" Dotted: below {_ALARMS[metric]:g} counts as collapsed." if metric in _ALARMS else ""
    return Panel(title=label, alt=f"{label} over epochs: {ends}.{alarm}", draw=draw, height=2.2)


def health_table(stages: Sequence[StageCurves]) -> Table:
    """The last figures of each pretraining, and whether its representation ever collapsed."""
    rows = []
    for stage in stages:
        values: list[Cell] = [
            figure(number(stage.curves[name][-1][1])) if name in stage.curves else NOTHING
            for name in ("retrieval_top1", *HEALTH)
        ]
        seen = [epoch for epoch, value in stage.curves.get("collapsed", ()) if value > 0]
        alarm = (
            text(f"collapsed at epoch {seen[0]:.3g}", tone="bad")
            if seen
            else text("no", tone="good")
            if "collapsed" in stage.curves
            else NOTHING
        )
        rows.append([text(stage.cell), *values, alarm])
    return Table(
        caption="Pretrained features at the last row",
        head=[
            "cell",
            "retrieval top-1",
            "feature spread",
            "feature rank",
            "embedding spread",
            "embedding rank",
            "collapsed",
        ],
        rows=rows,
        note=f"Spread below {LEAST_STD:g} or rank below {LEAST_RANK:g} is a collapse: videos are hardly told apart.",
    )


def thinned(curve: Curve) -> Curve:
    """At most `MAX_POINTS` points: means of neighbours, so that no peak is lost to chance."""
    step = -(-len(curve) // MAX_POINTS)
    if step == 1:
        return curve
    bins = [curve[start : start + step] for start in range(0, len(curve), step)]
    return [(sum(e for e, _ in b) / len(b), sum(v for _, v in b) / len(b)) for b in bins]


def _color(place: int) -> str:
    return SERIES[place % len(SERIES)]


def _dash(place: int) -> str:
    return DASHES[place // len(SERIES) % len(DASHES)]
