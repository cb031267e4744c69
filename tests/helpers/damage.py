"""A file's bytes as a bad disk or a broken copy may give them back, and a disk that takes no more of them."""

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager


def damaged(whole: bytes, *, flips: int) -> list[bytes]:
    """`whole` cut short in several places, and `flips` times with one bit turned over; the same in every run."""
    draw = random.Random(0)
    found = [whole[:length] for length in (0, 1, len(whole) // 2, len(whole) - 1)]
    for _ in range(flips):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        found.append(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    return found


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk looks like to a process: its writes beyond `size` bytes of a file fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
