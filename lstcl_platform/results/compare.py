"""From trials to compared cells: mean and spread over seeds, the best cell, and what knows nothing scores."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lstcl_platform.results.published import Printed
from lstcl_platform.specs.cell_names import cell_id, name_without_seeds, without_seeds
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.halving import Standing
from lstcl_platform.tracking.records import Status, TrialResult

BASELINES: Mapping[str, str] = {
    "baseline_majority": "majority class",
    "baseline_mean_frame": "nearest neighbour on the mean frame",
    "baseline_random_frame": "on one random frame",
    "baseline_hue_histogram": "on a hue histogram",
}
"""Metrics of a launch that say what a model without learning scores, and how they are shown."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A metric over the seeds of a cell.

    Attributes:
        values: one a finished seed, in the order of the trials.
        mean: their mean.
        sd: their sample standard deviation (n - 1); None for a single seed.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None


@dataclass(frozen=True, kw_only=True)
class CellCost:
    """What a cell's model costs at test time.

    Attributes:
        convention: which products count, see `models.cost.Convention`.
        parameters: of the backbone, without the classifier.
        gmacs: 10^9 multiply-accumulates of one clip.
        views: clips times crops of a video.
    """

    convention: str
    parameters: int
    gmacs: float
    views: int


@dataclass(frozen=True, kw_only=True)
class ComparedCell:
    """One cell of a study, over its seeds.

    Attributes:
        experiment: name of the experiment.
        name: name of its trials without the seed, e.g. ``short=8 long=32``.
        cell: the swept fields but seeds, dotted path -> value.
        metrics: name -> summary over the seeds that have it.
        statuses: where its trials stand, one a seed.
        best: it has the best mean of its experiment.
        cost: what its model costs, where that was asked.
        spec: its resolved settings, seeds those of its first trial, where they were looked up.
        printed: what the paper prints for it, where it repeats a figure or table.
        standing: where it stood when successive halving last ranked it.
        probes: frozen accuracy -> epoch of pretraining -> summary over the seeds that have come so far, where
            pretraining is probed on its way.
    """

    experiment: str
    name: str
    cell: Mapping[str, Any]
    metrics: Mapping[str, Summary]
    statuses: tuple[Status, ...]
    best: bool = False
    cost: CellCost | None = None
    spec: TrialSpec | None = None
    printed: Printed | None = None
    standing: Standing | None = None
    probes: Mapping[str, Mapping[int, Summary]] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Number of finished trials."""
        return self.statuses.count("finished")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The cells of one or more experiments under one metric.

    Attributes:
        metric: the metric that decides.
        cells: in the order of the studies.
        baselines: experiment -> baseline metric -> value.
    """

    metric: str
    cells: tuple[ComparedCell, ...]
    baselines: Mapping[str, Mapping[str, float]]

    def delta(self, cell: ComparedCell) -> float | None:
        """Our mean less the printed value, or None where one of them is missing."""
        if cell.printed is None or not {self.metric} <= cell.metrics.keys() & cell.printed.values.keys():
            return None
        return cell.metrics[self.metric].mean - cell.printed.values[self.metric]

    def stands_out(self, cell: ComparedCell) -> bool:
        """Whether `cell` is best and another of its experiment is not as good: what a mark in a table says."""
        return cell.best and any(
            other.experiment == cell.experiment and self.metric in other.metrics and not other.best
            for other in self.cells
        )

    @property
    def experiments(self) -> list[str]:
        """Names of the compared experiments, in order."""
        return list(dict.fromkeys(cell.experiment for cell in self.cells))


LEADING = ("top1", "linear_top1", "knn_top1")
"""What a comparison is about unless it is said: the finetuned model, or frozen features where nothing is finetuned."""


def compare_trials(
    trials: Sequence[TrialResult],
    *,
    metric: str | None = None,
    launch_metrics: Mapping[str, Mapping[str, float]] | None = None,
) -> Comparison:
    """Group `trials` by everything but seeds (swept fields named ``seed``) and summarise their metrics.

    Args:
        trials: of one or more experiments.
        metric: the metric whose best mean is marked; a loss or error is better when lower. None is the first of
            `LEADING` that a finished trial has.
        launch_metrics: experiment -> metrics of its launch; those in `BASELINES` are kept.

    Raises:
        UserError: trials have finished, and none of them has `metric`.
    """
    known = {name for trial in trials if trial.status == "finished" for name in trial.metrics}
    if metric is None:
        metric = next((name for name in LEADING if name in known), LEADING[0])
    if known and metric not in known:
        raise UserError(f"--metric {metric}: no finished trial has it; there are: {', '.join(sorted(known))}")
    groups: dict[tuple[str, str, str], list[TrialResult]] = {}
    for trial in trials:
        groups.setdefault(cell_id(trial.experiment, trial.name, trial.cell), []).append(trial)
    cells = [_compared(members) for members in groups.values()]
    baselines = {
        experiment: {name: metrics[name] for name in BASELINES if name in metrics}
        for experiment, metrics in (launch_metrics or {}).items()
    }
    return mark_best(Comparison(metric=metric, cells=tuple(cells), baselines=baselines))


def cost_note(comparison: Comparison) -> str:
    """A line that says under which convention was counted; empty where nothing was."""
    words: Mapping[str, str] = {
        "linear+conv": "linear layers and convolutions, without the products inside attention",
        "all": "all products, those inside attention too",
    }
    used = next((cell.cost.convention for cell in comparison.cells if cell.cost is not None), None)
    if used is None:
        return ""
    return f"params: millions, without the classifier; GMACs x views: of one clip, {used} ({words[used]})"


def halved(cells: Sequence[ComparedCell]) -> list[tuple[ComparedCell, Standing]]:
    """The cells that successive halving has ranked."""
    return [(cell, cell.standing) for cell in cells if cell.standing is not None]


def selection_note(comparison: Comparison) -> str:
    """A line that says on what successive halving chose; empty without."""
    ranked = halved(comparison.cells)
    if not ranked:
        return ""
    return (
        f"Successive halving chose cells by {ranked[0][1].metric}, on the videos that results are measured on too "
        "(data.val): what is left is the best of several on them, and reads better than it would on others."
    )


def lower_is_better(metric: str) -> bool:
    """Whether `metric` is a loss or an error."""
    return "loss" in metric or "error" in metric


def _compared(trials: Sequence[TrialResult]) -> ComparedCell:
    done = [trial for trial in trials if trial.status == "finished"]
    names = dict.fromkeys(name for trial in done for name in trial.metrics)
    return ComparedCell(
        experiment=trials[0].experiment,
        name=name_without_seeds(trials[0].name),
        cell=without_seeds(trials[0].cell),
        metrics={
            name: summarise([trial.metrics[name] for trial in done if name in trial.metrics])
            for name in names
        },
        statuses=tuple(trial.status for trial in trials),
        standing=next((trial.standing for trial in trials if trial.standing is not None), None),
        probes=_probes(trials),
    )


def _probes(trials: Sequence[TrialResult]) -> dict[str, dict[int, Summary]]:
    found: dict[str, dict[int, list[float]]] = {}
    for trial in trials:
        for epoch, metrics in trial.probes.items():
            for name, value in metrics.items():
                found.setdefault(name, {}).setdefault(epoch, []).append(value)
    return {
        name: {epoch: summarise(values) for epoch, values in sorted(curve.items())}
        for name, curve in found.items()
    }


def summarise(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation of at least one value."""
    sd = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
    return Summary(values=tuple(values), mean=statistics.fmean(values), sd=sd)


def mark_best(comparison: Comparison) -> Comparison:
    """The comparison with the cell of the best mean of each experiment marked, of those that it has now."""
    cells, metric = comparison.cells, comparison.metric
    sign = -1.0 if lower_is_better(metric) else 1.0
    best: dict[str, float] = {}
    scores: list[float | None] = []
    for cell in cells:
        mean = cell.metrics[metric].mean if metric in cell.metrics else math.nan
        score = None if math.isnan(mean) else sign * mean
        scores.append(score)
        if score is not None:
            best[cell.experiment] = max(score, best.get(cell.experiment, score))
    marked = (
        replace(cell, best=score is not None and score == best[cell.experiment])
        for cell, score in zip(cells, scores, strict=True)
    )
    return replace(comparison, cells=tuple(marked))
