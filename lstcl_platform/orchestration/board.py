"""The board of a launch: where workers pin what happens, and where the launcher reads it and pins its wishes.

Workers and stage drivers never import MLflow and never wait for it: they push events here, and the launch process,
the only writer to tracking, drains them.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ray.actor import ActorHandle

EventKind = Literal[
    "attempt",
    "training",
    "progress",
    "rows",
    "bad_video",
    "warning",
    "preempted",
    "retry",
    "stuck",
    "file",
]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in one attempt of one stage.

    Attributes:
        kind: `attempt` (a driver starts an attempt), `training` (the loop has begun), `progress`, `rows` (metrics),
            `bad_video`, `warning`, `preempted`, `retry` (an attempt failed, the next one begins), `stuck` (a rank
            stands still), `file` (to be kept with the run).
        stage: stage key.
        attempt: number of the attempt; events of an attempt that was replaced are ignored.
        rank: rank of the worker, 0 for the driver.
        data: contents, by kind.
    """

    kind: EventKind
    stage: str
    attempt: int
    rank: int = 0
    data: Mapping[str, Any]


MAX_EVENTS = 200_000
"""Events that may wait for the launcher, some 100 MB; then the board asks all stages to stop. What their checkpoints
hold is logged by the next launch."""


class Board:
    """State of the board; runs as one actor on the head that reserves no CPU.

    Args:
        max_events: events that may wait to be drained before stages are asked to stop.
    """

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._events: deque[Event] = deque()
        self._newest_progress: dict[tuple[str, int], Event] = {}
        self._stopping = False
        self._groups: dict[str, set[str]] = {}

    def push(self, events: Sequence[Event]) -> None:
        """Add events; of a rank's progress only the newest is kept."""
        for event in events:
            if event.kind == "progress":
                before = self._newest_progress.get((event.stage, event.rank))
                if before is None or before.attempt <= event.attempt:
                    self._newest_progress[event.stage, event.rank] = event
            else:
                self._events.append(event)
        self._stopping = self._stopping or len(self._events) > self._max_events

    def drain(self) -> list[Event]:
        """Take all events, oldest first; progress comes last."""
        taken = [*self._events, *self._newest_progress.values()]
        self._events.clear()
        self._newest_progress.clear()
        return taken

    def note_group(self, stage: str, group: str) -> None:
        """Note in which placement group (hexadecimal id) an attempt of a stage runs."""
        self._groups.setdefault(stage, set()).add(group)

    def take_groups(self, stage: str) -> set[str]:
        """The placement groups noted for a stage, which are forgotten."""
        return self._groups.pop(stage, set())

    def request_stop(self) -> None:
        """Ask all stages to write a checkpoint and end."""
        self._stopping = True

    def stop_requested(self) -> bool:
        """Whether stages should end."""
        return self._stopping


def create_board() -> "ActorHandle":
    """Start the board of this launch; it lives as long as the launch process."""
    import ray

    head = {"node:__internal_head__": 0.001}
    return ray.remote(num_cpus=0, resources=head)(Board).remote()
