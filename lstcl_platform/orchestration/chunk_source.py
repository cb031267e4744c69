"""The source of a stage's stream: the numbers 0, 1, 2, ... of its chunks, produced as they are needed."""

from collections.abc import Iterator

import pyarrow as pa
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

CHUNK_COLUMN = "chunk"

SOURCE_BLOCK_BYTES = 192 * 1024
"""Block size the dataset must be set to: a row of the source is a little larger, so each becomes a block of its own."""

_ROW_BYTES = 256 * 1024


class ChunkSource(Datasource):  # type: ignore[misc]  # ray ships no types
    """One row a block: a chunk number, and ballast.

    Ray throttles a source by the bytes that wait behind it. Integers weigh nothing: without ballast it queues millions
    of them, and gigabytes of bookkeeping, before the first chunk is decoded. Ray's own `range` also plans every block
    up front, or needs a repartition that occupies a CPU; both delay the first of 48 million samples by minutes.

    Args:
        chunks: how many.
    """

    def __init__(self, chunks: int) -> None:
        super().__init__()
        self._chunks = chunks

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all rows."""
        return self._chunks * _ROW_BYTES

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: object | None = None
    ) -> list[ReadTask]:
        """One lazy task, whatever parallelism is asked for: its blocks come in order."""
        chunks = self._chunks
        metadata = BlockMetadata(num_rows=chunks, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(lambda: _rows(chunks), metadata)]


def _rows(chunks: int) -> Iterator[pa.Table]:
    ballast = pa.array([bytes(_ROW_BYTES)], type=pa.binary())
    for chunk in range(chunks):
        yield pa.table({CHUNK_COLUMN: pa.array([chunk], type=pa.int64()), "ballast": ballast})
