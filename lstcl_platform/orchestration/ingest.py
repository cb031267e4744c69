"""Ray Data ingest: one executor a stage turns integers into decoded chunks of samples, dealt to the ranks in order.

The order of samples is ours, not Ray's: a row of the dataset is the number of a chunk, the decode task turns it into
positions of the plan, and every rank checks the positions it receives. Content and order are therefore independent of
how many decode tasks run, where they run, and where a resumed stage starts.

A decoded chunk stays one row, whose cells are arrays over its samples: Ray may cut blocks between rows as it likes, and
the deal of chunks to ranks still cannot shift.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ray.data import DataIterator, Dataset

from lstcl_platform.orchestration.chunk_source import (
    CHUNK_COLUMN,
    SOURCE_BLOCK_BYTES,
    ChunkSource,
    hold_to_share,
)

Batch = Mapping[str, NDArray[Any]]
Decode = Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]]

SOURCE_CPUS = 0
"""Reserved by the one source task, which sleeps nearly always. With any share of a CPU, Ray sets CPUs of the stage
aside for it, and a decode task that needs all of them never starts while the source lives."""

MAX_DECODE_RETRIES = 3
"""A decode task that dies (a crash in native code, no memory) is tried again this often; Ray's default is for ever."""

MAX_CHUNKS_AN_EXECUTOR = 500_000
"""Chunks until a training stage starts a new executor. Ray's core keeps 3 to 4 KB of every finished task in the process
that submitted it, for as long as that process lives: 2 GB at this many."""

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


@dataclass(frozen=True, kw_only=True)
class DecodeShare:
    """What the decoding of one stage may take.

    Attributes:
        task_cpus: CPUs one decode task reserves.
        cpus: CPUs all decode tasks of the stage may hold at a time.
        object_store_bytes: decoded data that may wait in the object store.
        label_selector: node labels that decode tasks ask for, e.g. {"ray-subcluster": "data"}; empty takes any node.
    """

    task_cpus: float
    cpus: float
    object_store_bytes: int
    label_selector: Mapping[str, str]


class DecodeChunk:
    """Map function of the dataset: the number of a chunk -> its decoded samples, as one row of arrays."""

    def __init__(self, decode: Decode, deal: Deal) -> None:
        self._decode = decode
        self._deal = deal

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Decode one chunk; every cell of the row is an array over its samples."""
        import torch

        # Decode tasks run side by side, one a core: a resize that spread over all cores would only get in their way.
        torch.set_num_threads(1)
        samples = self._decode(self._deal.positions(int(batch[CHUNK_COLUMN][0])))
        return {name: _as_cell(values) for name, values in samples.items()}


def _as_cell(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "OU":  # text of variable length has no tensor form in Arrow
        return np.array([json.dumps([str(value) for value in values])])
    return values[None]


def _from_cells(cells: NDArray[Any]) -> NDArray[Any]:
    if cells.dtype.kind in "OU":
        return np.array([text for cell in cells for text in json.loads(cell)], dtype=object)
    return cells.reshape(-1, *cells.shape[2:])


def deal_shards(decode: Decode, *, deal: Deal, share: DecodeShare) -> "list[DataIterator]":
    """The stream of decoded chunks of one stage, as one iterator a rank: one source task, then decode tasks.

    Ray's own way to hand a dataset to the workers of a trainer (`datasets=`, split with `equal=True`) drops rows to
    equalise; with one row a block and preserved order the plain split is exactly round-robin. And the executor's
    process starts here, beside those of the trainer, instead of after them.
    """
    return list(stream(decode, deal=deal, share=share).streaming_split(deal.world, equal=False))


def stream(decode: Decode, *, deal: Deal, share: DecodeShare) -> "Dataset":
    """The chunks of a stage in order, as a lazy dataset whose executor keeps to `share`."""
    from ray.data import ExecutionOptions, ExecutionResources

    dataset = _decoded_chunks(decode, deal=deal, share=share)
    dataset.context.target_max_block_size = SOURCE_BLOCK_BYTES
    hold_to_share(dataset.context)
    dataset.context.execution_options = ExecutionOptions(
        preserve_order=True,
        label_selector=dict(share.label_selector) or None,
        resource_limits=ExecutionResources.for_limits(
            cpu=share.cpus, object_store_memory=share.object_store_bytes
        ),
    )
    return dataset


def _decoded_chunks(decode: Decode, *, deal: Deal, share: DecodeShare) -> "Dataset":
    import ray
    from ray.util.annotations import RayDeprecationWarning

    source = ray.data.read_datasource(ChunkSource(deal.chunks), num_cpus=SOURCE_CPUS, override_num_blocks=1)
    with warnings.catch_warnings():
        # No named parameter takes the place of max_retries yet.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return source.map_batches(
            DecodeChunk(decode, deal),
            batch_size=1,
            num_cpus=share.task_cpus,
            max_retries=MAX_DECODE_RETRIES,
        )


def checked_batches(shard: "DataIterator", *, deal: Deal, rank: int, prefetch: int = 2) -> Iterator[Batch]:
    """Batches of one rank, each verified to hold exactly the planned positions.

    Raises:
        RuntimeError: a batch holds other positions than planned; training on it would be another experiment.
    """
    stream = shard.iter_batches(
        batch_size=deal.chunks_per_batch, batch_format="numpy", prefetch_batches=prefetch
    )
    step = -1
    for step, cells in enumerate(stream):
        batch = {name: _from_cells(values) for name, values in cells.items()}
        expected = deal.expected(rank, step)
        if not np.array_equal(batch["position"], expected):
            raise RuntimeError(
                f"rank {rank} received positions {batch['position'][:4]}... at step {deal.start_step + step}, "
                f"planned were {expected[:4]}...: the data plane broke the order of the plan"
            )
        yield batch
    if deal.start_step + step + 1 != deal.steps:
        raise RuntimeError(f"rank {rank} received {step + 1} of {deal.steps - deal.start_step} planned steps")
