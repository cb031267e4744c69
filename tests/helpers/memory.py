"""Work whose memory is known, in a module that imports little: the process that measures it imports it anew."""

from collections.abc import Iterator

import torch


def hold(mebibytes: int) -> Iterator[None]:
    """Take so much memory and let it go."""
    yield
    held = torch.ones(mebibytes * 2**20, dtype=torch.uint8)
    assert held[-1] == 1
