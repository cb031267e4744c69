"""The order of stages: which unfinished one may start next. The launch and the simulation of `plan` both follow it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from lstcl_platform.orchestration.halving import Halving
from lstcl_platform.specs.stages import StageGraph

Ended = Literal["finished", "failed", "again"]


@dataclass(frozen=True)
class Next:
    """What `StageOrder.next` found.

    Attributes:
        key: the stage to start, or None while what is left waits.
        over: nothing is left, and nothing runs.
    """

    key: str | None
    over: bool = False


class StageOrder:
    """Hands out each unfinished stage once, parents first, in the graph's order.

    Args:
        graph: all stages.
        finished: keys of those whose results are there.
        halving: which stages may run, wait for a ranking of cells, or never will; None lets all run.
    """

    def __init__(
        self, graph: StageGraph, *, finished: Collection[str], halving: Halving | None = None
    ) -> None:
        self._graph = graph
        self._halving = halving or Halving(graph, (), folder="")
        self._finished = set(finished)
        self._waiting = [key for key in graph.stages if key not in self._finished]
        self._running: set[str] = set()

    def next(self, take: Callable[[str], Literal["ours", "theirs", "finished"]]) -> Next:
        """The first stage that has all it needs and that `take` lets us have.

        Args:
            take: asked for each candidate: we may run it, somebody else does, or its result has come from elsewhere.
        """
        for key in tuple(self._waiting):
            needs, verdict = self._graph.stages[key].needs, self._halving.verdict(key)
            if verdict == "drop":
                self._waiting.remove(key)
                continue
            if verdict == "wait" or not self._finished.issuperset(needs):
                continue
            turn = take(key)
            if turn == "theirs":
                continue
            self._waiting.remove(key)
            if turn == "finished":
                self._finished.add(key)
                continue
            self._running.add(key)
            return Next(key)
        return Next(None, over=not self._waiting and not self._running)

    @property
    def idle(self) -> bool:
        """Whether no stage that was handed out is still to end."""
        return not self._running

    def end(self, key: str, how: Ended) -> None:
        """Take note of how stage `key` ended: it releases its children, drops what needs it, or goes first again."""
        self._running.discard(key)
        if how == "finished":
            self._finished.add(key)
        elif how == "again":
            self._waiting.insert(0, key)
        else:
            dropped = set(self._halving.lost_with(key))
            self._waiting = [waiting for waiting in self._waiting if waiting not in dropped]
