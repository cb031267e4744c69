"""How a process that decodes is set up: it works on one core, and keeps the memory of a sample for the next one."""

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""
_KEPT_BYTES = 256 << 20
_LARGEST_BYTES = 32 << 20
"""The most that glibc takes for the threshold; larger blocks are taken from the system, and given back, each time."""


def set_up_decoding() -> None:
    """Hold torch to one thread, and the C library to the memory that it has: up to 256 MiB of what is freed.

    Decoding processes run side by side, one a core: a resize that spread over all cores would only get in their way.
    By default, glibc returns a sample's megabytes to the system, to have them cleared and mapped for the next one, page
    by page: a tenth of a sample's time. Other C libraries are left as they are.
    """
    import torch

    torch.set_num_threads(1)
    _keep_freed_memory()


@cache
def _keep_freed_memory() -> None:
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
