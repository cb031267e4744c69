"""Probing in a child process: a file that crashes or hangs native code gets that as its problem; nothing else dies."""

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from lstcl_platform.video.probe import Probe, probe

LIMIT_SECONDS = 600.0
"""A video that takes longer is given up: two hours of film decode in less."""

_SERVE = "from lstcl_platform.video.guarded_probe import serve; serve()"


def guarded_probes(paths: Sequence[Path], *, limit_seconds: float = LIMIT_SECONDS) -> Iterator[Probe]:
    """`probe(path, thorough=True)` of each path in turn, in a child process that is replaced when it is lost.

    Args:
        paths: files.
        limit_seconds: given to each of them, start of the child included.
    """
    child: _Child | None = None
    try:
        for path in paths:
            child = child or _Child()
            answer = child.ask(path, limit_seconds=limit_seconds)
            if isinstance(answer, str):
                child.end()
                child = None
                answer = Probe(problem=answer)
            yield answer
    finally:
        if child is not None:
            child.end()


def serve() -> None:
    """Body of the child: a path as JSON a line on stdin, a `Probe` as JSON a line on stdout."""
    for line in sys.stdin:
        facts = probe(Path(json.loads(line)), thorough=True)
        print(json.dumps(asdict(facts)), flush=True)


class _Child:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, path: Path, *, limit_seconds: float) -> Probe | str:
        """What is found, or why there is no answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(str(path)).encode() + b"\n")
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
        return Probe(**json.loads(line))

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()
