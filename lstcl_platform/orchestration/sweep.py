"""Tune schedules the stage graph: one Tune trial a stage, each a driver on the head."""

import os
import threading
from collections.abc import Mapping
from typing import Any, Literal

from lstcl_platform.orchestration.driver import outcome_of, run_stage
from lstcl_platform.orchestration.job import StageJob
from lstcl_platform.orchestration.preflight import stages_at_once
from lstcl_platform.orchestration.recorder import Recorder
from lstcl_platform.orchestration.searcher import StageSearcher
from lstcl_platform.tracking.tracker import FinishedStage

_DRIVER = {"node:__internal_head__": 0.001}
"""A driver reserves a sliver of the head and no CPU, so drivers can neither starve workers nor land on spot nodes."""


def run_stages(
    jobs: Mapping[str, StageJob], recorder: Recorder, *, stop: threading.Event, board: Any
) -> None:
    """Run every stage of `jobs`, parents first, as many at once as their placements allow.

    Args:
        jobs: what each unfinished stage is told, by key.
        recorder: records how each ends.
        stop: once set, no further stage starts; also set when recording fails.
        board: drained before an end is recorded, so that a stage's last rows come before its end.
    """
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    import ray
    from ray import tune

    failure: list[Exception] = []

    def give_up(error: Exception) -> None:  # Tune would log it and wait for ever
        failure.append(error)
        stop.set()

    def take_turn(key: str) -> FinishedStage | Literal["ours", "theirs"]:
        try:
            return recorder.take_turn(key)
        except Exception as error:
            give_up(error)
            return "theirs"

    def complete(key: str, result: Mapping[str, Any] | None) -> FinishedStage | Literal["again"] | None:
        try:
            recorder.catch_up(lambda: ray.get(board.drain.remote()))
            return recorder.complete(key, None if result is None else outcome_of(result))
        except Exception as error:
            give_up(error)
            return None

    searcher = StageSearcher(
        recorder.graph,
        halving=recorder.halving,
        finished=recorder.finished,
        take_turn=take_turn,
        on_complete=complete,
        stop=stop,
    )
    trainable = tune.with_resources(
        tune.with_parameters(run_stage, jobs=dict(jobs)), tune.PlacementGroupFactory([_DRIVER])
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=stages_at_once([job.placement for job in jobs.values()]),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="sweep", storage_path=_scratch(), verbose=0),
    )
    tuner.fit()
    if failure:
        raise failure[0]


def _scratch() -> str:
    """Tune's own records go where Ray's session lives: nothing reads them again."""
    from ray._private.worker import global_worker

    return os.path.join(global_worker.node.get_session_dir_path(), "tune")
