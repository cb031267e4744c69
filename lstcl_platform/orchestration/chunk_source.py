"""The source of a stage's stream: the numbers 0, 1, 2, ... of its chunks, produced as they are needed."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from ray.data.block import BlockMetadata
from ray.data.context import DataContext
from ray.data.datasource import Datasource, ReadTask

CHUNK_COLUMN = "chunk"

SOURCE_BLOCK_BYTES = 1
"""Block size the dataset must be set to: smaller than any row, so each row becomes a block of its own."""

SOURCE_LEAD = 512
"""Chunk numbers that may wait to be decoded: more than the decode tasks started in one round of Ray's scheduler."""

_SOURCE_BUFFER = 16
"""Chunk numbers handed over at a time; with Ray's 2, a busy scheduler makes decoding wait for numbers."""

_POLICIES = "backpressure_policies.enabled"


class ChunkSource(Datasource):  # type: ignore[misc]  # ray ships no types
    """One row a block: a chunk number.

    Ray's own `range` plans every block up front, or needs a repartition that occupies a CPU; both delay the first of
    48 million samples by minutes.

    Args:
        chunks: how many.
    """

    def __init__(self, chunks: int) -> None:
        super().__init__()
        self._chunks = chunks

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all rows."""
        return self._chunks * 8

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: object | None = None
    ) -> list[ReadTask]:
        """One lazy task, whatever parallelism is asked for: its blocks come in order."""
        chunks = self._chunks
        metadata = BlockMetadata(num_rows=chunks, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(lambda: _rows(chunks), metadata)]


def hold_to_share(context: DataContext) -> None:
    """Make a dataset with this context keep to its resource limits, which Ray alone does not.

    Ray throttles a source by the bytes that wait behind it. Integers weigh nothing: it would queue millions of them,
    and gigabytes of bookkeeping, before the first chunk is decoded. So at most about SOURCE_LEAD may wait.

    And Ray deals out the CPUs that training leaves to its datasets in whole CPUs: of one CPU, two datasets get none,
    and wait for ever. What this dataset may take was worked out before the launch, and is in its limits.

    And Ray's executor keeps statistics of every block and an empty queue for every task that it ever ran: kilobytes a
    chunk, gigabytes over the millions of chunks of a long stage. They are dropped as they go.
    """
    from ray.data import ExecutionResources
    from ray.data._internal.execution.backpressure_policy import (
        ENABLED_BACKPRESSURE_POLICIES,
        BackpressurePolicy,
    )
    from ray.data._internal.execution.operators.input_data_buffer import InputDataBuffer
    from ray.data._internal.execution.operators.map_operator import MapOperator

    class Share(BackpressurePolicy):  # type: ignore[misc]  # ray ships no types
        def __init__(self, data_context: DataContext, topology: Any, resource_manager: Any) -> None:
            super().__init__(data_context, topology, resource_manager)
            dealt = resource_manager._get_total_resources
            own = ExecutionResources(cpu=data_context.execution_options.resource_limits.cpu)
            resource_manager._get_total_resources = lambda: dealt().max(own)

        def max_task_output_bytes_to_read(self, op: Any) -> int | None:
            if isinstance(op, MapOperator):
                _forget_past_tasks(op)
            if not any(isinstance(before, InputDataBuffer) for before in op.input_dependencies):
                return None
            waiting = sum(
                self._topology[after].total_enqueued_input_blocks() for after in op.output_dependencies
            )
            return 0 if waiting >= SOURCE_LEAD else None

    context._max_num_blocks_in_streaming_gen_buffer = _SOURCE_BUFFER
    context.set_config(_POLICIES, [*ENABLED_BACKPRESSURE_POLICIES, Share])


def _forget_past_tasks(op: Any) -> None:
    """Drop what a map operator keeps of tasks whose output has been handed on."""
    op._output_blocks_stats.clear()
    queue = op._output_queue
    for key in [key for key in queue._inner if key < queue._current_key]:
        del queue._inner[key]
        queue._finalized_keys.discard(key)


def _rows(chunks: int) -> Iterator[pa.Table]:
    for chunk in range(chunks):
        yield pa.table({CHUNK_COLUMN: pa.array([chunk], type=pa.int64())})
