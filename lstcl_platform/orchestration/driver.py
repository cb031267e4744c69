"""The driver of a stage: a Tune trainable on the head that runs attempts of one stage until one ends well."""

import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lstcl_platform.orchestration.board import Event, EventKind
from lstcl_platform.orchestration.causes import cause, is_final
from lstcl_platform.orchestration.ingest import deal_shards
from lstcl_platform.orchestration.job import (
    StageJob,
    collective_seconds,
    deal_of,
    pause_step,
    samples_of,
)
from lstcl_platform.orchestration.ledger import Ledger
from lstcl_platform.orchestration.searcher import (
    PARENT_SHA256_PARAM,
    PARENT_WEIGHTS_PARAM,
    RUNG_CHECKPOINT_PARAM,
    STAGE_PARAM,
)
from lstcl_platform.orchestration.worker import run_worker
from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.storage import local_path
from lstcl_platform.storage.objects import client
from lstcl_platform.tracking.secrets import mask_text

if TYPE_CHECKING:  # the driver starts faster without torch
    from lstcl_platform.training.checkpoints import CheckpointRef

_OUTCOME = "outcome"


def run_stage(config: Mapping[str, Any], *, jobs: Mapping[str, StageJob]) -> dict[str, Any]:
    """Run the stage that the searcher chose; never raises, so that Tune has nothing to retry on its own.

    Args:
        config: the stage's key, its parent's weights and their digest, and the checkpoint of the rung before.
        jobs: what each stage of the launch is told.

    Returns:
        What `outcome_of` reads: status (finished, stopped or failed), attempt and its folder, and the stage's result
        or the error's text and where the traceback is ("" where no attempt began).
    """
    job = replace(
        jobs[config[STAGE_PARAM]],
        parent_weights=config[PARENT_WEIGHTS_PARAM],
        parent_sha256=config[PARENT_SHA256_PARAM],
        rung_checkpoint=config[RUNG_CHECKPOINT_PARAM],
    )
    failures, furthest = 0, -1
    while True:
        try:
            job = _claim(job)
        except (StorageError, UserError) as error:  # no other attempt would fare better
            return _outcome(job, "failed", error=str(error), log="")
        if job.start_step > furthest:
            failures, furthest = 0, job.start_step
        try:
            result = _fit(job)
        except Exception as error:
            failures += 1
            log = _write_error(job, error)
            if failures > job.stage.spec.resources.max_failures or is_final(error):
                return _outcome(job, "failed", error=cause(error), log=log)
            _tell(job, "retry", {"text": f"attempt {job.attempt} failed, trying again: {cause(error)}"})
            continue
        if result["status"] == "stopped" and not _stop_requested(job):
            kind, why = _why_stopped(job, result["steps"])
            _tell(job, kind, {"text": f"attempt {job.attempt} {why}"})
            continue
        return _outcome(job, result["status"], result=result)


def _why_stopped(job: StageJob, step: int) -> tuple[EventKind, str]:
    if step == pause_step(job, deal_of(job, samples_of(job))):
        return "warning", f"ended at step {step}, so that the memory of its data executor is given back"
    return "preempted", "gave way to a preemption"


def _claim(job: StageJob) -> StageJob:
    """The next attempt, going on from where `starting_point` says."""
    from lstcl_platform.training.checkpoints import next_attempt

    _free_groups(job)
    damaged: list[str] = []
    checkpoint = starting_point(job, on_damage=damaged.append)
    claimed = job.with_attempt(
        next_attempt(job.stage_dir),
        resume_from=checkpoint.uri if checkpoint else None,
        start_step=checkpoint.step if checkpoint else 0,
    )
    total = deal_of(claimed, samples_of(claimed)).steps
    _tell(
        claimed,
        "attempt",
        {"start_step": claimed.start_step, "total": total, "attempt_dir": claimed.attempt_dir},
    )
    for text in damaged:
        _tell(claimed, "warning", {"text": text})
    return claimed


def starting_point(job: StageJob, *, on_damage: Callable[[str], None]) -> "CheckpointRef | None":
    """Where the next attempt goes on: the furthest checkpoint of the stage, of its rung, or of what trains the same
    for longer; None for the beginning.

    What is known of bad videos comes with another stage's.
    """
    from lstcl_platform.training.checkpoints import (
        checkpoint_folders,
        intact_checkpoint,
        newest_good,
        step_of,
    )

    found = newest_good(job.stage_dir, on_damage=on_damage)
    others = [] if job.rung_checkpoint is None else [job.rung_checkpoint]
    if job.longer_dirs:
        end = deal_of(job, samples_of(job)).steps
        there = [each for stage_dir in job.longer_dirs for each in checkpoint_folders(stage_dir)]
        others += [uri for _, step, uri in there if step <= end]
    for uri in sorted(others, key=step_of, reverse=True):
        if found is not None and found.step >= step_of(uri):
            break
        other = intact_checkpoint(uri, on_damage=on_damage)
        if other is not None:
            Ledger(job.stage_dir).take_over(other.stage_dir)
            return other
    return found


def _free_groups(job: StageJob) -> None:
    """Remove the placement groups of earlier attempts; one that has ended as it should has none left.

    When a Train controller is killed, its group keeps its CPUs, and the next attempt would wait for them for ever.
    Ray's own cleaner learns of the death from the dashboard, which a local cluster does not have.
    """
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for group in ray.get(job.board.take_groups.remote(job.stage.key)):
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))


def _fit(job: StageJob) -> dict[str, Any]:
    """One run of the trainer; returns rank 0's stage result."""
    placement = job.placement
    remote = local_path(job.stage_dir) is None
    # Ray would not ask another server than the provider's own.
    filesystem, folder = client(job.stage_dir) if remote else (None, job.stage_dir)
    samples = samples_of(job)
    deal = deal_of(job, samples)
    # A checkpoint that already holds the last step leaves nothing to decode.
    shards = None
    if deal.chunks:
        ledger = Ledger.open(job.stage_dir)
        shards = deal_shards(samples, deal=deal, share=placement.decode, verdicts=ledger)

    # Only now: while this is imported, the process of the executor starts.
    from ray import train

    from lstcl_platform.orchestration.trainer import ProcessGroup, StageTrainer

    trainer = StageTrainer(
        run_worker,
        train_loop_config={"job": job, "shards": shards},
        scaling_config=train.ScalingConfig(
            num_workers=placement.workers,
            use_gpu=placement.worker_gpus > 0,
            label_selector=dict(placement.label_selector) or None,
            resources_per_worker={"CPU": placement.worker_cpus}
            | ({"GPU": placement.worker_gpus} if placement.worker_gpus else {}),
        ),
        backend_config=ProcessGroup(
            backend="nccl" if placement.worker_gpus else "gloo", timeout_s=collective_seconds(job)
        ),
        run_config=train.RunConfig(
            name=f"a{job.attempt}",
            storage_path=folder,
            storage_filesystem=filesystem,
            failure_config=train.FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
    value = trainer.fit().return_value
    assert isinstance(value, dict)
    return value


def _outcome(job: StageJob, status: str, **more: Any) -> dict[str, Any]:
    # As text, because Tune flattens nested dicts on their way to the searcher.
    outcome = {"status": status, "attempt": job.attempt, "attempt_dir": job.attempt_dir, **more}
    return {_OUTCOME: json.dumps(outcome)}


def outcome_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """How a stage ended, from what Tune hands on of `run_stage`."""
    outcome: dict[str, Any] = json.loads(result[_OUTCOME])
    return outcome


def _tell(job: StageJob, kind: EventKind, data: Mapping[str, Any]) -> None:
    job.board.push.remote([Event(kind=kind, stage=job.stage.key, attempt=job.attempt, data=data)])


def _stop_requested(job: StageJob) -> bool:
    import ray

    return bool(ray.get(job.board.stop_requested.remote()))


def _write_error(job: StageJob, error: BaseException) -> str:
    """Keep the whole story beside the attempt's checkpoints; returns where."""
    from lstcl_platform.storage import join, write_bytes

    parts = ["".join(traceback.format_exception(error))]
    parts += [f"rank {rank}: {failure}" for rank, failure in getattr(error, "worker_failures", {}).items()]
    path = join(job.attempt_dir, "error.txt")
    try:
        write_bytes(path, mask_text("\n\n".join(parts)).encode())
    except StorageError as failure:
        return f"could not be kept ({failure})"
    return path
