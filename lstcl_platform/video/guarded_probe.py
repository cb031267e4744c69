"""Probing in a child process: a file that crashes or hangs native code gets that as its problem; nothing else dies."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from lstcl_platform.video.guarded import answer_lines, guarded_answers
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
    for answer in guarded_answers(_SERVE, [str(path) for path in paths], limit_seconds=limit_seconds):
        yield Probe(problem=answer) if isinstance(answer, str) else Probe(**answer)


def serve() -> None:
    """Body of the child: a path a request, a `Probe` an answer."""
    answer_lines(lambda path: asdict(probe(Path(path), thorough=True)))
