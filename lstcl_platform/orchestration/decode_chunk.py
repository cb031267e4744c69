"""The map function of a stage's stream: the number of a chunk -> its decoded samples.

Decoding runs in the process of the task, at full speed. When native code crashes there, or hangs until the watchdog
ends the process, Ray starts the task again on another worker; a task that was started before decodes its samples one
by one in a child process instead, which finds and names the video. So a crash costs the retry of one chunk.
"""

import json
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lstcl_platform.orchestration.chunk_source import CHUNK_COLUMN
from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.video.guarded_samples import GuardedReads
from lstcl_platform.video.process import set_up_decoding
from lstcl_platform.video.sample_reads import Patience, Read, Verdicts, WatchedReads, read_checked

Cells = dict[str, NDArray[Any]]


class Decode(Protocol):
    """Turns positions of the plan into samples; small to pickle."""

    def __call__(self, positions: NDArray[np.int64], *, read: Read = read_checked) -> Cells:
        """Columns of samples, in order, each read by `read`."""


class DecodeChunk:
    """Decodes one chunk a call, as one row of arrays over its samples."""

    def __init__(self, decode: Decode, deal: Deal, *, verdicts: Verdicts, patience: Patience) -> None:
        self._decode = decode
        self._deal = deal
        self._verdicts = verdicts
        self._patience = patience

    @property
    def chunks(self) -> int:
        """Chunks of the stream."""
        return self._deal.chunks

    def __call__(self, batch: Cells) -> Cells:
        """Decode one chunk; every cell of the row is an array over its samples."""
        set_up_decoding()
        samples = self._samples(self._deal.positions(int(batch[CHUNK_COLUMN][0])))
        return {name: _as_cell(values) for name, values in samples.items()}

    def _samples(self, positions: NDArray[np.int64]) -> Cells:
        if not _was_started_before():
            return self._decode(positions, read=WatchedReads(self._verdicts, self._patience))
        with GuardedReads(self._verdicts, self._patience) as read:
            return self._decode(positions, read=read)


def _was_started_before() -> bool:
    """Whether an earlier process of this task was lost."""
    from ray._private.worker import global_worker

    # No public interface says it; a Ray that has another private one only loses the search for the culprit.
    attempt = getattr(global_worker.core_worker, "get_current_task_attempt_number", lambda: 0)()
    return bool(attempt > 0)


def _as_cell(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "OU":  # text of variable length has no tensor form in Arrow
        return np.array([json.dumps([str(value) for value in values])])
    return values[None]


def from_cells(cells: NDArray[Any]) -> NDArray[Any]:
    """The samples of some chunks' cells, in order."""
    if cells.dtype.kind in "OU":
        return np.array([text for cell in cells for text in json.loads(cell)], dtype=object)
    return cells.reshape(-1, *cells.shape[2:])
