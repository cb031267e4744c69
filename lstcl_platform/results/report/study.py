"""All that a report says of one experiment, read from tracking once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lstcl_platform.results.compare import Comparison, compare_trials
from lstcl_platform.results.settings import with_settings
from lstcl_platform.specs.cell_names import cell_id
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import ExperimentSpec, Published
from lstcl_platform.specs.sweep import Excluded, expand
from lstcl_platform.tracking.records import LaunchState, RecordedLaunch, TrialResult
from lstcl_platform.tracking.secrets import mask_text

if TYPE_CHECKING:
    from lstcl_platform.tracking.tracker import LaunchOrigin, StageRecord, Tracker


@dataclass(frozen=True, kw_only=True)
class Study:
    """An experiment as tracking holds it.

    Attributes:
        launch: its newest launch.
        origin: how that came about.
        recorded: what was asked for, or None where the record cannot be read back.
        unreadable: why it cannot.
        excluded: cells that were left out, with reasons.
        trials: in the order of the sweep.
        comparison: the same, over seeds, with settings and printed values.
        stages: key -> record of every stage that has begun, in the order of the trials.
        store: where MLflow keeps it, without credentials.
    """

    launch: LaunchState
    origin: "LaunchOrigin"
    recorded: RecordedLaunch | None
    unreadable: str
    excluded: tuple[Excluded, ...]
    trials: tuple[TrialResult, ...]
    comparison: Comparison
    stages: "Mapping[str, StageRecord]"
    store: str

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.launch.experiment

    @property
    def spec(self) -> ExperimentSpec | None:
        """The resolved experiment, where it can be read back."""
        return None if self.recorded is None else self.recorded.spec

    @property
    def published(self) -> Published | None:
        """The figure or table of the paper that it repeats."""
        return None if self.spec is None else self.spec.published

    @property
    def finished(self) -> int:
        """Finished trials."""
        return sum(trial.status == "finished" for trial in self.trials)

    def trials_of(
        self, kind: str, which: Literal["final", "furthest", "all"] = "final"
    ) -> "dict[str, list[TrialResult]]":
        """Stage key -> the trials that use it, for the stages of `kind` that have begun.

        Where successive halving makes several of a trial, `which` takes the one to the end, the one that it has come
        to, or all.
        """
        uses: dict[str, list[TrialResult]] = {}
        for trial in self.trials:
            final = trial.final_stages.get(kind)
            stages = [stage for stage in trial.stages if stage.kind == kind and stage.key in self.stages]
            if which == "final":
                stages = [stage for stage in stages if stage is final]
            for stage in stages[-1:] if which == "furthest" else stages:
                uses.setdefault(stage.key, []).append(trial)
        return uses

    def cell_name(self, trial: TrialResult) -> str:
        """Name of the cell that `trial` is a seed of."""
        return cell_id(trial.experiment, trial.name, trial.cell)[1]


def read_study(tracker: "Tracker", experiment: str, *, metric: str | None = None) -> Study:
    """Read `experiment` as tracking holds it now, running or not.

    Raises:
        UserError: no such experiment, or no finished trial has `metric`.
    """
    launch = tracker.launch_state(experiment)
    trials = tuple(tracker.trial_results(experiment))
    comparison = compare_trials(trials, metric=metric, launch_metrics={experiment: launch.metrics})
    recorded: RecordedLaunch | None = None
    unreadable, excluded = "", tuple[Excluded, ...]()
    try:
        recorded = tracker.recorded_spec(experiment)
        comparison = with_settings(comparison, {experiment: recorded.spec})
        excluded = tuple(expand(recorded.spec).excluded)
    except UserError as error:
        unreadable = mask_text(str(error))
    keys = dict.fromkeys(stage.key for trial in trials for stage in trial.stages)
    found = tracker.stage_records(keys)
    return Study(
        launch=launch,
        origin=tracker.launch_origin(launch.run_id),
        recorded=recorded,
        unreadable=unreadable,
        excluded=excluded,
        trials=trials,
        comparison=comparison,
        stages={key: found[key] for key in keys if key in found},
        store=mask_text(tracker.uri),
    )
