"""Batches on their way from the data plane to the device, one step ahead of the computation."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HostBatch = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """This rank's share of one step.

    Attributes:
        tensors: the columns that the step computes with, on the device.
        host: all columns as they came.
    """

    tensors: Mapping[str, Tensor]
    host: HostBatch


class Feed:
    """Moves batches to the device, the next one while the current one is computed with.

    On CUDA a batch goes through pinned memory on a stream of its own, and `prefetch` keeps the host at most
    one step ahead of the device, so that at most two batches are held there. On CPU arrays are used where
    they lie.
    """

    def __init__(self, batches: Iterator[HostBatch], *, device: torch.device, columns: Sequence[str]) -> None:
        self._batches = batches
        self._device = device
        self._columns = columns
        self._next: Batch | None = None
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
        self._begun: torch.cuda.Event | None = None
        self._waits: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._waited_seconds = 0.0

    def prefetch(self) -> None:
        """Wait for the next batch and start its transfer.

        Raises:
            RuntimeError: the data plane has no more batches.
        """
        if self._begun is not None:
            self._begun.synchronize()
        idle_from = self._mark()
        start = time.perf_counter()
        host = next(self._batches, None)
        if host is None:
            raise RuntimeError("the data plane ended before the last step")
        if idle_from is None:
            self._waited_seconds += time.perf_counter() - start
        else:
            # The device waits only once its queued work has ended: the host's wait would overstate it.
            idle_until = self._mark()
            assert idle_until is not None
            self._waits.append((idle_from, idle_until))
        tensors = {name: self._to_device(host[name]) for name in self._columns}
        self._next = Batch(tensors=tensors, host=host)

    def take(self) -> Batch:
        """The batch that was prefetched, or else the next one."""
        if self._next is None:
            self.prefetch()
        batch, self._next = self._next, None
        assert batch is not None
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for tensor in batch.tensors.values():
                tensor.record_stream(current)
            self._begun = self._mark()
        return batch

    def pop_waited_seconds(self) -> float:
        """Seconds the device had nothing to do for want of data since the last call; waits for the device."""
        if self._stream is not None:
            torch.cuda.synchronize(self._device)
            self._waited_seconds = sum(begin.elapsed_time(end) for begin, end in self._waits) / 1000
            self._waits.clear()
        waited, self._waited_seconds = self._waited_seconds, 0.0
        return waited

    def _mark(self) -> torch.cuda.Event | None:
        if self._stream is None:
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's own
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        if self._stream is None:
            return torch.from_numpy(array if array.flags.writeable else array.copy())
        pinned = torch.empty(array.shape, dtype=_torch_dtype(array), pin_memory=True)
        np.copyto(pinned.numpy(), array)
        with torch.cuda.stream(self._stream):
            return pinned.to(self._device, non_blocking=True)


def _torch_dtype(array: NDArray[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype
