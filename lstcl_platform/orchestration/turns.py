"""Whose turn a stage is, when several launches want the same one: the leases of a launch, by stage."""

import time
from collections.abc import Mapping

from lstcl_platform.training.leases import Holder, Leases

_ASK_AGAIN_SECONDS = 1.0


class Turns:
    """Takes a stage's lease before the stage starts, and gives it back once its end is recorded.

    Args:
        leases: the leases of this launch.
        stage_dirs: stage key -> folder or URI of the stage.
    """

    def __init__(self, leases: Leases, *, stage_dirs: Mapping[str, str]) -> None:
        self._leases = leases
        self._stage_dirs = stage_dirs
        self._refused: dict[str, tuple[Holder, float]] = {}

    def take(self, key: str) -> Holder | None:
        """Try to make it this launch's turn to run stage `key`; None when it is, else whose turn it is.

        Tune asks ten times a second; the storage is asked once a second.

        Raises:
            OSError: storage does not answer.
        """
        other, until = self._refused.get(key, (None, 0.0))
        if time.monotonic() < until:
            return other
        other = self._leases.take(self._stage_dirs[key])
        if other is not None:
            self._refused[key] = (other, time.monotonic() + _ASK_AGAIN_SECONDS)
        return other

    def is_ours(self, key: str) -> bool:
        """Whether what this launch's attempt of `key` says may be recorded.

        Raises:
            OSError: storage does not answer, so that is not known.
        """
        return self._leases.holds(self._stage_dirs[key])

    def give_back(self, key: str) -> None:
        """Let others have the stage; if it ended, its end must have been recorded."""
        self._leases.release(self._stage_dirs[key])
