"""Native code in a child process: a file that crashes it or makes it hang gets that as its problem."""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_SECONDS = 300.0
"""Given to a child for its imports, which a loaded machine and a cold disk make slow."""

_READY = b"ready\n"
_PR_SET_PDEATHSIG = 1


class ChildLost(Exception):
    """The child crashed or hung over a request; the text says how."""

    def __init__(self, text: str, *, killed: bool = False) -> None:
        super().__init__(text)
        self.killed = killed
        """Whether somebody else ended it, such as the kernel for want of memory: that says nothing of a file."""


class Guard:
    """A child process that answers requests, started for the first one and replaced when it was lost."""

    def __init__(self, serve: str) -> None:
        """`serve` is Python code of the child, which calls `answer_lines`; it imports what this process can."""
        self._serve = serve
        self._child: _Child | None = None

    def ask(self, request: Any, *, limit_seconds: float) -> Any:
        """The child's answer, both JSON values.

        Args:
            request: what it is asked.
            limit_seconds: for the answer; neither the start of the child is counted nor its waiting for a CPU.

        Raises:
            ChildLost: there is none.
            RuntimeError: no child can be started: that is nothing that the request has done.
        """
        self._child = self._child or _Child(self._serve)
        try:
            return self._child.ask(request, limit_seconds=limit_seconds)
        except ChildLost:
            self.close()
            raise

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def guarded_answers(serve: str, requests: Sequence[Any], *, limit_seconds: float) -> Iterator[Any]:
    """What a child process answers to each request in turn; it is replaced when it is lost.

    Args:
        serve: as for `Guard`.
        requests: JSON values.
        limit_seconds: given to each of them.

    Yields:
        JSON values: an object from the child, or a string that says why there is no answer.
    """
    with Guard(serve) as guard:
        for request in requests:
            try:
                answer = guard.ask(request, limit_seconds=limit_seconds)
            except ChildLost as lost:
                answer = str(lost)
            yield answer


def answer_lines(answer: Callable[[Any], dict[str, Any]]) -> None:
    """Body of the child: a request as JSON a line on stdin, its answer as JSON a line on stdout."""
    _end_with_parent()
    print(_READY.decode(), end="", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def _end_with_parent() -> None:
    """A child that hangs would not see its stdin close."""
    with contextlib.suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Child:
    def __init__(self, serve: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", serve],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        try:
            said = self._line(limit_seconds=START_SECONDS)
        except ChildLost as lost:
            self.end()
            raise RuntimeError(f"no process to decode in could be started: {lost}") from None
        assert said == _READY

    def ask(self, request: Any, *, limit_seconds: float) -> Any:
        """The answer.

        Raises:
            ChildLost: there is none.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None
        return json.loads(self._line(limit_seconds=limit_seconds))

    def _line(self, *, limit_seconds: float) -> bytes:
        assert self._process.stdout is not None
        began = time.monotonic() - self._starved_seconds()
        line = b""
        while not line.endswith(b"\n"):
            left = limit_seconds - (time.monotonic() - self._starved_seconds() - began)
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, left))
            if not ready:
                if left > 0:
                    continue
                raise ChildLost(f"hangs the decoder: no result in {limit_seconds:g} s")
            # At most what is there: a reader that asks for a whole line could wait past the limit.
            part: bytes = self._process.stdout.read1(1 << 16)  # type: ignore[attr-defined]  # a BufferedReader has it
            if not part:
                raise self._lost()
            line += part
        return line

    def _starved_seconds(self) -> float:
        """For how long the child could have run, had a CPU been free; 0 where the system does not say.

        That others keep the machine busy is no fault of a video.
        """
        with contextlib.suppress(OSError, IndexError):
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[1]) / 1e9
        return 0.0

    def _lost(self) -> ChildLost:
        code = self._process.wait()
        killed = code in (-signal.SIGKILL, -signal.SIGTERM)
        return ChildLost(f"crashes the decoder: its process ended with {code}", killed=killed)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()
