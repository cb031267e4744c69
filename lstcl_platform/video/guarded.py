"""Native code in a child process: a file that crashes it or makes it hang gets that as its problem."""

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def guarded_answers(serve: str, requests: Sequence[Any], *, limit_seconds: float) -> Iterator[Any]:
    """What a child process answers to each request in turn; it is replaced when it is lost.

    Args:
        serve: Python code of the child, which calls `answer_lines`.
        requests: JSON values.
        limit_seconds: given to each of them, start of the child included.

    Yields:
        JSON values: an object from the child, or a string that says why there is no answer.
    """
    child: _Child | None = None
    try:
        for request in requests:
            child = child or _Child(serve)
            answer = child.ask(request, limit_seconds=limit_seconds)
            if isinstance(answer, str):
                child.end()
                child = None
            yield answer
    finally:
        if child is not None:
            child.end()


def answer_lines(answer: Callable[[Any], dict[str, Any]]) -> None:
    """Body of the child: a request as JSON a line on stdin, its answer as JSON a line on stdout."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


class _Child:
    def __init__(self, serve: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", serve],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, request: Any, *, limit_seconds: float) -> Any:
        """The answer, or why there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        end = time.monotonic() + limit_seconds
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return f"hangs the decoder: no result in {limit_seconds:g} s"
            # At most what is there: a reader that asks for a whole line could wait past the limit.
            part = self._process.stdout.read1(1 << 16)  # type: ignore[attr-defined]  # a BufferedReader has it
            if not part:
                return f"crashes the decoder: its process ended with {self._process.wait()}"
            line += part
        return json.loads(line)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()
