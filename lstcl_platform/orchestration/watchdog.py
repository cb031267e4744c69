"""Watches the loop of one rank: when it stands still, its stacks go to its log and its place to the board."""

import faulthandler
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_CHECKS_A_LIMIT = 10
_WAITING = ("torch/distributed/", "torch/nn/parallel/", "torch/autograd/")
"""Code in which a rank that waits for the others stands: collectives, and the backward pass that averages gradients."""


class Watchdog:
    """A thread that speaks up when no step was done for `seconds`; made in the thread that trains.

    Args:
        seconds: without a step before it speaks; once for each standstill.
        tell: given `step`, `where` (file, line and function) and `waits` (for other ranks, as far as that can be seen).
        log: file that the stacks of all threads are appended to, or None.
    """

    def __init__(
        self, *, seconds: float, tell: Callable[[Mapping[str, Any]], None], log: Path | None
    ) -> None:
        self._seconds = seconds
        self._tell = tell
        self._log = log
        self._trains = threading.get_ident()
        self._step = 0
        self._moved = float("inf")  # starting up, and waiting for the first batch, is no standstill
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self, step: int) -> None:
        """Note that `step` steps are done."""
        self._step, self._moved = step, time.monotonic()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(self._seconds / _CHECKS_A_LIMIT):
            if time.monotonic() - self._moved > self._seconds:
                self._moved = float("inf")
                self._speak()

    def _speak(self) -> None:
        frame = sys._current_frames().get(self._trains)
        stack = traceback.extract_stack(frame) if frame is not None else traceback.StackSummary()
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(
                    f"no step for {self._seconds:.0f} s after step {self._step}; stacks of all threads:\n"
                )
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
        place = stack[-1] if stack else None
        self._tell(
            {
                "step": self._step,
                "where": f"{place.filename}:{place.lineno} {place.name}" if place else "code outside Python",
                "waits": any(part in entry.filename for entry in stack for part in _WAITING),
            }
        )
