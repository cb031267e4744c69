"""Says that Ray's head is gone, before Ray ends the launch for it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lstcl_platform.orchestration.progress import View

_MISSES = 3
"""Refused connections in a row until the user is told. Ray's client ends the process, without a word of ours, once the
head has been away for a minute."""


@contextmanager
def watching_head(address: str, view: View, *, every_seconds: float = 8.0) -> Iterator[None]:
    """Look after the head of a cluster, in a thread.

    Args:
        address: HOST:PORT of the head.
        view: is told once when the head has been away for a while, and again if it comes and goes.
        every_seconds: between two looks.
    """
    host, _, port = address.rpartition(":")
    ended = threading.Event()

    def loop() -> None:
        misses = 0
        while not ended.wait(every_seconds):
            misses = 0 if _answers(host.strip("[]"), int(port), every_seconds) else misses + 1
            if misses == _MISSES:
                view.message(
                    f"Ray's head at {address} is gone; this launch ends with it in a minute at most. What is finished "
                    "stays: launch again, and the rest goes on from its checkpoints"
                )

    thread = threading.Thread(target=loop, name="head-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _answers(host: str, port: int, seconds: float) -> bool:
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError:
        return False
    return True
