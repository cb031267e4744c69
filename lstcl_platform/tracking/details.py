"""What a report reads beyond where things stand: curves, inputs, warnings and bad videos of stages."""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstcl_platform.specs.errors import UserError
from lstcl_platform.tracking.origin import CHANGED, COMMAND, COMMIT, VERSION
from lstcl_platform.tracking.records import FinishedStage, RecordedLaunch, StageState, TrialResult
from lstcl_platform.tracking.secrets import mask_text
from lstcl_platform.tracking.stage_runs import BAD_VIDEOS, RUN_STATES, finished_stage, stage_state
from lstcl_platform.tracking.trained import TrainedRuns

Point = tuple[int, float]
"""Step and value."""


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """All that tracking holds of a stage that has begun, but its curves.

    Attributes:
        state: where it stands.
        result: metrics, digests and locations; of an unfinished stage, what is there so far.
        source: folder or file of the videos it read.
        manifest: digest of their manifest; empty if unknown.
        warning: its newest warning, or None.
        preemptions: attempts that gave way to one.
    """

    state: StageState
    result: FinishedStage
    source: str
    manifest: str
    warning: str | None
    preemptions: int


@dataclass(frozen=True, kw_only=True)
class LaunchOrigin:
    """How a launch came about; what is not known is empty.

    Attributes:
        command: the command line.
        commit: commit of the code.
        edited: files of that commit were changed.
        version: of the platform.
    """

    command: str
    commit: str
    edited: bool
    version: str


@dataclass(frozen=True, kw_only=True)
class ComparedRuns:
    """Runs that are compared under one name.

    Attributes:
        name: of the experiment, or ``experiment@run`` for a single run.
        trials: its trials, or what stands for one.
        metrics: of the launch, such as baselines.
        launch: parent run with the recorded settings, or None for a run of somebody else.
    """

    name: str
    trials: tuple[TrialResult, ...]
    metrics: Mapping[str, float]
    launch: str | None


_RUN_ID = re.compile(r"[0-9a-f]{32}")


class DetailedRuns(TrainedRuns):
    """The part of the tracking store that reports read."""

    def results_of(self, name: str) -> "ComparedRuns":
        """What `compare` sets side by side: an experiment's newest launch, or any one MLflow run of this store.

        A launch's run gives all its trials, a trial's run itself, and a run of somebody else its parameters and
        metrics.

        Args:
            name: of an experiment, or an MLflow run id.

        Raises:
            UserError: there is neither; the message names the nearest experiment.
        """
        if name in self.experiments() or not _RUN_ID.fullmatch(name):
            trials, state = self.trial_results(name), self.launch_state(name)
            return ComparedRuns(name=name, trials=tuple(trials), metrics=state.metrics, launch=state.run_id)
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(name)
        except MlflowException as error:
            raise UserError(
                f"{name}: neither an experiment nor an MLflow run of {mask_text(self.uri)}"
            ) from error
        tags = run.data.tags
        label = f"{self._client.get_experiment(run.info.experiment_id).name}@{name[:8]}"
        launch = name if "lstcl.launch" in tags else tags.get("mlflow.parentRunId")
        if "lstcl.launch" in tags:
            trials = self._trials_of(run, experiment=label, alive=run.info.status == "RUNNING")
        elif "lstcl.trial" in tags:
            siblings = self._trials_of(self._client.get_run(launch), experiment=label, alive=True)
            trials = [trial for trial in siblings if trial.run_id == name]
        else:
            trials, launch = [_foreign(run, label)], None
        return ComparedRuns(name=label, trials=tuple(trials), metrics=run.data.metrics, launch=launch)

    def recorded_launch(self, name: str) -> RecordedLaunch:
        """What the newest launch of experiment `name` asked for, or the launch whose parent run has that id.

        Raises:
            UserError: its record has masked secrets or can no longer be launched.
        """
        return self._recorded(name, name[:8]) if _RUN_ID.fullmatch(name) else self.recorded_spec(name)

    def stage_records(self, keys: Iterable[str]) -> dict[str, StageRecord]:
        """Records of the stages `keys` that have begun; of a finished stage its finished run."""
        found: dict[str, Any] = {}
        for key, run in self._runs_of(keys):
            # Newest first; but a result that is there outweighs a later attempt to make it again.
            if key not in found or (_is_finished(run) and not _is_finished(found[key])):
                found[key] = run
        return {key: _record(run) for key, run in found.items()}

    def stage_curves(self, run_id: str, names: Sequence[str]) -> dict[str, list[Point]]:
        """Every logged value of metrics `names` of a stage, by step; metrics it does not have are missing."""
        curves: dict[str, list[Point]] = {}
        for name in names:
            rows = self._client.get_metric_history(run_id, name)
            if rows:
                # After a failed write a step may be there twice: the newer value counts.
                curves[name] = sorted({row.step: row.value for row in rows}.items())
        return curves

    def stage_file(self, run_id: str, name: str) -> bytes:
        """The content of an artifact of a stage.

        Raises:
            OSError: there is no such artifact.
        """
        with tempfile.TemporaryDirectory() as folder:
            from mlflow.exceptions import MlflowException

            try:
                return Path(self._client.download_artifacts(run_id, name, folder)).read_bytes()
            except MlflowException as error:
                raise FileNotFoundError(f"{run_id}: {name}") from error

    def bad_videos(self, run_id: str) -> Counter[str]:
        """The bad videos a stage met over all its launches: ``path: problem`` -> samples lost to it."""
        seen: Counter[str] = Counter()
        for artifact in self._client.list_artifacts(run_id, BAD_VIDEOS):
            seen.update(json.loads(self._read_text(run_id, artifact.path)))
        return seen

    def launch_origin(self, run_id: str) -> LaunchOrigin:
        """How the newest start of the launch of parent run `run_id` came about."""
        tags: Mapping[str, str] = self._client.get_run(run_id).data.tags
        return LaunchOrigin(
            command=tags.get(COMMAND, ""),
            commit=tags.get(COMMIT, ""),
            edited=tags.get(CHANGED) == "yes",
            version=tags.get(VERSION, ""),
        )


def _foreign(run: Any, label: str) -> TrialResult:
    return TrialResult(
        experiment=label,
        name=run.info.run_name or run.info.run_id,
        run_id=run.info.run_id,
        cell=run.data.params,
        metrics=run.data.metrics,
        status=RUN_STATES[run.info.status],
    )


def _is_finished(run: Any) -> bool:
    return bool(run.info.status == "FINISHED")


def _record(run: Any) -> StageRecord:
    tags = run.data.tags
    inputs = run.inputs.dataset_inputs if run.inputs else []
    source = json.loads(inputs[-1].dataset.source) if inputs else {}
    return StageRecord(
        state=stage_state(run),
        result=finished_stage(run),
        source=source.get("uri", ""),
        manifest=source.get("manifest_digest", ""),
        warning=tags.get("lstcl.warning") or None,
        preemptions=int(tags.get("lstcl.preemptions") or 0),
    )
