"""Which positions of the plan make a chunk of the stream, and which chunks each rank receives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CHUNK = 16
"""Samples a decode task: enough that task overhead stays under a few percent, few enough to spread over the cores."""


@dataclass(frozen=True, kw_only=True)
class Deal:
    """How chunks of the stream map to positions of the plan.

    A global step takes `global_batch` positions, split first into `accumulation` micro-batches and then over `world`
    ranks, so that a micro-batch holds the same samples for every number of ranks. Chunks go to the ranks in turn:
    chunk i to rank i mod world.

    Attributes:
        global_batch: positions a step.
        world: number of ranks; divides global_batch / accumulation.
        accumulation: micro-batches a step.
        start_step: step of the first chunk (0-based); a resumed stage starts where its checkpoint ended.
        steps: steps in all, from step 0.
    """

    global_batch: int
    world: int
    accumulation: int = 1
    start_step: int = 0
    steps: int

    @property
    def rank_batch(self) -> int:
        """Samples a rank receives for one step."""
        return self.global_batch // self.world

    @property
    def chunk(self) -> int:
        """Samples of a chunk: the largest divisor of the rank's batch up to MAX_CHUNK."""
        return max(d for d in range(1, MAX_CHUNK + 1) if self.rank_batch % d == 0)

    @property
    def chunks_per_batch(self) -> int:
        """Chunks that make one rank's batch."""
        return self.rank_batch // self.chunk

    @property
    def chunks(self) -> int:
        """Chunks of the stream from `start_step` to the end."""
        return (self.steps - self.start_step) * self.chunks_per_batch * self.world

    def positions(self, chunk: int) -> NDArray[np.int64]:
        """Plan positions of the samples in a chunk, in order. Shape (self.chunk,)."""
        round_, rank = divmod(chunk, self.world)
        step, part = divmod(round_, self.chunks_per_batch)
        slots = part * self.chunk + np.arange(self.chunk, dtype=np.int64)
        return self._place(step, rank, slots)

    def expected(self, rank: int, step: int) -> NDArray[np.int64]:
        """Positions that `rank` must receive as its `step`-th batch after `start_step` (0-based), in order."""
        return self._place(step, rank, np.arange(self.rank_batch, dtype=np.int64))

    def _place(self, step: int, rank: int, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        micro_rank = self.rank_batch // self.accumulation
        micro, inside = np.divmod(slots, micro_rank)
        base = (self.start_step + step) * self.global_batch
        return base + micro * (micro_rank * self.world) + rank * micro_rank + inside
