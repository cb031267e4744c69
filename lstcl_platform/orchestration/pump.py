"""What runs beside Tune in the launch process: events to the recorder, and wishes to stop to the stages."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lstcl_platform.orchestration.progress import View
from lstcl_platform.orchestration.recorder import Recorder

_PUMP_SECONDS = 0.3
_HEARTBEAT_SECONDS = 5.0
_SECONDS_AFTER_STOP = 15.0


class StopRequest(threading.Event):
    """Set once the launch shall stop, by the user or by a failure; handed on to the stages through their board."""

    def __init__(self) -> None:
        super().__init__()
        self.by_user = False
        self._since = 0.0
        self._board: Any = None
        self._handed_on = False

    def set(self) -> None:
        """Ask the launch to stop."""
        self._since = self._since or time.monotonic()
        super().set()

    def reaches(self, board: Any) -> None:
        """Name the board that the running stages look at."""
        self._board = board

    def hand_on(self) -> bool:
        """Tell the stages, once; True when the launch was asked so long ago that nothing should be waited for."""
        if not self.is_set():
            return False
        if self._board is not None and not self._handed_on:
            self._handed_on = True
            self._board.request_stop.remote()
        return time.monotonic() - self._since > _SECONDS_AFTER_STOP


@contextmanager
def pump(
    board: Any, recorder: Recorder, stop: StopRequest, asked_elsewhere: Callable[[], bool], view: View
) -> Iterator[None]:
    """Drain the board into the recorder, and show it, in a thread."""
    import ray

    ended = threading.Event()
    failure: list[BaseException] = []

    def loop() -> None:
        beat = time.monotonic()
        while True:
            last = ended.is_set()
            recorder.catch_up(lambda: ray.get(board.drain.remote()))
            view.update(recorder.progress)
            if time.monotonic() - beat > _HEARTBEAT_SECONDS:
                beat = time.monotonic()
                if asked_elsewhere():
                    stop.set()
            stop.hand_on()
            if last:
                return
            ended.wait(_PUMP_SECONDS)

    def guarded() -> None:
        try:
            loop()
        except BaseException as error:
            failure.append(error)
            stop.set()
            stop.hand_on()

    thread = threading.Thread(target=guarded, name="board-pump", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failure:
        raise failure[0]


@contextmanager
def stopping_on_signals(stop: StopRequest, view: View) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: checkpoint and end; second: end now."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.by_user = True
        stop.set()
        view.message("stopping: running stages write a checkpoint; once more to stop at once")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
