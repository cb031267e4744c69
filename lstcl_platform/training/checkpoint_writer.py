"""Checkpoints written while training goes on."""

import copy
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.training.checkpoints import CheckpointRef, prune_checkpoints, save_checkpoint


class CheckpointWriter:
    """Writes the checkpoints of one attempt in a thread, one at a time and in order; keeps the newest ones.

    Used as a context, it finishes what it has begun before it lets go, also when training has failed.

    Attributes:
        newest: the last one that is complete, or the one that the attempt started from.
    """

    def __init__(
        self, attempt_dir: str, *, keep: int, started_at: int = 0, newest: CheckpointRef | None = None
    ) -> None:
        """Note where to write.

        Args:
            attempt_dir: `<stage>/a<N>`.
            keep: checkpoints kept, over all attempts.
            started_at: step from which this attempt went on.
            newest: the checkpoint of that step.
        """
        self.newest = newest
        self._attempt_dir = attempt_dir
        self._keep = keep
        self._started_at = started_at
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, state: Mapping[str, Any], *, about: Mapping[str, Any]) -> None:
        """Copy `state` to memory of the host, and have it written; waits for the checkpoint before it.

        Raises:
            StorageError: the checkpoint before it could not be written.
        """
        self.wait()
        self._pending = self._pool.submit(self._write, step, _copied(state), dict(about))

    def check(self) -> None:
        """Say what went wrong with the last checkpoint, if that is known already.

        Raises:
            StorageError: it could not be written; the one before it is intact.
        """
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait until nothing is left to write; raises as `check`."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self.wait()

    def _write(self, step: int, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        try:
            self.newest = save_checkpoint(self._attempt_dir, step, state, about=about)
            prune_checkpoints(self._attempt_dir, keep=self._keep, started_at=self._started_at)
        except StorageError as error:
            left = f"that of step {self.newest.step} is intact" if self.newest else "there is none before it"
            raise StorageError(f"the checkpoint of step {step} was not saved, {left}: {error}") from error


def _copied(value: Any) -> Any:
    """A copy that shares no memory with what training changes, on the CPU; containers keep their type and notes."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        same = copy.copy(value)  # with the versions that torch notes beside a module's state
        for key, item in value.items():
            same[key] = _copied(item)
        return same
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value
