"""Peak memory of a piece of work, measured in a process of its own."""

import multiprocessing
import re
import resource
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

MIB = 2**20


Work = Callable[[Any], Iterator[None]]
"""A generator function that yields once, when its libraries are loaded and nothing else is."""


def peak_memory(work: Work, argument: Any, *, device: str) -> tuple[float, float]:
    """Run `work(argument)` in a new process.

    Args:
        work: can be imported.
        argument: can be pickled.
        device: "cuda" counts the GPU memory of tensors, "cpu" the memory of the process.

    Returns:
        Most MiB held at a time, and the same without what the process held when `work` yielded.

    Raises:
        RuntimeError: the process died (out of memory, perhaps); its own message is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, work, argument, device))
    process.start()
    sender.close()
    try:
        before, peak = receiver.recv()
    except EOFError as error:
        raise RuntimeError(
            "the process that measures memory died: the step may need more than there is"
        ) from error
    finally:
        process.join()
    return peak, peak - before


def _measured(sender: Connection, work: Work, argument: Any, device: str) -> None:
    running = work(argument)
    next(running)
    before = _held_mib(device)
    list(running)
    sender.send((before, _held_mib(device)))


def _held_mib(device: str) -> float:
    """Most memory held so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    # Not getrusage where it can be avoided: Linux hands its value on to a started process.
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if found is not None:
            return int(found[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
