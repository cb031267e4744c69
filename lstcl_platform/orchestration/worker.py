"""The function that Ray Train runs in each worker: build the stage's context, hand over to the plain-torch loop."""

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lstcl_platform.orchestration.board import Event, EventKind
from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.ingest import Batch, checked_batches, started
from lstcl_platform.orchestration.job import (
    Samples,
    StageJob,
    collective_seconds,
    deal_of,
    pause_step,
    samples_of,
)
from lstcl_platform.orchestration.ledger import Ledger
from lstcl_platform.orchestration.watchdog import Watchdog
from lstcl_platform.specs.stages import TESTS
from lstcl_platform.tracking.secrets import MaskingFormatter
from lstcl_platform.training.context import StageContext, StageResult

_log = logging.getLogger(__name__)

_STOP_CHECK_SECONDS = 1.0
_PROGRESS_SECONDS = 0.5


class BoardReporter:
    """Reporter of one rank: pushes to the board without waiting, and asks whether to stop about once a second.

    All ranks agree on the answer and on when the next question is due, because both travel from rank 0.
    """

    def __init__(self, job: StageJob, *, rank: int, pause_step: int | None) -> None:
        self._job = job
        self._rank = rank
        self._pause_step = pause_step
        self._node = socket.gethostname()
        self._watchdog = Watchdog(
            seconds=collective_seconds(job),
            tell=lambda place: self._push("stuck", {"node": self._node, **place}),
            log=Path(job.attempt_dir, f"rank{rank}.log") if "://" not in job.attempt_dir else None,
            give_up=_end_process if job.placement.workers == 1 else None,
            step=job.start_step,
        )
        self._last_progress = 0.0
        self._next_check = 0
        self._last_check = (0, time.monotonic())

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Hand rows of metrics to the launcher; other ranks' rows are dropped."""
        if self._rank == 0 and rows:
            self._push("rows", {"rows": [dict(row) for row in rows]})

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Tell where this rank is, at most twice a second."""
        self._watchdog.beat(step)
        if step == total:  # what is left is no step: a test's fits and figures, the last upload
            self.close()
        now = time.monotonic()
        if now - self._last_progress >= _PROGRESS_SECONDS or step == total:
            self._last_progress = now
            told = {"step": step, "total": total, "metrics": dict(metrics), "node": self._node}
            self._push("progress", told)

    def bad_video(self, problem: str) -> None:
        """Name a video that could not be decoded."""
        self._push("bad_video", {"problem": problem})

    def warning(self, text: str) -> None:
        """Show a warning to the user, once for all ranks."""
        if self._rank == 0:
            self._push("warning", {"text": text})

    def file(self, location: str) -> None:
        """Have a file of rank 0 kept with the run."""
        if self._rank == 0:
            self._push("file", {"location": location})

    def should_stop(self, step: int) -> bool:
        """Whether to checkpoint and end: the user asked, this node is about to be taken away, or a pause is due."""
        if self._pause_step is not None and step >= self._pause_step:
            return True
        if step < self._next_check:
            return False
        import ray
        from ray import train
        from ray.train.collective import broadcast_from_rank_zero

        stop = train.get_preemption_info() is not None
        answer: dict[str, Any] | None = None
        if self._rank == 0:
            stop = stop or bool(ray.get(self._job.board.stop_requested.remote()))
            answer = {"stop": stop, "next": step + self._check_interval(step)}
        if self._job.placement.workers > 1:
            answer = broadcast_from_rank_zero(answer)
        assert answer is not None
        self._next_check = answer["next"]
        return bool(answer["stop"])

    def training_begins(self) -> None:
        """Tell that the first batch is here."""
        if self._rank == 0:
            self._push("training", {"time": time.time()})

    def flush(self) -> None:
        """Wait until all that was pushed is on the board: a rank's pushes arrive in order, this one last."""
        import ray

        self.close()
        ray.get(self._job.board.push.remote([]))

    def close(self) -> None:
        """Stop watching the loop."""
        self._watchdog.close()

    def _check_interval(self, step: int) -> int:
        """Steps that take about _STOP_CHECK_SECONDS at the present speed."""
        last_step, last_time = self._last_check
        now = time.monotonic()
        self._last_check = (step, now)
        seconds = (now - last_time) / max(1, step - last_step)
        return max(1, round(_STOP_CHECK_SECONDS / max(seconds, 1e-3)))

    def _push(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        event = Event(
            kind=kind, stage=self._job.stage.key, attempt=self._job.attempt, rank=self._rank, data=data
        )
        self._job.board.push.remote([event])


def _end_process() -> None:
    """End this process, whatever its training thread is in: Train gives the attempt up, and the driver tries again."""
    _log.error("given up: no step for too long; this process ends")
    os._exit(1)


def run_worker(config: Mapping[str, Any]) -> dict[str, Any]:
    """Entry point of a Train worker.

    Args:
        config: `job`, a StageJob, and `shards`, the stream of each rank, or None when no step is left.

    Returns:
        The stage's result as a dict, once it is finished with what `_of_data` tells; Train hands rank 0's to the
        driver.
    """
    from ray import train

    job: StageJob = config["job"]
    rank = train.get_context().get_world_rank()
    _log_to_file(job, rank)
    _note_group(job, rank)
    samples = samples_of(job)
    deal = deal_of(job, samples)
    reporter = BoardReporter(job, rank=rank, pause_step=pause_step(job, deal))
    shards = config["shards"]
    batches: Iterator[Batch] = iter(())
    if shards is not None:
        planned = checked_batches(shards[rank], deal=deal, rank=rank)
        batches = started(planned, on_first=reporter.training_begins)
    context = _context(job, reporter, rank=rank, deal=deal, samples=samples)
    result = asdict(_run(job, context, batches, videos=samples.videos))
    reporter.flush()  # the result travels by another way, and must not overtake its last rows
    if rank == 0 and result["status"] == "finished":
        result |= _of_data(job, samples)
    return result


def _of_data(job: StageJob, samples: Samples) -> dict[str, Any]:
    """What a stage was effectively trained or tested on.

    Returns:
        dataset_digest: of the manifest and of all verdicts on its videos; bad_videos: how many were found to be bad;
        bad_videos_table: a CSV that names them, or None.
    """
    ledger = Ledger(job.stage_dir)
    return {
        "dataset_digest": ledger.effective_digest(samples.digest),
        "bad_videos": len({(bad.row, bad.digest) for bad in ledger.verdicts()}),
        "bad_videos_table": ledger.write_table(job.attempt_dir),
    }


def _run(job: StageJob, context: StageContext, batches: Any, *, videos: int) -> StageResult:
    from lstcl_platform.training.evaluate import evaluate
    from lstcl_platform.training.finetune import finetune
    from lstcl_platform.training.pretrain import pretrain
    from lstcl_platform.training.probe import probe
    from lstcl_platform.video.manifest import Manifest

    spec = job.stage.spec
    if job.stage.kind == "pretrain":
        return pretrain(spec, context, batches)
    classes = len(Manifest.load(job.train_manifest).classes)
    if job.stage.kind == "finetune":
        return finetune(spec, context, batches, num_classes=classes)
    test = probe if job.stage.kind == "probe" else evaluate
    return test(spec, context, batches, num_classes=classes, videos=videos)


def _steps_per_epoch(job: StageJob, samples: Any) -> int:
    return deal_of(job, samples).steps if job.stage.kind in TESTS else int(samples.plan.steps_per_epoch)


def _context(
    job: StageJob, reporter: BoardReporter, *, rank: int, deal: Deal, samples: Samples
) -> StageContext:
    import torch
    from ray.train.torch import get_device

    torch.set_num_threads(job.stage.spec.resources.threads_per_worker)
    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return StageContext(
        device=device,
        rank=rank,
        world_size=job.placement.workers,
        steps_per_epoch=_steps_per_epoch(job, samples),
        attempt_dir=job.attempt_dir,
        resume_from=job.resume_from,
        parent_weights=job.parent_weights,
        parent_sha256=job.parent_sha256,
        checkpoint=job.checkpoint,
        log_every_steps=job.log_every_steps,
        reporter=reporter,
        profile_steps=job.profile_steps,
        allow_numerics_change=job.allow_numerics_change,
        end_step=None if job.stage.until is None else deal.steps,
    )


def _note_group(job: StageJob, rank: int) -> None:
    """Tell where this attempt runs, so that the next one can free it should the controller be killed."""
    import ray

    group = ray.util.get_current_placement_group()
    if rank == 0 and group is not None:
        job.board.note_group.remote(job.stage.key, group.id.hex())


def _log_to_file(job: StageJob, rank: int) -> None:
    """Write this worker's log beside its checkpoints when they are on a file system."""
    if "://" in job.attempt_dir:
        return
    os.makedirs(job.attempt_dir, exist_ok=True)
    handler = logging.FileHandler(os.path.join(job.attempt_dir, f"rank{rank}.log"))
    handler.setFormatter(MaskingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("lstcl_platform")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(handler)
