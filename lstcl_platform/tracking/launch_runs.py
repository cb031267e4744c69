"""Launch runs: one parent run a launched configuration, one child run a trial."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import yaml

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.specs.halving import Standing
from lstcl_platform.specs.loading import parse_experiment
from lstcl_platform.specs.stages import StageGraph, Trial
from lstcl_platform.tracking.origin import origin_tags
from lstcl_platform.tracking.records import (
    LaunchRun,
    LaunchState,
    RecordedLaunch,
    Status,
    TrialResult,
    accuracies,
)
from lstcl_platform.tracking.secrets import is_masked, mask, mask_text
from lstcl_platform.tracking.stage_runs import RUN_STATES, StageRuns, text_of
from lstcl_platform.tracking.store import MAX_TAG, STAGES, compact
from lstcl_platform.tracking.views import PROBES, STANDING, chain_of, trial_result, unknown_experiment

SILENT_SECONDS = 180.0
"""A launch without a sign of life for this long counts as interrupted."""

_END: Mapping[str, str] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "stopped": "KILLED",
}
_PARENT = "mlflow.parentRunId"

Outcome = Literal["finished", "failed", "interrupted"]
TrialOutcome = Literal[Outcome, "stopped"]


class LaunchRuns(StageRuns):
    """The part of the tracking store that holds launches and their trials."""

    def begin_launch(
        self,
        spec: ExperimentSpec,
        *,
        requested: Mapping[str, Any],
        trials: Sequence[Trial],
        graph: StageGraph,
    ) -> LaunchRun:
        """Open the parent run of a launch and a child run for each trial.

        An equal resolved spec goes on in the same parent run and child runs; any other gets new ones.

        Args:
            spec: resolved experiment.
            requested: what the user wrote, overrides in it, nothing filled in.
            trials: its trials.
            graph: the stages of the trials.

        Raises:
            UserError: the experiment has the name that is kept for stages.
        """
        if spec.name == STAGES:
            raise UserError(f"name: {STAGES!r} is kept for the runs of stages; choose another")
        resolved = mask(spec.model_dump(mode="json"))
        digest = hashlib.sha256(compact(resolved).encode()).hexdigest()
        with self._lock:
            experiment = self._make_experiment(spec.name, tags={"lstcl.kind": "study"})
            earlier = next(self._search([experiment], f"tags.`lstcl.launch` = '{digest}'"), None)
            if earlier is None:
                tags = {"lstcl.launch": digest, "mlflow.note.content": spec.description}
                name = f"launch {digest[:8]}"
                run_id = self._client.create_run(experiment, run_name=name, tags=tags).info.run_id
            else:
                run_id = earlier.info.run_id
                self._client.update_run(run_id, status="RUNNING")
            now = f"{time.time():.3f}"
            tags = {"lstcl.began": now, "lstcl.heard": now, "lstcl.stop": ""}
            self._set_tags(run_id, tags | origin_tags())
            for name, fields in (("requested", mask(requested)), ("resolved", resolved)):
                self._client.log_text(run_id, yaml.safe_dump(fields, sort_keys=False), f"{name}.yaml")
            children = self._begin_trials(experiment, run_id, trials, graph)
        launch = LaunchRun(
            experiment=spec.name,
            experiment_id=experiment,
            run_id=run_id,
            resumed=earlier is not None,
            trials=children,
            chains={trial.name: chain_of(graph, trial) for trial in trials},
        )
        self.link_stages(launch)
        return launch

    def link_stages(self, launch: LaunchRun) -> None:
        """Write into each trial run which MLflow runs its stages are, as far as they have begun."""
        known = self.stage_runs({key for chain in launch.chains.values() for key in chain})
        for name, chain in launch.chains.items():
            runs = {key: known[key].run_id for key in chain if key in known}
            self._set_tags(launch.trials[name], {"lstcl.stage_runs": compact(runs)})

    def heartbeat(self, launch: LaunchRun) -> None:
        """Sign of life; `status` calls a launch interrupted that gave none for `SILENT_SECONDS`."""
        self._set_tags(launch.run_id, {"lstcl.heard": f"{time.time():.3f}"})

    def log_launch_metrics(self, launch: LaunchRun, metrics: Mapping[str, float]) -> None:
        """Record numbers that hold for the whole launch, such as ``baseline_majority``; equal ones once."""
        self._log_changed(launch.run_id, metrics, step=0)

    def finish_trial(
        self,
        launch: LaunchRun,
        trial: str,
        *,
        status: TrialOutcome,
        metrics: Mapping[str, float] | None = None,
        error: str | None = None,
        standing: Standing | None = None,
    ) -> None:
        """Close the run of trial `trial`; it stays linked to the runs of its stages.

        `standing` is its cell's in successive halving; one that does not go on is what makes a trial `stopped`.
        """
        run_id = launch.trials[trial]
        known = self.stage_runs(launch.chains[trial])
        with self._lock:
            self._log_changed(run_id, metrics or {}, step=0)
            links = compact({key: state.run_id for key, state in known.items()})
            reason = mask_text(error or "")[-MAX_TAG:]
            tags = {"lstcl.stage_runs": links, "lstcl.error": reason}
            if standing is not None:
                tags[STANDING] = compact(asdict(standing))
            self._set_tags(run_id, tags)
            self._client.set_terminated(run_id, status=_END[status])

    def log_probe(self, launch: LaunchRun, trial: str, *, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add accuracies to the curves that a trial has over epochs of pretraining, unless they are there."""
        run_id = launch.trials[trial]
        with self._lock:
            fresh = {
                f"{PROBES}{name}": value
                for name, value in accuracies(metrics).items()
                if all(
                    point.step != epoch
                    for point in self._client.get_metric_history(run_id, f"{PROBES}{name}")
                )
            }
            if fresh:
                self._log_metrics(run_id, [(epoch, fresh)])

    def keep_halving(self, launch: LaunchRun, decisions: Sequence[Mapping[str, Any]]) -> None:
        """Keep all decisions of successive halving so far with the launch, as ``halving.json``."""
        with self._lock:
            self._client.log_text(launch.run_id, json.dumps(list(decisions), indent=1), "halving.json")

    def finish_launch(
        self, launch: LaunchRun, *, status: Outcome, figures: Sequence[Path | str] = ()
    ) -> None:
        """Close the parent run; keep `figures` (local files) with it; close trials that are still open."""
        with self._lock:
            for path in figures:
                self._client.log_artifact(launch.run_id, str(path), "figures")
            for run in self._search([launch.experiment_id], f"tags.`{_PARENT}` = '{launch.run_id}'"):
                if run.info.status in ("RUNNING", "SCHEDULED"):
                    self._client.set_terminated(run.info.run_id, status="KILLED")
            self._client.set_terminated(launch.run_id, status=_END[status])

    def request_stop(self, experiment: str) -> bool:
        """Ask the running launch of `experiment` to stop, from any host; False if none runs."""
        state = self.launch_state(experiment)
        if state.status != "running":
            return False
        self._set_tags(state.run_id, {"lstcl.stop": f"{time.time():.3f}"})
        return True

    def stop_requested(self, launch: LaunchRun) -> bool:
        """Whether somebody has asked this launch to stop since it began."""
        return bool(self._client.get_run(launch.run_id).data.tags.get("lstcl.stop"))

    def experiments(self) -> list[str]:
        """Names of all experiments that were launched into this store, in alphabetical order."""
        found = self._client.search_experiments(filter_string="tags.`lstcl.kind` = 'study'")
        return sorted(experiment.name for experiment in found)

    def launch_state(self, experiment: str) -> LaunchState:
        """The newest launch of `experiment`.

        Raises:
            UserError: no such experiment; the message names the nearest.
        """
        parents = self._parents(experiment)
        run, tags = parents[0], parents[0].data.tags
        heard = float(tags.get("lstcl.heard") or 0)
        status: Status = RUN_STATES[run.info.status]
        if status == "running" and time.time() - heard > SILENT_SECONDS:
            status = "interrupted"
        return LaunchState(
            experiment=experiment,
            run_id=run.info.run_id,
            status=status,
            began_at=float(tags.get("lstcl.began") or 0),
            heard_at=heard,
            launches=len(parents),
            metrics=run.data.metrics,
            description=tags.get("mlflow.note.content", ""),
        )

    def trial_results(self, experiment: str) -> list[TrialResult]:
        """The trials of the newest launch of `experiment`, in the order of its cells.

        Raises:
            UserError: no such experiment; the message names the nearest.
        """
        parent = self._parents(experiment)[0]
        alive = self.launch_state(experiment).status == "running"
        return self._trials_of(parent, experiment=experiment, alive=alive)

    def _trials_of(self, parent: Any, *, experiment: str, alive: bool) -> list[TrialResult]:
        """The trials of the launch of run `parent`, as of an experiment called `experiment`."""
        runs = list(self._search([parent.info.experiment_id], f"tags.`{_PARENT}` = '{parent.info.run_id}'"))
        runs.sort(key=lambda run: int(run.data.tags.get("lstcl.order", 0)))
        chains = {run.info.run_id: json.loads(run.data.tags.get("lstcl.stage_keys", "{}")) for run in runs}
        known = self.stage_runs({key for chain in chains.values() for key in chain})
        return [
            trial_result(experiment, run, chain=chains[run.info.run_id], known=known, alive=alive)
            for run in runs
        ]

    def recorded_spec(self, experiment: str) -> RecordedLaunch:
        """What the newest launch of `experiment` asked for, for `resume`.

        Raises:
            UserError: no such experiment, or its record can no longer be launched.
        """
        return self._recorded(self._parents(experiment)[0].info.run_id, experiment)

    def _recorded(self, run_id: str, experiment: str) -> RecordedLaunch:
        resolved = self._read_text(run_id, "resolved.yaml")
        fields = yaml.safe_load(resolved)
        if is_masked(fields["tracking"]["uri"]):
            fields["tracking"]["uri"] = self.uri
        if is_masked(fields):
            raise UserError(f"{experiment}: its record has masked secrets; launch it from its YAML file")
        requested = self._read_text(run_id, "requested.yaml")
        origin = f"the record of {experiment!r}"
        try:
            spec = parse_experiment(fields, origin=origin)
        except UserError:
            # With a swept kind (of framework, of weights) the fields of the kind that stands outside the sweep, once
            # filled in, fit no other. What the user wrote has them not; only its paths need the place they were in.
            written = yaml.safe_load(requested)
            places = {block: fields[block] for block in ("data", "storage", "tracking")}
            spec = parse_experiment({**written, **places}, origin=origin)
        return RecordedLaunch(requested=requested, resolved=resolved, spec=spec)

    def _begin_trials(
        self, experiment: str, parent: str, trials: Sequence[Trial], graph: StageGraph
    ) -> dict[str, str]:
        earlier = {
            run.data.tags.get("lstcl.trial", ""): run
            for run in self._search([experiment], f"tags.`{_PARENT}` = '{parent}'")
        }
        children: dict[str, str] = {}
        for order, trial in enumerate(trials):
            known = earlier.get(trial.name)
            if known is None:
                tags = {_PARENT: parent, "lstcl.trial": trial.name}
                run_id = self._client.create_run(experiment, run_name=trial.name, tags=tags).info.run_id
            else:
                run_id = known.info.run_id
            if known is None or known.info.status != "FINISHED":
                self._client.update_run(run_id, status="SCHEDULED")
            self._set_tags(
                run_id,
                {
                    "lstcl.order": str(order),
                    "lstcl.cell": json.dumps(mask(trial.cell)),
                    "lstcl.stage_keys": json.dumps(
                        {key: graph.stages[key].kind for key in chain_of(graph, trial)}
                    ),
                },
            )
            self._log_params(run_id, {name: text_of(item) for name, item in mask(trial.cell).items()})
            children[trial.name] = run_id
        return children

    def _parents(self, experiment: str) -> list[Any]:
        """Parent runs of `experiment`, the most recently launched first; at least one."""
        names = self.experiments()
        found = self._experiment(experiment) if experiment in names else None
        runs = [] if found is None else list(self._search([found], "tags.`lstcl.launch` LIKE '%'"))
        if not runs:
            raise UserError(unknown_experiment(experiment, names, store=self.uri))
        return sorted(runs, key=lambda run: float(run.data.tags.get("lstcl.began") or 0), reverse=True)
