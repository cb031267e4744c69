"""A launch: from loaded experiments to finished stages. Launching again is resuming."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lstcl_platform.orchestration.baselines import launch_baselines
from lstcl_platform.orchestration.board import create_board
from lstcl_platform.orchestration.cluster import (
    Capacity,
    ClusterLostError,
    connected,
    is_cluster_loss,
)
from lstcl_platform.orchestration.halving import Halving
from lstcl_platform.orchestration.head_watch import watching_head
from lstcl_platform.orchestration.job import StageJob, trained_on
from lstcl_platform.orchestration.preflight import Placement, check_reachable, place_all
from lstcl_platform.orchestration.prepare import IndexedData, prepare_data
from lstcl_platform.orchestration.probe_epochs import check_probe_epochs
from lstcl_platform.orchestration.progress import LaunchProgress, View
from lstcl_platform.orchestration.pump import StopRequest, pump, stopping_on_signals
from lstcl_platform.orchestration.recorder import Recorder
from lstcl_platform.orchestration.turns import Turns
from lstcl_platform.specs import Expansion, LoadedExperiment, StageGraph, build_graph, expand
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.specs.stages import TESTS, Stage
from lstcl_platform.storage import check_library
from lstcl_platform.storage.places import Place
from lstcl_platform.tracking.location import artifact_location, sqlite_file, storage_folder, tracking_uri
from lstcl_platform.tracking.patience import Patience, StoreAwayError
from lstcl_platform.tracking.tracker import FinishedStage, LaunchRun, Tracker
from lstcl_platform.training.leases import Leases

Figures = Callable[[Tracker, str], Sequence[Path]]
"""Draws the figures of an experiment from what tracking holds; they are kept with its launch."""


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What a launch is about to run.

    Attributes:
        tracker: the open tracking store.
        graph: all stages.
        finished: keys of those that will not run.
        data: the videos, by resolved path.
        capacity: of the cluster.
        checkpoint: when training state is saved.
    """

    tracker: Tracker
    graph: StageGraph
    finished: Collection[str]
    data: Mapping[str, IndexedData]
    capacity: Capacity
    checkpoint: CheckpointSpec


Predict = Callable[[Ahead], Mapping[str, Any]]
"""Says what the stages of a launch will take, by key; kept with the launch, to be compared with what then happens."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a launch ended.

    Attributes:
        status: `failed` when a stage failed, `interrupted` when the user stopped it.
        progress: the last state of every stage.
        tracker: the open tracking store.
    """

    status: Literal["finished", "failed", "interrupted"]
    progress: LaunchProgress
    tracker: Tracker


@dataclass(frozen=True, kw_only=True)
class _Study:
    """What is launched, and on which data."""

    experiments: tuple[LoadedExperiment, ...]
    expansions: tuple[Expansion, ...]
    data: Mapping[str, IndexedData]
    graph: StageGraph
    halving: Halving
    storage: Place

    @property
    def first(self) -> ExperimentSpec:
        return self.experiments[0].resolved

    @property
    def stage_dirs(self) -> dict[str, str]:
        """Of each stage, the folder of its attempts and leases."""
        return {key: str(self.storage / "train" / key) for key in self.graph.stages}

    def todo(self, finished: Mapping[str, FinishedStage]) -> list[Stage]:
        """Stages that are left to run, as far as is known now."""
        stages = self.graph.stages.items()
        return [stage for key, stage in stages if key not in finished and self.halving.verdict(key) != "drop"]

    @property
    def tracking_uri(self) -> str:
        return tracking_uri(self.first.tracking, self.first.storage)


def launch(
    experiments: Sequence[LoadedExperiment],
    *,
    view: View,
    figures: Figures,
    predict: Predict,
    address: str | None = None,
    allow_numerics_change: bool = False,
) -> Outcome:
    """Run what tracking does not hold yet of `experiments`, and record everything.

    Args:
        experiments: loaded specs with equal storage and tracking; stages they share run once.
        view: shows progress.
        figures: draws the figures of each experiment at the end.
        predict: asked before anything runs.
        address: Ray cluster (`auto` or HOST:PORT); None starts a local one.
        allow_numerics_change: go on from checkpoints written under another numerics fingerprint.

    Raises:
        UserError: wrong input; nothing was run.
        ClusterLostError: Ray's head went away.
        StoreAwayError: tracking or storage was away for too long; stages have written checkpoints.
        KeyboardInterrupt: the user asked twice, or asked while one of them was away.
    """
    study = _study(experiments, view=view)
    stop = StopRequest()
    with ExitStack() as stack:
        tracker, finished, capacity = _connect(study, address=address, stack=stack)
        todo = study.todo(finished)
        seconds = 60 * study.first.tracking.patience_minutes
        patience = partial(Patience, seconds, tell=view.message, meanwhile=stop.hand_on)
        tracker.wait_while_away(patience())
        placements = _preflight(study, todo, capacity, view=view) if capacity else {}
        launches = _begin(study, tracker)
        if capacity is not None:
            _keep_prediction(study, launches, tracker, todo, capacity, predict=predict)
        leases = Leases()
        stack.callback(leases.close)
        turns = Turns(leases, stage_dirs=study.stage_dirs, patience=patience())
        recorder = _recorder(study, tracker, launches=launches, finished=finished, turns=turns, view=view)
        try:
            if todo:
                jobs = _jobs(study, todo, placements, allow_numerics_change=allow_numerics_change)
                _run(jobs, recorder, stop, launches=launches, tracker=tracker, view=view)
            if not stop.is_set():
                _log_baselines(study, launches, tracker=tracker, view=view)
            return _conclude(recorder, launches, interrupted=stop.is_set(), tracker=tracker, figures=figures)
        except StoreAwayError as error:
            if not stop.by_user:
                raise
            view.message(str(error))
            raise KeyboardInterrupt from error
        except Exception as error:
            if not is_cluster_loss(error):
                raise
            raise _cluster_lost(error) from error


def _recorder(
    study: _Study,
    tracker: Tracker,
    *,
    launches: Mapping[str, LaunchRun],
    finished: dict[str, FinishedStage],
    turns: Turns,
    view: View,
) -> Recorder:
    return Recorder(
        tracker,
        study.graph,
        halving=study.halving,
        launches=launches,
        finished=finished,
        dataset_of=lambda stage: _dataset_of(stage, study.data),
        turns=turns,
        view=view,
    )


def _cluster_lost(error: Exception) -> ClusterLostError:
    first_line = str(error).strip().partition("\n")[0]
    return ClusterLostError(
        f"the Ray cluster of this launch is gone ({first_line}): what is finished stays, and the rest goes on from its "
        "checkpoints"
    )


def _connect(
    study: _Study, *, address: str | None, stack: ExitStack
) -> tuple[Tracker, dict[str, FinishedStage], Capacity | None]:
    """Open tracking, and the cluster if a stage is left to run; both take seconds, so at once where that is sure."""
    database = sqlite_file(study.tracking_uri)
    store_is_new = database is not None and not database.exists()
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(
            Tracker,
            study.tracking_uri,
            artifact_location=artifact_location(study.tracking_uri, study.first.storage),
        )
        capacity = stack.enter_context(connected(address)) if store_is_new else None
        tracker = opening.result()
    finished = tracker.finished(study.graph.stages)
    study.halving.settle(finished)
    check_probe_epochs(study.graph, finished=finished, stage_dirs=study.stage_dirs, data=study.data)
    if capacity is None and study.todo(finished):
        capacity = stack.enter_context(connected(address))
    return tracker, finished, capacity


def _begin(study: _Study, tracker: Tracker) -> dict[str, LaunchRun]:
    return {
        experiment.resolved.name: tracker.begin_launch(
            experiment.resolved,
            requested=experiment.requested,
            trials=expansion.trials,
            graph=study.graph,
        )
        for experiment, expansion in zip(study.experiments, study.expansions, strict=True)
    }


def _keep_prediction(
    study: _Study,
    launches: Mapping[str, LaunchRun],
    tracker: Tracker,
    todo: Sequence[Stage],
    capacity: Capacity,
    *,
    predict: Predict,
) -> None:
    ahead = Ahead(
        tracker=tracker,
        graph=study.graph,
        finished=study.graph.stages.keys() - {stage.key for stage in todo},
        data=study.data,
        capacity=capacity,
        checkpoint=study.first.checkpoint,
    )
    found = predict(ahead)
    for launch in launches.values():
        keys = {key for chain in launch.chains.values() for key in chain}
        tracker.keep_prediction(launch, {key: each for key, each in found.items() if key in keys})


def _log_baselines(study: _Study, launches: Mapping[str, LaunchRun], *, tracker: Tracker, view: View) -> None:
    for experiment, expansion in zip(study.experiments, study.expansions, strict=True):
        found = launch_baselines(expansion.trials, study.data, storage=study.storage, view=view)
        tracker.log_launch_metrics(launches[experiment.resolved.name], found)


def _storage_folder(experiments: Sequence[LoadedExperiment]) -> Place:
    first = experiments[0].resolved
    for other in experiments[1:]:
        if (other.resolved.storage, other.resolved.tracking) != (first.storage, first.tracking):
            raise UserError(
                f"{other.path}: storage and tracking differ from {experiments[0].path}; "
                "experiments launched together share both"
            )
    folder = storage_folder(first.storage)
    check_library(str(folder))
    return folder


def _study(experiments: Sequence[LoadedExperiment], *, view: View) -> _Study:
    storage = _storage_folder(experiments)
    expansions = tuple(expand(experiment.resolved) for experiment in experiments)
    for expansion in expansions:
        for cell in expansion.excluded:
            view.message(f"excluded: {cell.name} ({cell.reason})")
    trials = [trial for expansion in expansions for trial in expansion.trials]
    data = prepare_data(trials, storage=storage, view=view)
    graph = build_graph(trials, manifests={path: found.manifest.digest for path, found in data.items()})
    return _Study(
        experiments=tuple(experiments),
        expansions=expansions,
        data=data,
        graph=graph,
        halving=Halving(graph, trials, folder=str(storage / "halving")),
        storage=storage,
    )


def _preflight(
    study: _Study, todo: Sequence[Stage], capacity: Capacity, *, view: View
) -> dict[str, Placement]:
    check_reachable(
        nodes=capacity.nodes,
        can_grow=capacity.can_grow,
        locations={"tracking.uri": study.tracking_uri, "storage.path": str(study.storage)},
        shared=study.storage if study.first.storage.shared and isinstance(study.storage, Path) else None,
    )
    placements = place_all(todo, capacity)
    waits = {placement.waits_for for placement in placements.values() if placement.waits_for}
    for text in sorted(waits):
        view.message(f"waiting for the cluster's autoscaler to bring {text}")
    return placements


def _jobs(
    study: _Study, todo: Sequence[Stage], placements: Mapping[str, Placement], *, allow_numerics_change: bool
) -> dict[str, StageJob]:
    board, stage_dirs = create_board(), study.stage_dirs
    return {
        stage.key: StageJob(
            stage=stage,
            train_manifest=str(study.data[trained_on(stage)].snapshot),
            val_manifest=str(study.data[stage.spec.data.val].snapshot),
            stage_dir=stage_dirs[stage.key],
            placement=placements[stage.key],
            checkpoint=study.first.checkpoint,
            log_every_steps=study.first.tracking.log_every_steps,
            board=board,
            profile_steps=study.first.tracking.profile_steps,
            allow_numerics_change=allow_numerics_change,
            longer_dirs=tuple(stage_dirs[longer.key] for longer in study.graph.longer(stage.key)),
        )
        for stage in todo
    }


def _run(
    jobs: Mapping[str, StageJob],
    recorder: Recorder,
    stop: StopRequest,
    *,
    launches: Mapping[str, LaunchRun],
    tracker: Tracker,
    view: View,
) -> None:
    """Run all stages of `jobs` on Tune."""
    import ray

    from lstcl_platform.orchestration.sweep import run_stages

    board = next(iter(jobs.values())).board
    stop.reaches(board)
    head: str = ray.get_runtime_context().gcs_address

    def asked_elsewhere() -> bool:
        for run in launches.values():
            tracker.heartbeat(run)
        return any(tracker.stop_requested(run) for run in launches.values())

    with (
        stopping_on_signals(stop, view),
        watching_head(head, view),
        pump(board, recorder, stop, asked_elsewhere, view),
    ):
        run_stages(jobs, recorder, stop=stop, board=board)


def _conclude(
    recorder: Recorder,
    launches: Mapping[str, LaunchRun],
    *,
    interrupted: bool,
    tracker: Tracker,
    figures: Figures,
) -> Outcome:
    recorder.close(interrupted=interrupted)
    failed = recorder.progress.count("failed", "skipped") > 0
    status: Literal["finished", "failed", "interrupted"] = (
        "interrupted" if interrupted else "failed" if failed else "finished"
    )
    for name, run in launches.items():
        drawn: Sequence[Path] = ()
        try:
            drawn = figures(tracker, name)
        finally:
            tracker.finish_launch(run, status=status, figures=drawn)
    return Outcome(status=status, progress=recorder.progress, tracker=tracker)


def _dataset_of(stage: Stage, data: Mapping[str, IndexedData]) -> dict[str, Any]:
    testing = stage.kind in TESTS
    source = stage.spec.data.val if testing else trained_on(stage)
    return {
        "classes": data[source].manifest.classes if stage.kind == "finetune" else (),
        "name": Path(source).name,
        "digest": data[source].manifest.digest,
        "source": source,
        "context": "evaluation" if testing else "training",
    }
