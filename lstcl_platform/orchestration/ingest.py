"""Ray Data ingest: one executor a stage turns integers into decoded chunks of samples, dealt to the ranks in order.

The order of samples is ours, not Ray's: a row of the dataset is the number of a chunk, the decode task turns it into
positions of the plan, and every rank checks the positions it receives. Content and order are therefore independent of
how many decode tasks run, where they run, and where a resumed stage starts.

A decoded chunk stays one row, whose cells are arrays over its samples: Ray may cut blocks between rows as it likes, and
the deal of chunks to ranks still cannot shift.
"""

import itertools
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ray.data import DataIterator, Dataset

from lstcl_platform.orchestration.chunk_source import SOURCE_BLOCK_BYTES, ChunkSource, hold_to_share
from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.decode_chunk import Decode, DecodeChunk, from_cells
from lstcl_platform.orchestration.ledger import NoLedger
from lstcl_platform.orchestration.preflight import DecodeShare
from lstcl_platform.video.sample_reads import Patience, Verdicts

Batch = Mapping[str, NDArray[Any]]

SOURCE_CPUS = 0
"""Reserved by the one source task, which sleeps nearly always. With any share of a CPU, Ray sets CPUs of the stage
aside for it, and a decode task that needs all of them never starts while the source lives."""

MAX_DECODE_RETRIES = 3
"""A decode task that dies (a crash in native code, no memory) is tried again this often; Ray's default is for ever."""

MAX_CHUNKS_AN_EXECUTOR = 500_000
"""Chunks until a training stage starts a new executor. Ray's core keeps 3 to 4 KB of every finished task in the process
that submitted it, for as long as that process lives: 2 GB at this many."""


def deal_shards(
    decode: Decode,
    *,
    deal: Deal,
    share: DecodeShare,
    verdicts: Verdicts | None = None,
    patience: Patience | None = None,
) -> "list[DataIterator]":
    """The stream of decoded chunks of one stage, as one iterator a rank: one source task, then decode tasks.

    Ray's own way to hand a dataset to the workers of a trainer (`datasets=`, split with `equal=True`) drops rows to
    equalise; with one row a block and preserved order the plain split is exactly round-robin. And the executor's
    process starts here, beside those of the trainer, instead of after them.

    Args:
        decode: positions -> samples.
        deal: which chunks there are.
        share: what decoding may take.
        verdicts: the stage's ledger of bad videos; None keeps none.
        patience: with native code; None takes the usual.
    """
    chunks = stream(decode, deal=deal, share=share, verdicts=verdicts, patience=patience)
    from lstcl_platform.orchestration.eager_split import eager_split

    return eager_split(chunks, deal.world)


def stream(
    decode: Decode,
    *,
    deal: Deal,
    share: DecodeShare,
    verdicts: Verdicts | None = None,
    patience: Patience | None = None,
) -> "Dataset":
    """The chunks of a stage in order, as a lazy dataset whose executor keeps to `share`."""
    from ray.data import ExecutionOptions, ExecutionResources

    decode_chunk = DecodeChunk(decode, deal, verdicts=verdicts or NoLedger(), patience=patience or Patience())
    dataset = _decoded_chunks(decode_chunk, share=share)
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


def _decoded_chunks(decode_chunk: DecodeChunk, *, share: DecodeShare) -> "Dataset":
    import ray
    from ray.util.annotations import RayDeprecationWarning

    source = ray.data.read_datasource(
        ChunkSource(decode_chunk.chunks), num_cpus=SOURCE_CPUS, override_num_blocks=1
    )
    with warnings.catch_warnings():
        # No named parameter takes the place of max_retries yet.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return source.map_batches(
            decode_chunk,
            batch_size=1,
            num_cpus=share.task_cpus,
            max_retries=MAX_DECODE_RETRIES,
        )


def started(batches: Iterator[Batch], *, on_first: Callable[[], None]) -> Iterator[Batch]:
    """`batches`, the first of which is asked for now: decoding starts up while the training code is imported.

    Args:
        batches: of one rank.
        on_first: called when training takes the first.
    """
    first: Future[list[Batch]] = Future()

    def fetch() -> None:
        try:
            first.set_result(list(itertools.islice(batches, 1)))
        except BaseException as error:
            first.set_exception(error)

    threading.Thread(target=fetch, name="first-batch", daemon=True).start()

    def stream() -> Iterator[Batch]:
        ready = first.result()
        on_first()
        yield from ready
        yield from batches

    return stream()


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
        batch = {name: from_cells(values) for name, values in cells.items()}
        expected = deal.expected(rank, step)
        if not np.array_equal(batch["position"], expected):
            raise RuntimeError(
                f"rank {rank} received positions {batch['position'][:4]}... at step {deal.start_step + step}, "
                f"planned were {expected[:4]}...: the data plane broke the order of the plan"
            )
        yield batch
    if deal.start_step + step + 1 != deal.steps:
        raise RuntimeError(f"rank {rank} received {step + 1} of {deal.steps - deal.start_step} planned steps")
