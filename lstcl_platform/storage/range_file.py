"""An object as a Python file that fetches only the parts that are read."""

import io
import os
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage.objects import ObjectReader

BLOCK_BYTES = 4 << 20
"""Bytes of a request: at 100 MB/s and 40 ms to the first byte, half of its time is transfer."""

_KEPT_BLOCKS = 8
"""Blocks that stay in memory: the index at one end of a video, the place being read, the one ahead."""


class RangeFile(io.RawIOBase):
    """A binary file to read and seek in, fetched in blocks of BLOCK_BYTES.

    Once two neighbouring blocks were read in turn, the next one is fetched while the last is used.

    Attributes:
        name: its URI.
        failure: why a read failed, where the caller (a demuxer) may have swallowed it; None if none did.
    """

    def __init__(self, location: str) -> None:
        """Open; raises as `ObjectReader`."""
        super().__init__()
        self.name = location
        self.failure: StorageError | FileNotFoundError | None = None
        self._reader = ObjectReader(location)
        self._at = 0
        self._last = -1
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._ahead: tuple[int, Future[bytes]] | None = None
        self._pool: ThreadPoolExecutor | None = None

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self._reader.size

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Offset of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; returns the new offset."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, short only at the end of the file; returns the bytes read.

        Raises:
            StorageError: storage is away.
        """
        view = memoryview(buffer).cast("B")
        done = 0
        while done < view.nbytes and self._at < self.size:
            number, inside = divmod(self._at, BLOCK_BYTES)
            try:
                part = self._block(number)[inside : inside + view.nbytes - done]
            except (StorageError, FileNotFoundError) as error:
                self.failure = error
                raise
            view[done : done + len(part)] = part
            self._at += len(part)
            done += len(part)
        return done

    def close(self) -> None:
        """Forget the blocks."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._blocks.clear()
        super().close()

    def _block(self, number: int) -> bytes:
        block = self._blocks.pop(number, None)
        if block is None:
            block = self._fetched(number)
            if number == self._last + 1:
                self._fetch_ahead(number + 1)
        self._blocks[number] = block
        self._last = number
        while len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return block

    def _fetched(self, number: int) -> bytes:
        if self._ahead is not None and self._ahead[0] == number:
            future, self._ahead = self._ahead[1], None
            return future.result()
        return self._fetch(number)

    def _fetch(self, number: int) -> bytes:
        return self._reader.read_at(number * BLOCK_BYTES, BLOCK_BYTES)

    def _fetch_ahead(self, number: int) -> None:
        if number == 1 or number * BLOCK_BYTES >= self.size or number in self._blocks:
            return  # after the first block alone it is not known yet whether the file is read through
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._ahead = (number, self._pool.submit(self._fetch, number))
