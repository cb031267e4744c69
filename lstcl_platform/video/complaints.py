"""What FFmpeg says of the video that it decodes: some damage it paints over and tells of nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import av.logging

Log = Sequence[tuple[int, str, str]]
"""(level, source, message) of what FFmpeg said."""


@contextmanager
def ffmpeg_errors() -> Iterator[Log]:
    """Capture what FFmpeg calls an error in this thread; it grows inside the `with` block."""
    _quiet()
    # Not taken back: other threads of the process may be listening.
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(
        False
    )  # else the second of two videos with the same complaint would pass for sound
    with av.logging.Capture(local=True) as log:
        yield log


@cache
def _quiet() -> None:
    """What nobody captures is not printed either."""
    unheard = logging.getLogger("libav")
    unheard.addHandler(logging.NullHandler())
    unheard.propagate = False
