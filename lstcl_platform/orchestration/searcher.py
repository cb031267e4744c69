"""The stage graph as a Tune searcher: hands out the stages whose parents are done."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ray.tune.search import Searcher

from lstcl_platform.orchestration.halving import Halving
from lstcl_platform.orchestration.order import StageOrder
from lstcl_platform.specs.stages import StageGraph
from lstcl_platform.tracking.tracker import FinishedStage

STAGE_PARAM = "stage"
PARENT_WEIGHTS_PARAM = "parent_weights"
PARENT_SHA256_PARAM = "parent_sha256"
RUNG_CHECKPOINT_PARAM = "rung_checkpoint"

OnComplete = Callable[[str, Mapping[str, Any] | None], FinishedStage | Literal["again"] | None]
TakeTurn = Callable[[str], FinishedStage | Literal["ours", "theirs"]]


class StageSearcher(Searcher):  # type: ignore[misc]  # ray ships no types
    """Suggests each unfinished stage once, parents first.

    `suggest` returns None while all that is left waits for a running parent or for another launch, and FINISHED when
    nothing is left. A stage that fails takes out of the plan what needs it; the rest goes on.

    Args:
        graph: all stages of the launch.
        halving: which stages may run, wait for a ranking of cells, or never will.
        finished: stages that tracking already holds.
        take_turn: called before a stage is handed out: whether this launch may run it, another one does, or the result
            that another one has left.
        on_complete: called for each stage that ends, with the driver's result or None if the driver died; returns the
            finished stage, None if it failed, or `again` if it is to be handed out once more. Children are handed out
            only after it has returned, so tracking knows of the parent before a child starts.
    """

    def __init__(
        self,
        graph: StageGraph,
        *,
        halving: Halving,
        finished: Mapping[str, FinishedStage],
        take_turn: TakeTurn,
        on_complete: OnComplete,
        stop: threading.Event,
    ) -> None:
        super().__init__()
        self._graph = graph
        self._finished = dict(finished)
        self._order = StageOrder(graph, finished=finished, halving=halving)
        self._running: dict[str, str] = {}
        self._take_turn = take_turn
        self._on_complete = on_complete
        self._stop = stop

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Next stage that can start."""
        if self._stop.is_set():
            return str(Searcher.FINISHED) if self._order.idle else None
        found = self._order.next(self._take)
        if found.key is None:
            return str(Searcher.FINISHED) if found.over else None
        self._running[trial_id] = found.key
        parent = self._graph.stages[found.key].parent
        before = self._finished[parent] if parent is not None else None
        rungs = reversed(self._graph.stages[found.key].earlier)
        rung = next((self._finished[key] for key in rungs if key in self._finished), None)
        return {
            STAGE_PARAM: found.key,
            PARENT_WEIGHTS_PARAM: before and before.weights,
            PARENT_SHA256_PARAM: before and before.weights_sha256,
            RUNG_CHECKPOINT_PARAM: rung and rung.checkpoint,
        }

    def _take(self, key: str) -> Literal["ours", "theirs", "finished"]:
        turn = self._take_turn(key)
        if not isinstance(turn, FinishedStage):
            return turn
        self._finished[key] = turn
        return "finished"

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a stage ended and release or drop its descendants."""
        key = self._running.pop(trial_id, None)
        if key is None:
            return
        ended = self._on_complete(key, None if error else result)
        if isinstance(ended, FinishedStage):
            self._finished[key] = ended
        self._order.end(key, "failed" if ended is None else "again" if ended == "again" else "finished")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its configuration into a snapshot that is never restored."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is done is known to tracking alone, and Tune's own snapshot is never restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""
