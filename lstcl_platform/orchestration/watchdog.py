"""Watches the loop of one rank: when it stands still, its stacks go to its log and its place to the board.

Progress is a step done. Time counts in which a step could have been done: not while the training thread waits for
data (the data plane ends decoding that hangs) or for storage (which gives up by itself), and not while this process
itself is suspended or starved.
"""

import faulthandler
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_CHECKS_A_LIMIT = 20
_START_UP = 6
"""Times the limit until the first step of an attempt is done: weights are loaded, code is compiled."""
_SLOWEST = 5
"""Times the slowest step so far that any step may take, if that is longer than the limit."""
_FOR_OTHERS = ("torch/distributed/", "torch/nn/parallel/", "torch/autograd/")
"""Code in which a rank that waits for the others stands: collectives, and the backward pass that averages gradients."""
_SERVED = (
    "lstcl_platform/orchestration/ingest.py",
    "lstcl_platform/storage/",
    "lstcl_platform/training/checkpoint_writer.py",
)
"""Code in which a rank that waits for data or storage stands."""


class Watchdog:
    """A thread that speaks up after half of a limit without a step; made in the thread that trains.

    Args:
        seconds: the limit.
        tell: given `step`, `where` (file, line and function) and `waits` (for other ranks, as far as that can be seen);
            once for each standstill.
        log: file that the stacks of all threads are appended to, or None.
        give_up: for a rank that nobody waits for: called after the whole limit, or what slow steps make of it. None
            leaves the end to the ranks that wait.
        step: steps done before.
    """

    def __init__(
        self,
        *,
        seconds: float,
        tell: Callable[[Mapping[str, Any]], None],
        log: Path | None,
        give_up: Callable[[], None] | None = None,
        step: int = 0,
    ) -> None:
        self._check_seconds = seconds / _CHECKS_A_LIMIT
        self._tell = tell
        self._log = log
        self._give_up = give_up
        self._trains = threading.get_ident()
        self._step = step
        self._beats = 0
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self, step: int) -> None:
        """Note that `step` steps are done."""
        self._step = step
        self._beats += 1

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def _watch(self) -> None:
        beats = still = slowest = 0
        limit = _START_UP * _CHECKS_A_LIMIT
        spoke = False
        # Checks are counted, not seconds: a process that was suspended has had no time to do a step.
        while not self._closed.wait(self._check_seconds):
            if self._beats != beats:
                slowest = max(slowest, still) if beats else 0
                alone = self._give_up is not None
                limit = max(_CHECKS_A_LIMIT, _SLOWEST * slowest if alone else 0)
                beats, still, spoke = self._beats, 0, False
                continue
            stack = self._stack()
            if _stands_in(stack, _SERVED):
                continue
            still += 1
            if still >= limit / 2 and not spoke:
                spoke = True
                self._speak(stack, seconds=still * self._check_seconds)
            if still >= limit and self._give_up is not None:
                self._give_up()
                return

    def _stack(self) -> traceback.StackSummary:
        frame = sys._current_frames().get(self._trains)
        return traceback.extract_stack(frame) if frame is not None else traceback.StackSummary()

    def _speak(self, stack: traceback.StackSummary, *, seconds: float) -> None:
        if self._log is not None:
            with suppress(OSError), self._log.open("a") as file:  # a full disk must not end the watch
                file.write(f"no step for {seconds:.0f} s after step {self._step}; stacks of all threads:\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
        place = stack[-1] if stack else None
        self._tell(
            {
                "step": self._step,
                "where": f"{place.filename}:{place.lineno} {place.name}" if place else "code outside Python",
                "waits": self._give_up is None and _stands_in(stack, _FOR_OTHERS),
            }
        )


def _stands_in(stack: traceback.StackSummary, code: tuple[str, ...]) -> bool:
    return any(part in entry.filename for entry in stack for part in code)
