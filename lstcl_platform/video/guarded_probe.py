"""Probing in a child process: a file that crashes or hangs native code gets that as its problem; nothing else dies."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage.places import Place, place_of
from lstcl_platform.video.guarded import answer_lines, guarded_answers
from lstcl_platform.video.probe import Probe, probe

LIMIT_SECONDS = 600.0
"""A video that takes longer is given up: two hours of film decode in less."""

_SERVE = "from lstcl_platform.video.guarded_probe import serve; serve()"


def guarded_probes(paths: Sequence[Place], *, limit_seconds: float = LIMIT_SECONDS) -> Iterator[Probe]:
    """`probe(path, thorough=True)` of each path in turn, in a child process that is replaced when it is lost.

    Args:
        paths: files, local or in an object store.
        limit_seconds: given to each of them, start of the child included.

    Raises:
        StorageError: the storage of a file is away.
    """
    for answer in guarded_answers(_SERVE, [str(path) for path in paths], limit_seconds=limit_seconds):
        if isinstance(answer, str):
            yield Probe(problem=answer)
        elif "storage" in answer:
            raise StorageError(answer["storage"])
        else:
            yield Probe(**answer)


def serve() -> None:
    """Body of the child: a path a request, a `Probe` an answer."""
    answer_lines(_answer)


def _answer(path: str) -> dict[str, Any]:
    try:
        return asdict(probe(place_of(path), thorough=True))
    except StorageError as error:
        # The child must say so: to die would be taken for the video's fault.
        return {"storage": str(error)}
