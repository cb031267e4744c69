"""What pretraining and finetuning share: steps, rows of metrics, checkpoints, stopping and going on."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lstcl_platform import storage
from lstcl_platform.specs.errors import UserError
from lstcl_platform.training.checkpoint_writer import CheckpointWriter
from lstcl_platform.training.checkpoints import (
    CheckpointRef,
    load_checkpoint,
    open_checkpoint,
    prune_checkpoints,
)
from lstcl_platform.training.context import StageContext, StageResult
from lstcl_platform.training.data_account import DataAccount, StarvationWatch
from lstcl_platform.training.distributed import from_main
from lstcl_platform.training.fingerprint import fingerprint_changes
from lstcl_platform.training.history import COUNTERS, FRAMES, History
from lstcl_platform.training.profiling import StepProfiler
from lstcl_platform.training.seeding import reseed
from lstcl_platform.training.trainee import Trainee, store_weights
from lstcl_platform.training.transfer import Feed, HostBatch


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one step measured.

    Attributes:
        tensors: scalars on the device, averaged over a row's interval and over ranks; `loss` is one of them.
        settings: what the step was run with (lr, momentum); a row has those of its last step.
    """

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, float]


StepFunction = Callable[[int, Mapping[str, Tensor]], Measured]
"""Trains one step: (number of steps done before, this rank's columns on the device) -> what it measured."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """The length of a stage and what identifies its computation.

    Attributes:
        total_steps: optimizer steps in all.
        end_step: step after which the stage ends, before the last one; None is the last one. What comes before it,
            rows and checkpoints too, is as without it.
        global_batch: samples a step over all ranks.
        seed: of the draws within steps.
        columns: columns of a batch that go to the device.
        fingerprint: how this process computes.
        sample_flops: floating-point operations that one sample takes in a step, or None.
        peak_flops: what the devices of all ranks can do in a second, or None.
    """

    total_steps: int
    global_batch: int
    seed: int
    columns: Sequence[str]
    fingerprint: Mapping[str, Any]
    sample_flops: float | None = None
    peak_flops: float | None = None
    end_step: int | None = None

    def speed(self, samples_per_second: float) -> dict[str, float]:
        """Achieved arithmetic over all ranks: `tflops`, 10^12 operations a second, and `mfu`, its share of the peak.

        What is not known is left out.
        """
        if self.sample_flops is None:
            return {}
        achieved = samples_per_second * self.sample_flops
        found = {"tflops": achieved / 1e12}
        return found if self.peak_flops is None else found | {"mfu": achieved / self.peak_flops}


class Loop:
    """Runs a stage's steps from its newest state to the last one, or to a stop."""

    def __init__(self, trainee: Trainee, context: StageContext, course: Course) -> None:
        self._trainee = trainee
        self._context = context
        self._course = course
        self._history = History(context)
        self._changes: tuple[str, ...] = ()
        self._start = 0
        self._saved_at = time.monotonic()
        start = None if context.resume_from is None else self._resume(context.resume_from)
        self._writer = CheckpointWriter(
            context.attempt_dir, keep=context.checkpoint.keep, started_at=self._start, newest=start
        )
        self._account = DataAccount(context)
        self._starvation = StarvationWatch(context, start=self._start, rows=self._history.rows)

    def run(
        self, batches: Iterator[HostBatch], step_function: StepFunction
    ) -> Literal["finished", "stopped"]:
        """Do the steps that are left; `batches` must start at the first of them.

        Raises:
            FloatingPointError: the loss was not finite; no checkpoint of that state was written.
            RuntimeError: the batches ended before the last step.
            StorageError: a checkpoint could not be written; told at the step after, the one before is intact.
        """
        with self._writer:
            return self._steps(batches, step_function)

    def _steps(
        self, batches: Iterator[HostBatch], step_function: StepFunction
    ) -> Literal["finished", "stopped"]:
        context, total = self._context, self._course.total_steps
        end = total if self._course.end_step is None else self._course.end_step
        reporter, every = context.reporter, context.checkpoint.every_steps or context.steps_per_epoch
        feed = Feed(batches, device=context.device, columns=self._course.columns)
        if self._start < end:
            feed.prefetch()  # until the first batch is here the stage starts up: no step waits for data yet
            feed.pop_waited_seconds()
        clock = _Clock(self._start)
        profiler = StepProfiler(context)
        for step in range(self._start, end):
            self._writer.check()
            batch = feed.take()
            for problem in batch.host.get("bad", ()):
                if problem:
                    reporter.bad_video(str(problem))
            self._account.add(batch.host)
            reseed(self._course.seed, step)
            profiler.before(step + 1)
            measured = step_function(step, batch.tensors)
            self._history.add({**measured.tensors, **self._counts(batch.host)})
            done = step + 1
            profiler.after(done)
            stop = reporter.should_stop(done) and done < end
            if not stop and done < end:
                feed.prefetch()  # before anything that waits for the device
            if done % context.log_every_steps == 0 or done == total:
                self._log_row(done, measured.settings, clock, feed)
            if stop or done == end or done % every == 0 or self._time_is_up(done):
                self._save(done)
            reporter.progress(done, end, self._history.rows[-1] if self._history.rows else {})
            if stop:
                return "stopped"
        return "finished"

    def result(self, status: Literal["finished", "stopped"], weights_of: nn.Module) -> StageResult:
        """The stage's result on all ranks; if finished, its weights are written, older state removed."""
        result = self._result(status, weights_of) if self._context.is_main else None
        return from_main(result, self._context)

    def _result(self, status: Literal["finished", "stopped"], weights_of: nn.Module) -> StageResult:
        checkpoint = self._writer.newest
        assert checkpoint is not None
        weights = digest = None
        if status == "finished":
            weights = storage.join(self._context.attempt_dir, "final", "weights.safetensors")
            digest = store_weights(weights_of, weights)
            prune_checkpoints(self._context.attempt_dir, keep=1, started_at=self._start)
        return StageResult(
            status=status,
            steps=checkpoint.step,
            metrics=dict(self._history.rows[-1]) if self._history.rows else {},
            weights=weights,
            weights_digest=digest,
            checkpoint=checkpoint.uri,
            state_digest=self._trainee.digest(),
            fingerprint=dict(self._course.fingerprint),
            numerics_changes=self._changes,
        )

    def _counts(self, host: HostBatch) -> dict[str, Tensor]:
        """This rank's part of the counters of a step."""
        counts = {name: host[name].sum() for name in (*COUNTERS, *FRAMES) if name in host}
        if "bad" in host:
            counts["bad_samples"] = sum(bool(problem) for problem in host["bad"])
        return {
            name: torch.full((), float(count), device=self._context.device) for name, count in counts.items()
        }

    def _log_row(self, done: int, settings: Mapping[str, float], clock: "_Clock", feed: Feed) -> None:
        self._history.settle(done)
        waited = feed.pop_waited_seconds()
        steps, seconds = clock.lap(done)
        rate = steps * self._course.global_batch / seconds
        timing = {
            "step_seconds": seconds / steps,
            "samples_per_second": rate,
            **self._account.close(steps=steps, seconds=seconds, waited=waited),
            **self._course.speed(rate),
        }
        row = self._history.close_row(done, {**settings, **timing})
        self._context.reporter.log([row])
        self._starvation.see(row)

    def _time_is_up(self, done: int) -> bool:
        """Whether a checkpoint is due by the clock of rank 0; asked with each row, where ranks meet anyway."""
        minutes = self._context.checkpoint.every_minutes
        if minutes is None or done % self._context.log_every_steps:
            return False
        return from_main(time.monotonic() - self._saved_at >= 60 * minutes, self._context)

    def _save(self, done: int) -> None:
        """Have a checkpoint written; training waits for the copy of its state only."""
        history = self._history.state(done)
        self._saved_at = time.monotonic()
        if not self._context.is_main:
            return
        state = {"step": done, "history": history, **self._trainee.state()}
        about = {"fingerprint": dict(self._course.fingerprint)}
        self._writer.save(done, state, about=about)

    def _resume(self, uri: str) -> CheckpointRef:
        checkpoint = open_checkpoint(uri)
        before = checkpoint.about["fingerprint"]
        changes = fingerprint_changes(before, self._course.fingerprint)
        if changes and not self._context.allow_numerics_change:
            raise UserError(
                f"{uri} was computed in another way, so going on from it would not repeat the "
                f"uninterrupted run: {'; '.join(changes)}. Restore that, or pass --allow-numerics-change."
            )
        self._changes = tuple(changes)
        state = load_checkpoint(checkpoint)
        self._trainee.restore(state)
        self._history.restore(state["history"])
        self._start = int(state["step"])
        self._context.reporter.log(self._history.rows)
        return checkpoint


class _Clock:
    """Wall time since the last lap, over whole steps: checkpoints and waits included."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._time = time.perf_counter()

    def lap(self, step: int) -> tuple[int, float]:
        """Steps and seconds since the last lap."""
        now = time.perf_counter()
        steps, seconds = step - self._step, now - self._time
        self._step, self._time = step, now
        return steps, seconds
