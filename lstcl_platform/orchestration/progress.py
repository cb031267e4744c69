"""What is known of a running launch, kept for the live view: plain state, changed by the recorder alone."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lstcl_platform.specs.stages import StageKind

StageStatus = Literal[
    "cached", "waiting", "starting", "running", "finished", "failed", "stopped", "skipped", "dropped"
]
"""`stopped` by the user; `skipped`, since a stage that it needs failed; `dropped`, since its cells do not go on."""


@dataclass(frozen=True, kw_only=True)
class Standstill:
    """Where a rank stands that does no more steps.

    Attributes:
        step: steps done.
        where: file, line and function.
        waits: for other ranks, as far as that can be seen.
    """

    step: int
    where: str
    waits: bool

    def __str__(self) -> str:
        """``stood still after step 7 at reader.py:3 read``."""
        return f"stood still after step {self.step} at {self.where}"


def log_words(log: str) -> str:
    """Where the log of a stage is, as messages end with it; a stage that no attempt was made of has none."""
    return f"log: {log}" if log else "no log was written"


@dataclass(kw_only=True)
class StageProgress:
    """Where one stage stands.

    Attributes:
        key: stage key.
        kind: what it does.
        label: the first trial that needs it, and how many more do.
        status: `starting` until the first batch is there.
        attempt: number of the running attempt.
        start_step: step the attempt went on from.
        step: optimizer steps done.
        total: steps in all; 0 while unknown.
        metrics: newest row.
        began_at: Unix time the attempt began.
        training_at: Unix time of the first batch, or None.
        ended_at: Unix time of the end, or None.
        heard: rank -> Unix time of its last sign.
        attempt_dir: folder of the attempt, where the logs are.
        bad_videos: problem text -> times seen.
        error: why it failed, in a line.
        waits_for: the launch that runs it now, when that is another one.
        nodes: rank -> name of its node.
        stuck: rank -> where it stands still in this attempt.
        retries: why it was tried again, a line each time.
        lost_drivers: how often the process of its driver died.
    """

    key: str
    kind: StageKind
    label: str
    status: StageStatus = "waiting"
    attempt: int = 0
    start_step: int = 0
    step: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    began_at: float = 0.0
    training_at: float | None = None
    ended_at: float | None = None
    heard: dict[int, float] = field(default_factory=dict)
    attempt_dir: str = ""
    bad_videos: dict[str, int] = field(default_factory=dict)
    error: str = ""
    waits_for: str = ""
    nodes: dict[int, str] = field(default_factory=dict)
    stuck: dict[int, Standstill] = field(default_factory=dict)
    retries: list[str] = field(default_factory=list)
    lost_drivers: int = 0

    @property
    def running(self) -> bool:
        """Whether an attempt is under way."""
        return self.status in ("starting", "running")

    def silent(self, now: float | None = None) -> tuple[int, float]:
        """The rank not heard of for longest, and for how many seconds."""
        now = time.time() if now is None else now
        rank, at = min(self.heard.items(), key=lambda item: item[1], default=(0, self.began_at))
        return rank, now - at

    def slow_ranks(self) -> str:
        """Who kept the others waiting, or "": ranks that stand still outside a collective, or that say nothing.

        A stage's only worker keeps nobody waiting: it is named when it stands still.
        """
        waiting = sorted(rank for rank, stuck in self.stuck.items() if stuck.waits)
        if not waiting:
            alone = self.stuck.get(0) if len(self.nodes) == 1 else None
            return "" if alone is None else f"rank 0 on {self.nodes[0]} {alone}"
        texts = [
            f"rank {rank} on {self.nodes.get(rank, 'an unknown node')} "
            + (f"stood at {self.stuck[rank].where}" if rank in self.stuck else "gave no sign")
            for rank in sorted(self.nodes)
            if rank not in waiting
        ]
        return f"{', '.join(texts)} while rank {', '.join(map(str, waiting))} waited" if texts else ""

    def eta_seconds(self, now: float | None = None) -> float | None:
        """Seconds until the last step at the speed of this attempt so far; None before the second step."""
        done = self.step - self.start_step
        if self.training_at is None or done < 2 or not self.total:
            return None
        now = time.time() if now is None else now
        return (now - self.training_at) / done * (self.total - self.step)


@dataclass(kw_only=True)
class LaunchProgress:
    """Where a launch stands: its stages in order, parents first."""

    names: tuple[str, ...]
    stages: dict[str, StageProgress]
    began_at: float = field(default_factory=time.time)

    def count(self, *statuses: StageStatus) -> int:
        """Number of stages in one of `statuses`."""
        return sum(stage.status in statuses for stage in self.stages.values())


class View(Protocol):
    """What shows a launch to a person."""

    def message(self, text: str) -> None:
        """Say something once."""

    def update(self, progress: LaunchProgress) -> None:
        """Show the present state; called a few times a second."""


class SilentView:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Drop `text`."""

    def update(self, progress: LaunchProgress) -> None:
        """Drop `progress`."""
