"""The recorder of a launch: turns what the board says into tracking and progress; the one writer of both."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import psutil

from lstcl_platform.orchestration.board import Event
from lstcl_platform.orchestration.halving import Decision, Halving
from lstcl_platform.orchestration.progress import LaunchProgress, StageProgress, Standstill, View, log_words
from lstcl_platform.orchestration.turns import Turns
from lstcl_platform.specs.stages import TESTS, Stage, StageGraph
from lstcl_platform.storage import local_path
from lstcl_platform.tracking.tracker import FinishedStage, LaunchRun, StageRun, Tracker

_MAX_ARTIFACT_BYTES = 1 << 30

DatasetOf = Callable[[Stage], Mapping[str, Any]]
"""Name, digest, source and context of the manifest that a stage reads; and the classes, where it learns them."""


class Recorder:
    """Writes stages and trials to tracking and keeps the progress that a view shows.

    Called from two threads of the launch process: the pump (events) and Tune's loop (ends of stages).

    Args:
        tracker: the tracking store.
        graph: all stages of the launch.
        halving: which trials were stopped early; told of every stage that ends.
        launches: the open launch runs, one an experiment.
        finished: stages that tracking already held.
        dataset_of: what a stage reads.
        turns: which stages this launch may run and record.
        view: where messages go.
    """

    def __init__(
        self,
        tracker: Tracker,
        graph: StageGraph,
        *,
        halving: Halving,
        launches: Mapping[str, LaunchRun],
        finished: Mapping[str, FinishedStage],
        dataset_of: DatasetOf,
        turns: Turns,
        view: View,
    ) -> None:
        self._tracker = tracker
        self.graph = graph
        self.halving = halving
        self._launches = launches
        self.finished = dict(finished)
        self._dataset_of = dataset_of
        self._turns = turns
        self._view = view
        self._runs: dict[str, StageRun] = {}
        self._settled: set[str] = set()
        self._probed: set[tuple[str, str, str]] = set()
        self._lock = threading.RLock()
        self.progress = LaunchProgress(
            names=tuple(launches),
            stages={key: _progress_of(stage, finished) for key, stage in graph.stages.items()},
        )
        self._tell_decisions([decision for name in launches for decision in halving.decisions(name)])
        self._settle_trials()

    def handle(self, events: Sequence[Event]) -> None:
        """Take in what happened, in order; while storage does not tell whose turn a stage is, the rest waits.

        Raises:
            StoreAwayError: storage or tracking was away for too long.
        """
        with self._lock:
            for event in events:
                state = self.progress.stages[event.stage]
                # Neither an orphan of a replaced attempt has a say, nor a launch that another one took over from.
                if event.attempt >= state.attempt and self._turns.is_ours(event.stage):
                    state.heard[event.rank] = time.time()
                    getattr(self, f"_on_{event.kind}")(event, state)

    def catch_up(self, drain: Callable[[], Sequence[Event]]) -> None:
        """Take in what `drain` takes from the board.

        Draining and recording are one step: between them another thread would find the board empty, and record a
        stage's end before its last rows.
        """
        with self._lock:
            self.handle(drain())

    def take_turn(self, key: str) -> FinishedStage | Literal["ours", "theirs"]:
        """Make it this launch's turn to run a stage; a result that another launch left is taken over."""
        with self._lock:
            state = self.progress.stages[key]
            other = self._turns.take(key)
            if other is not None:
                if state.waits_for != str(other):
                    state.waits_for = str(other)
                    self._view.message(
                        f"{state.kind} {key[:10]} ({state.label}) is run by {other}: waiting for its result"
                    )
                return "theirs"
            state.waits_for = ""
            # Looked up after the lease was taken: who had it before gave it back only when the end was recorded.
            found = self._tracker.finished([key]).get(key)
            if found is None:
                return "ours"
            self._turns.give_back(key)
            state.status, state.metrics = "cached", dict(found.metrics)
            self.finished[key] = found
            self._settle_trials()
            return found

    def complete(self, key: str, result: Mapping[str, Any] | None) -> FinishedStage | Literal["again"] | None:
        """Record the end of a stage, and give its lease back.

        Args:
            key: the stage.
            result: the driver's outcome, or None when its process died.

        Returns:
            The finished stage, None when it has no result, `again` when it is to be handed out once more: its driver
            died, or another launch has taken it over meanwhile.
        """
        with self._lock:
            state = self.progress.stages[key]
            if not self._turns.is_ours(key):
                self._view.message(
                    f"{state.kind} {key[:10]} ({state.label}): another launch has taken it over; nothing is recorded"
                )
                state.status = "waiting"
                return "again"
            try:
                return self._record_end(key, state, result)
            finally:
                self._turns.give_back(key)

    def _record_end(
        self, key: str, state: StageProgress, result: Mapping[str, Any] | None
    ) -> FinishedStage | Literal["again"] | None:
        state.ended_at = time.time()
        if state.bad_videos and key in self._runs:
            self._tracker.note_bad_videos(self._runs[key], state.bad_videos, attempt=state.attempt)
        status = "failed" if result is None else result["status"]
        if status == "finished":
            assert result is not None
            return self._finish(key, state, result["result"])
        run = self._runs.get(key)
        if status == "stopped":
            state.status = "stopped"
            if run is not None:
                self._tracker.interrupt_stage(run)
            return None
        if result is None and state.lost_drivers < self.graph.stages[key].spec.resources.max_failures:
            state.lost_drivers += 1
            self._retried(key, state, "its driver process died, trying again")
            state.status = "waiting"
            if run is not None:
                self._tracker.interrupt_stage(run)
            return "again"
        state.status = "failed"
        slow = state.slow_ranks()
        state.error = (result["error"] if result else "its driver process died") + (
            f" ({slow})" if slow else ""
        )
        log = result["log"] if result else state.attempt_dir
        if run is not None:
            self._tracker.fail_stage(run, error=state.error, log=log)
        self._view.message(
            f"failed: {state.kind} {key[:10]} ({state.label}): {state.error}; {log_words(log)}"
        )
        for other in self.halving.lost_with(key):
            if other not in self.finished:
                lost = self.progress.stages[other]
                lost.status, lost.error = (
                    "skipped",
                    f"needs {state.kind} {key[:10]} ({state.label}), which failed",
                )
        self._settle_trials()
        return None

    def close(self, *, interrupted: bool) -> None:
        """Mark what has not ended: stages that were cut off, and trials without a result."""
        with self._lock:
            for key, state in self.progress.stages.items():
                if state.running:
                    state.status = "stopped"
                    if (run := self._runs.get(key)) is not None:
                        self._tracker.interrupt_stage(run)
            self._settle_trials(open_ones="interrupted" if interrupted else "failed")

    def _finish(self, key: str, state: StageProgress, result: Mapping[str, Any]) -> FinishedStage:
        self._tracker.finish_stage(
            self._runs[key],
            metrics={"bad_videos": float(result["bad_videos"]), **result["metrics"]},
            weights=result["weights"],
            weights_digest=result["weights_digest"],
            checkpoint=result["checkpoint"],
            state_digest=result["state_digest"],
            predictions=result["predictions"],
            fingerprint=result["fingerprint"],
            dataset_digest=result["dataset_digest"],
            artifacts=_small_local(result["weights"], result["predictions"], result["bad_videos_table"]),
        )
        state.status = "finished"
        state.step = max(state.step, int(result["steps"]))
        state.metrics = dict(state.metrics) | dict(result["metrics"])
        finished = self._tracker.finished([key])[key]
        self.finished[key] = finished
        self._settle_trials()
        return finished

    def _settle_trials(self, open_ones: Any = None) -> None:
        """Close the runs of trials whose last stage has a result, can have none, or shall have none."""
        self._tell_decisions(self.halving.settle(self.finished))
        self._log_probes()
        for launch in self._launches.values():
            for trial, chain in launch.chains.items():
                name = f"{launch.experiment}/{trial}"
                if name in self._settled:
                    continue
                standing = self.halving.standing(name)
                states = [self.progress.stages[key] for key in chain]
                verdict = self.halving.verdict_on(name)
                tested = all(key in self.finished for key in chain if self.graph.stages[key].kind in TESTS)
                if verdict == "drop":
                    self._tracker.finish_trial(launch, trial, status="stopped", standing=standing)
                elif verdict == "run" and tested:
                    self._tracker.finish_trial(
                        launch, trial, status="finished", metrics=self._tested(chain), standing=standing
                    )
                elif lost := next((state for state in states if state.status in ("failed", "skipped")), None):
                    self._tracker.finish_trial(launch, trial, status="failed", error=lost.error)
                elif open_ones is not None:
                    self._tracker.finish_trial(launch, trial, status=open_ones)
                else:
                    continue
                self._settled.add(name)

    def _log_probes(self) -> None:
        """Bring finished probes of pretrainings that are probed on their way into the curves of their trials."""
        for launch in self._launches.values():
            for trial, chain in launch.chains.items():
                probes = [stage for key in chain if (stage := self.graph.stages[key]).kind == "probe"]
                if len(probes) == 1:  # of the end alone: no curve
                    continue
                for stage in probes:
                    result, point = self.finished.get(stage.key), (launch.run_id, trial, stage.key)
                    if result is None or stage.epoch is None or point in self._probed:
                        continue
                    self._probed.add(point)
                    self._tracker.log_probe(launch, trial, epoch=stage.epoch, metrics=result.metrics)

    def _tell_decisions(self, decisions: Sequence[Decision]) -> None:
        """Say and keep who was stopped, and mark the stages that nobody needs any more."""
        for decision in decisions:
            self._view.message(str(decision))
        for name in dict.fromkeys(decision.experiment for decision in decisions):
            self._tracker.keep_halving(
                self._launches[name], [asdict(d) for d in self.halving.decisions(name)]
            )
        if decisions:
            for key, state in self.progress.stages.items():
                if key not in self.finished and self.halving.verdict(key) == "drop":
                    state.status = "dropped"

    def _tested(self, chain: Sequence[str]) -> dict[str, float]:
        """Metrics of a trial: those of its tests; of equal names the last one's."""
        tests = [key for key in chain if self.graph.stages[key].kind in TESTS]
        return {name: value for key in tests for name, value in self.finished[key].metrics.items()}

    def _on_attempt(self, event: Event, state: StageProgress) -> None:
        stage = self.graph.stages[event.stage]
        state.status = "starting"
        state.attempt = event.attempt
        state.began_at = time.time()
        state.training_at = state.ended_at = None
        state.start_step = state.step = event.data["start_step"]
        state.total = event.data["total"]
        state.attempt_dir = event.data["attempt_dir"]
        state.heard = {0: time.time()}
        state.nodes, state.stuck = {}, {}
        run = self._tracker.begin_stage(
            stage,
            attempt=event.attempt,
            attempt_dir=state.attempt_dir,
            fingerprint={},
            total_steps=state.total,
        )
        self._tracker.log_dataset(run, **self._dataset_of(stage))
        self._runs[event.stage] = run
        if state.start_step:
            self._view.message(
                f"{state.kind} {event.stage[:10]} goes on from step {state.start_step} of {state.total}"
            )

    def _on_training(self, event: Event, state: StageProgress) -> None:
        state.status = "running"
        state.training_at = began = float(event.data["time"])
        self._tracker.mark_training(
            self._runs[event.stage],
            attempt_seconds=began - state.began_at,
            launch_seconds=began - psutil.Process().create_time(),
        )

    def _on_progress(self, event: Event, state: StageProgress) -> None:
        state.nodes[event.rank] = event.data["node"]
        if event.rank in state.stuck and event.data["step"] > state.stuck[event.rank].step:
            del state.stuck[event.rank]
        if event.rank == 0:
            state.step = event.data["step"]
            state.total = event.data["total"]
            state.metrics = dict(state.metrics) | dict(event.data["metrics"])

    def _on_rows(self, event: Event, state: StageProgress) -> None:
        rows = event.data["rows"]
        state.metrics = dict(state.metrics) | dict(rows[-1])
        self._tracker.log_rows(self._runs[event.stage], rows)

    def _on_bad_video(self, event: Event, state: StageProgress) -> None:
        problem = event.data["problem"]
        if problem not in state.bad_videos:
            self._view.message(f"bad video in {state.kind} {event.stage[:10]}: {problem}")
        state.bad_videos[problem] = state.bad_videos.get(problem, 0) + 1

    def _on_warning(self, event: Event, state: StageProgress) -> None:
        text = event.data["text"]
        self._view.message(f"{state.kind} {event.stage[:10]} ({state.label}): {text}")
        if (run := self._runs.get(event.stage)) is not None:
            self._tracker.warn_stage(run, text)

    def _on_preempted(self, event: Event, state: StageProgress) -> None:
        self._on_warning(event, state)
        if (run := self._runs.get(event.stage)) is not None:
            self._tracker.note_preemption(run)

    def _on_stuck(self, event: Event, state: StageProgress) -> None:
        place = event.data
        state.nodes[event.rank] = place["node"]
        state.stuck[event.rank] = Standstill(step=place["step"], where=place["where"], waits=place["waits"])
        self._view.message(
            f"{state.kind} {event.stage[:10]}: rank {event.rank} on {place['node']} stands still after step "
            f"{place['step']} at {place['where']}; stacks: {state.attempt_dir}/rank{event.rank}.log"
        )

    def _on_retry(self, event: Event, state: StageProgress) -> None:
        slow = state.slow_ranks()
        self._retried(event.stage, state, event.data["text"] + (f" ({slow})" if slow else ""))

    def _retried(self, key: str, state: StageProgress, text: str) -> None:
        state.retries.append(text)
        self._view.message(f"{state.kind} {key[:10]} ({state.label}): {text}")
        if (run := self._runs.get(key)) is not None:
            self._tracker.warn_stage(run, text)

    def _on_file(self, event: Event, state: StageProgress) -> None:
        self._tracker.keep_files(self._runs[event.stage], _small_local(event.data["location"]))


def _progress_of(stage: Stage, finished: Mapping[str, FinishedStage]) -> StageProgress:
    first = stage.trials[0].split("/", 1)[1]
    more = f" (+{len(stage.trials) - 1})" if len(stage.trials) > 1 else ""
    part = f", epoch {stage.until}" if stage.until is not None else ""
    progress = StageProgress(key=stage.key, kind=stage.kind, label=f"{first}{part}{more}")
    if stage.key in finished:
        progress.status = "cached"
        progress.metrics = dict(finished[stage.key].metrics)
    return progress


def _small_local(*locations: str | None) -> list[str]:
    """Files that are on this machine and small enough to keep in MLflow too."""
    paths = [local_path(location) for location in locations if location]
    return [str(path) for path in paths if path is not None and path.stat().st_size <= _MAX_ARTIFACT_BYTES]
