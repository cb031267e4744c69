"""Whose turn a stage is, when several launches want the same one: the leases of a launch, by stage."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from lstcl_platform.tracking.patience import Patience
from lstcl_platform.training.leases import Holder, Leases

T = TypeVar("T")

_ASK_AGAIN_SECONDS = 1.0


class Turns:
    """Takes a stage's lease before the stage starts, and gives it back once its end is recorded.

    Args:
        leases: the leases of this launch.
        stage_dirs: stage key -> folder or URI of the stage.
        patience: with storage that does not tell whose turn it is.
    """

    def __init__(self, leases: Leases, *, stage_dirs: Mapping[str, str], patience: Patience) -> None:
        self._leases = leases
        self._stage_dirs = stage_dirs
        self._patience = patience
        self._refused: dict[str, tuple[Holder, float]] = {}

    def take(self, key: str) -> Holder | None:
        """Try to make it this launch's turn to run stage `key`; None when it is, else whose turn it is.

        Tune asks ten times a second; the storage is asked once a second.

        Raises:
            StoreAwayError: storage has not told for too long.
        """
        other, until = self._refused.get(key, (None, 0.0))
        if time.monotonic() < until:
            return other
        other = self._when_storage_answers(self._leases.take, key)
        if other is not None:
            self._refused[key] = (other, time.monotonic() + _ASK_AGAIN_SECONDS)
        return other

    def is_ours(self, key: str) -> bool:
        """Whether what this launch's attempt of `key` says may be recorded.

        Raises:
            StoreAwayError: storage has not told for too long.
        """
        return self._when_storage_answers(self._leases.holds, key)

    def _when_storage_answers(self, ask: Callable[[str], T], key: str) -> T:
        folder = self._stage_dirs[key]
        return self._patience.call("the storage", lambda again: ask(folder), away=_is_away)

    def give_back(self, key: str) -> None:
        """Let others have the stage; if it ended, its end must have been recorded."""
        self._leases.release(self._stage_dirs[key])


def _is_away(error: BaseException) -> bool:
    return isinstance(error, OSError)
