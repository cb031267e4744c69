"""What finished stages tell about speed, and what was predicted of a launch before it ran."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lstcl_platform.specs.stages import TESTS
from lstcl_platform.tracking.details import DetailedRuns
from lstcl_platform.tracking.location import sqlite_file
from lstcl_platform.tracking.records import LaunchRun
from lstcl_platform.tracking.stage_runs import QUERIES_AT_ONCE, finished_stage
from lstcl_platform.tracking.store import STAGES

_PREDICTION = "prediction.json"
_MANY = 50
"""Newest finished stages that are looked at: older ones tell little of today's machines, and each takes 5 ms."""


@dataclass(frozen=True, kw_only=True)
class MeasuredStage:
    """Times of a finished stage that ran in one attempt.

    Attributes:
        key: of the stage.
        kind: what it did.
        settings: its identity, flat: dotted name -> text.
        fingerprint: how it was computed.
        steps: optimizer steps, or batches of a test.
        videos: scored by a test, else None.
        seconds: of the attempt.
        first_batch: of them, until the first batch.
        training: of them, in steps, waits for data included; None for a test.
        waiting: of `training`, waiting for data.
        decode_seconds: of one core for a sample; None where it was not logged.
        began: Unix time of the attempt's start.
        since_launch: seconds from the launch process's start to that.
    """

    key: str
    kind: str
    settings: Mapping[str, str]
    fingerprint: Mapping[str, Any]
    steps: int
    videos: int | None
    seconds: float
    first_batch: float
    training: float | None
    waiting: float
    decode_seconds: float | None
    began: float
    since_launch: float


class MeasuredRuns(DetailedRuns):
    """The part of the tracking store that a plan reads and a launch writes its prediction to."""

    def measured_stages(self) -> list[MeasuredStage]:
        """The newest finished stages that ran in one attempt on one launch, newest first."""
        experiment = self._experiment(STAGES)
        if experiment is None:
            return []
        mark = "attributes.status = 'FINISHED' and tags.`lstcl.status` = 'finished' and tags.`lstcl.attempt` = '1'"
        runs = self._client.search_runs([experiment], filter_string=mark, max_results=_MANY)
        # As in `_runs_of`: a server is asked several things at once, SQLite gains nothing by it.
        with ThreadPoolExecutor(1 if sqlite_file(self.uri) else QUERIES_AT_ONCE) as pool:
            return [stage for stage in pool.map(self._measured, runs) if stage is not None]

    def keep_prediction(self, launch: LaunchRun, stages: Mapping[str, Any]) -> None:
        """Keep what is predicted of a launch, by stage key; of a stage that has a prediction, the older one stays."""
        if not stages:
            return
        before = self.prediction(launch.run_id) if launch.resumed else {}
        self._client.log_text(launch.run_id, json.dumps({**stages, **before}, indent=1), _PREDICTION)

    def prediction(self, run_id: str) -> dict[str, Any]:
        """What was predicted of the stages of the launch of parent run `run_id`, by key; empty without a prediction."""
        if not any(artifact.path == _PREDICTION for artifact in self._client.list_artifacts(run_id)):
            return {}
        found: dict[str, Any] = json.loads(self._read_text(run_id, _PREDICTION))
        return found

    def _measured(self, run: Any) -> MeasuredStage | None:
        """Times of a finished run; None where its first batch was not timed."""
        tags, metrics, stage = run.data.tags, run.data.metrics, finished_stage(run)
        first, launch = (tags.get(f"lstcl.first_batch_{part}") for part in ("seconds", "since_launch"))
        if first is None or launch is None:
            return None
        kind = tags.get("lstcl.kind", "")
        testing = kind in TESTS
        rows = [] if testing else self._rows(run.info.run_id)
        return MeasuredStage(
            key=stage.key,
            kind=kind,
            settings=run.data.params,
            fingerprint=stage.fingerprint,
            steps=int(metrics.get("step", 0)),
            videos=int(metrics["videos"]) if testing and "videos" in metrics else None,
            seconds=stage.seconds,
            first_batch=float(first),
            training=sum(seconds for _, seconds, _ in rows) if rows else None,
            waiting=sum(seconds * share for _, seconds, share in rows),
            decode_seconds=metrics.get("decode_seconds"),
            began=run.info.start_time / 1000,
            since_launch=float(launch) - float(first),
        )

    def _rows(self, run_id: str) -> Sequence[tuple[int, float, float]]:
        """(steps since the row before, seconds they took, share of that spent waiting) of each logged row."""
        curves = self.stage_curves(run_id, ["step_seconds", "data_wait"])
        waits = dict(curves.get("data_wait", ()))
        rows, before = [], 0
        for step, seconds in curves.get("step_seconds", ()):
            rows.append((step - before, seconds * (step - before), waits.get(step, 0.0)))
            before = step
        return rows
