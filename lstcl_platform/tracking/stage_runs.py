"""Stage runs: one MLflow run a stage key, found by every launch that needs the stage."""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from lstcl_platform.specs.stages import Stage
from lstcl_platform.tracking.location import sqlite_file
from lstcl_platform.tracking.records import FinishedStage, StageRun, StageState, Status
from lstcl_platform.tracking.secrets import mask, mask_text
from lstcl_platform.tracking.store import MAX_TAG, STAGES, Store, clip, compact

_STEP = "step"
BAD_VIDEOS = "bad_videos"
"""Artifact folder of a stage: one JSON file a launch, problem -> samples that it cost."""
CLASSES = "classes.json"
"""Artifact of a finetuning: the names of its labels, from 0 on."""
QUERIES_AT_ONCE = 8
"""Of a store that is a server."""
RUN_STATES: Mapping[str, Status] = {
    "SCHEDULED": "waiting",
    "RUNNING": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "interrupted",
}


class StageRuns(Store):
    """The part of the tracking store that holds stages."""

    def finished(self, keys: Iterable[str]) -> dict[str, FinishedStage]:
        """The stages among `keys` whose result is there: MLflow status FINISHED, and our own mark."""
        mark = "attributes.status = 'FINISHED' and tags.`lstcl.status` = 'finished'"
        found: dict[str, FinishedStage] = {}
        for key, run in self._runs_of(keys, condition=mark):
            found.setdefault(key, finished_stage(run))
        return found

    def begin_stage(
        self,
        stage: Stage,
        *,
        attempt: int,
        attempt_dir: str,
        fingerprint: Mapping[str, Any],
        total_steps: int | None = None,
    ) -> StageRun:
        """Open the run of a stage attempt; the unfinished run of the same key goes on if there is one.

        Args:
            stage: the stage.
            attempt: number of this attempt, 1 for the first.
            attempt_dir: URI of the attempt's folder.
            fingerprint: how the numbers will be computed (JSON-ready).
            total_steps: steps in all, for `status`.

        Returns:
            The open run, MLflow status RUNNING.
        """
        with self._lock:
            experiment = self._make_experiment(STAGES, tags={"lstcl.kind": "stages"})
            query = f"attributes.status != 'FINISHED' and tags.`lstcl.stage_key` = '{stage.key}'"
            earlier = next(self._search([experiment], query), None)
            if earlier is None:
                name = f"{stage.kind} {stage.short_key}"
                tags = {"lstcl.kind": stage.kind, "lstcl.stage_key": stage.key}
                run_id = self._client.create_run(experiment, run_name=name, tags=tags).info.run_id
                last_step, seconds = 0, 0.0
            else:
                run_id = earlier.info.run_id
                last_step, seconds = int(earlier.data.metrics.get(_STEP, 0)), self._seconds_so_far(earlier)
                self._client.update_run(run_id, status="RUNNING")
            began = time.time()
            tags = {
                "lstcl.status": "running",
                "lstcl.attempt": str(attempt),
                "lstcl.attempt_dir": attempt_dir,
                "lstcl.parent_key": stage.parent or "",
                "lstcl.fingerprint": compact(mask(fingerprint)),
                "lstcl.trials": compact(list(stage.trials)),
                "lstcl.seconds": f"{seconds:.3f}",
                "lstcl.began": f"{began:.3f}",
                "lstcl.error": "",
                "lstcl.log": "",
            }
            known = {"lstcl.epoch": stage.epoch, "lstcl.total_steps": total_steps}
            tags |= {name: str(value) for name, value in known.items() if value is not None}
            self._set_tags(run_id, tags)
            self._record_identity(run_id, stage)
        return StageRun(
            key=stage.key,
            run_id=run_id,
            resumed=earlier is not None,
            last_step=last_step,
            seconds_before=seconds,
            began_at=began,
        )

    def log_dataset(
        self,
        run: StageRun,
        *,
        name: str,
        digest: str,
        source: str,
        context: str,
        classes: Sequence[str] = (),
    ) -> None:
        """Record a manifest as an input of the run, and what its labels mean where the stage learns them.

        Args:
            run: the open run.
            name: readable name of the dataset.
            digest: manifest digest; MLflow keeps its first 36 digits.
            source: path or URI of the videos.
            context: ``training`` or ``evaluation``.
            classes: name of each label, kept as ``classes.json``; nothing is kept without any.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=clip(name, 500),
            digest=digest[:36],
            source_type="local",
            source=compact({"uri": mask_text(source), "manifest_digest": digest}),
        )
        with self._lock:
            tags = [InputTag("mlflow.data.context", context)]
            self._client.log_inputs(run.run_id, datasets=[DatasetInput(dataset, tags)])
            if classes:
                self._client.log_text(run.run_id, json.dumps(list(classes)), CLASSES)

    def mark_training(self, run: StageRun, *, attempt_seconds: float, launch_seconds: float) -> None:
        """Record when the first batch was there: seconds since the attempt, and since the launch process, began."""
        self._set_tags(
            run.run_id,
            {
                "lstcl.first_batch_seconds": f"{attempt_seconds:.3f}",
                "lstcl.first_batch_since_launch": f"{launch_seconds:.3f}",
            },
        )

    def log_rows(self, run: StageRun, rows: Sequence[Mapping[str, float]]) -> int:
        """Write rows of metrics in one call (of up to 1000 numbers; more rows take more calls).

        Rows whose ``step`` is not above the newest stored step are skipped, so a history may be offered whole
        after a resume. Each row is stored whole or not at all.

        Args:
            run: the open run.
            rows: ``step`` (1-based, after the step) and metrics, in the order of steps.

        Returns:
            Number of rows written.
        """
        with self._lock:
            fresh = [(int(row[_STEP]), row) for row in rows if int(row[_STEP]) > run.last_step]
            if fresh:
                self._log_metrics(run.run_id, fresh)
                run.last_step = max(step for step, _ in fresh)
            return len(fresh)

    def warn_stage(self, run: StageRun, text: str) -> None:
        """Keep the newest warning of a stage as a tag of its run."""
        with self._lock:
            self._set_tags(run.run_id, {"lstcl.warning": text})

    def note_preemption(self, run: StageRun) -> None:
        """Count an attempt of the stage that gave way to a preemption."""
        with self._lock:
            tags = self._client.get_run(run.run_id).data.tags
            count = int(tags.get("lstcl.preemptions") or 0) + 1
            self._set_tags(run.run_id, {"lstcl.preemptions": str(count)})

    def note_bad_videos(self, run: StageRun, problems: Mapping[str, int], *, attempt: int) -> None:
        """Keep which bad videos this launch met in the stage: problem -> samples; `attempt` names the launch."""
        with self._lock:
            text = json.dumps({mask_text(text): times for text, times in problems.items()}, indent=1)
            self._client.log_text(run.run_id, text, f"{BAD_VIDEOS}/a{attempt}.json")

    def keep_files(self, run: StageRun, paths: Sequence[Path | str]) -> None:
        """Copy local files to a stage's artifacts."""
        with self._lock:
            for path in paths:
                self._client.log_artifact(run.run_id, str(path))

    def finish_stage(
        self,
        run: StageRun,
        *,
        metrics: Mapping[str, float],
        weights: str | None = None,
        weights_digest: str | None = None,
        checkpoint: str | None = None,
        state_digest: str | None = None,
        predictions: str | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        dataset_digest: str | None = None,
        artifacts: Sequence[Path | str] = (),
    ) -> None:
        """Record the result. MLflow status FINISHED is the last write: a result is there whole or not at all.

        Args:
            run: the open run.
            metrics: final metrics, logged at the newest step.
            weights: URI of the final weights (safetensors).
            weights_digest: their SHA-256.
            checkpoint: URI of the final checkpoint.
            state_digest: digest over model, optimizer and RNG state.
            predictions: URI of the per-video predictions (Parquet).
            fingerprint: how the numbers were computed (JSON-ready).
            dataset_digest: what data the result comes from: the manifest's digest, or, where videos turned out bad,
                one over it and them.
            artifacts: local files to keep with the run.
        """
        tags = {
            "lstcl.weights": weights,
            "lstcl.weights_sha256": weights_digest,
            "lstcl.checkpoint": checkpoint,
            "lstcl.state_digest": state_digest,
            "lstcl.predictions": predictions,
            "lstcl.dataset_digest": dataset_digest,
            "lstcl.fingerprint": compact(mask(fingerprint)) if fingerprint else None,
        }
        with self._lock:
            for path in artifacts:
                self._client.log_artifact(run.run_id, str(path))
            self._log_changed(run.run_id, metrics, step=run.last_step)
            self._set_tags(run.run_id, {key: text for key, text in tags.items() if text is not None})
            self._end(run, mark="finished", status="FINISHED")

    def fail_stage(self, run: StageRun, *, error: str, log: str | None = None) -> None:
        """Record that the attempt failed: `error` as a tag and as ``error.txt``, and where its log is."""
        with self._lock:
            self._client.log_text(run.run_id, mask_text(error), "error.txt")
            # The end of a traceback says most, so that is what a tag keeps.
            self._set_tags(run.run_id, {"lstcl.error": mask_text(error)[-MAX_TAG:], "lstcl.log": log or ""})
            self._end(run, mark="failed", status="FAILED")

    def interrupt_stage(self, run: StageRun) -> None:
        """Record that the attempt was stopped before its end (MLflow status KILLED); a later one goes on."""
        with self._lock:
            self._end(run, mark="interrupted", status="KILLED")

    def stage_runs(self, keys: Iterable[str]) -> dict[str, StageState]:
        """Where the stages `keys` stand; stages that have never begun are missing."""
        states: dict[str, StageState] = {}
        for key, run in self._runs_of(keys):
            # Newest first; but a result that is there outweighs a later attempt to make it again.
            if key not in states or (run.info.status == "FINISHED" and states[key].status != "finished"):
                states[key] = stage_state(run)
        return states

    def _runs_of(self, keys: Iterable[str], *, condition: str = "") -> Iterator[tuple[str, Any]]:
        """(stage key, MLflow run) of the stages `keys` under `condition`, newest first for each key.

        One indexed query a key (5 ms): MLflow's filters have no OR, and IN for run ids only. Reading all runs
        (4 ms each) costs more as soon as a store has held a few studies.
        """
        experiment = self._experiment(STAGES)
        if experiment is None:
            return
        rest = f" and {condition}" if condition else ""

        def of_key(key: str) -> list[Any]:
            return list(self._search([experiment], f"tags.`lstcl.stage_key` = '{key}'{rest}"))

        unique = list(dict.fromkeys(keys))
        # Towards a server the time is latency; in SQLite it is computing, which threads do not speed up.
        workers = 1 if sqlite_file(self.uri) else QUERIES_AT_ONCE
        with ThreadPoolExecutor(max_workers=workers) as pool:
            for key, runs in zip(unique, pool.map(of_key, unique), strict=True):
                yield from ((key, run) for run in runs)

    def _record_identity(self, run_id: str, stage: Stage) -> None:
        self._log_params(run_id, flatten(mask(stage.identity)))
        resolved = {"kind": stage.kind, "key": stage.key, "parent": stage.parent, "identity": stage.identity}
        text = yaml.safe_dump(mask(resolved), sort_keys=False)
        self._client.log_text(run_id, text, "resolved.yaml")

    def _end(self, run: StageRun, *, mark: str, status: str) -> None:
        seconds = run.seconds_before + time.time() - run.began_at
        tags = {"lstcl.status": mark, "lstcl.seconds": f"{seconds:.3f}", "lstcl.began": ""}
        self._set_tags(run.run_id, tags)
        self._client.set_terminated(run.run_id, status=status)

    def _seconds_so_far(self, run: Any) -> float:
        """Time of earlier attempts; one that was killed counts up to its newest row."""
        tags = run.data.tags
        seconds, began = _number(tags.get("lstcl.seconds")), _number(tags.get("lstcl.began"))
        if began and _STEP in run.data.metrics:
            newest = max(row.timestamp for row in self._client.get_metric_history(run.info.run_id, _STEP))
            seconds += max(newest / 1000 - began, 0.0)
        return seconds


def stage_state(run: Any) -> StageState:
    """Where the stage of an MLflow stage run stands."""
    tags = run.data.tags
    seconds, began = _number(tags.get("lstcl.seconds")), _number(tags.get("lstcl.began"))
    status = RUN_STATES[run.info.status]
    if status == "running" and began:
        seconds += max(time.time() - began, 0.0)
    total, epoch = tags.get("lstcl.total_steps"), tags.get("lstcl.epoch")
    return StageState(
        key=tags.get("lstcl.stage_key", ""),
        kind=tags.get("lstcl.kind", ""),
        run_id=run.info.run_id,
        status=status,
        seconds=seconds,
        step=int(run.data.metrics.get(_STEP, 0)),
        total_steps=int(total) if total else None,
        attempt=int(_number(tags.get("lstcl.attempt"))),
        error=tags.get("lstcl.error") or None,
        log=tags.get("lstcl.log") or None,
        epoch=int(epoch) if epoch else None,
        metrics=run.data.metrics,
    )


def flatten(value: Mapping[str, Any], *, prefix: str = "") -> dict[str, str]:
    """Nested `value` as dotted names and texts, as MLflow parameters want it; lists become JSON."""
    flat: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(flatten(item, prefix=f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = text_of(item)
    return flat


def text_of(value: Any) -> str:
    """`value` as the text of an MLflow parameter."""
    return value if isinstance(value, str) else compact(value)


def finished_stage(run: Any) -> FinishedStage:
    """The result that an MLflow stage run holds."""
    tags = run.data.tags
    fingerprint: dict[str, Any] = {}
    with contextlib.suppress(json.JSONDecodeError):  # cut at MLflow's limit for tags
        fingerprint = json.loads(tags.get("lstcl.fingerprint", "{}"))
    return FinishedStage(
        key=tags["lstcl.stage_key"],
        run_id=run.info.run_id,
        metrics=run.data.metrics,
        weights=tags.get("lstcl.weights"),
        weights_sha256=tags.get("lstcl.weights_sha256"),
        checkpoint=tags.get("lstcl.checkpoint"),
        predictions=tags.get("lstcl.predictions"),
        state_digest=tags.get("lstcl.state_digest"),
        fingerprint=fingerprint,
        dataset_digest=tags.get("lstcl.dataset_digest"),
        seconds=_number(tags.get("lstcl.seconds")),
    )


def _number(text: str | None) -> float:
    return float(text) if text else 0.0
