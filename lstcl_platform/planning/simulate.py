"""A sweep replayed on a described cluster, event by event: nodes come and go, stages start, wait, lose work and end.

Stages follow `orchestration.order.StageOrder`, as many at once and as large as `orchestration.preflight` says, both as
in a launch. What is simpler than the truth: a step takes equally long throughout; where the cores of CPU nodes are
wanted by more than there are, all slow down alike, wherever they are; a node that is taken away gives no warning, so
all since the last checkpoint is lost; nodes are paid for from the launch to its end.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lstcl_platform.orchestration.order import StageOrder
from lstcl_platform.planning.nodes import Node, Nodes, total_workers
from lstcl_platform.planning.predict import Forecast, StageForecast
from lstcl_platform.planning.span import Span
from lstcl_platform.planning.times import decoders_of

_TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One simulated launch.

    Attributes:
        makespan: seconds from the command to the end of the last stage.
        idle: share of the workers' time in which they did not compute what counts, in [0, 1].
        interruptions: nodes that were taken away.
        lost: seconds of all workers whose work was done again.
        ends: stage key -> seconds at which it started (its first attempt) and ended.
    """

    makespan: float
    idle: float
    interruptions: int
    lost: float
    ends: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Several simulated launches.

    Attributes:
        seeds: how many.
        makespan: seconds.
        cost: of all nodes, or None where nothing has a price.
        idle: share of the workers' time.
        interruptions: nodes that were taken away.
        lost: seconds of workers whose work was done again.
    """

    seeds: int
    makespan: Span
    cost: Span | None
    idle: Span
    interruptions: Span
    lost: Span

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values; ranges are over the seeds, the expected value is their median."""
        return {
            "seeds": self.seeds,
            "makespan_seconds": self.makespan.as_json(),
            "cost": None if self.cost is None else self.cost.as_json(),
            "idle_share": self.idle.as_json(),
            "interruptions": self.interruptions.as_json(),
            "lost_worker_hours": self.lost.times(1 / 3600).as_json(),
        }


def simulate(forecast: Forecast, *, seeds: int) -> Simulation:
    """Replay the unfinished stages of `forecast` with seeds 0, 1, ...

    A seed draws when nodes are taken away, and how far all rates are off within their ranges.
    """
    replays = [replay(forecast, seed=seed) for seed in range(seeds)]
    makespan = Span.of(found.makespan for found in replays)
    price = forecast.cluster.price_per_hour / 3600
    return Simulation(
        seeds=seeds,
        makespan=makespan,
        cost=makespan.times(price) if forecast.cluster.priced else None,
        idle=Span.of(found.idle for found in replays),
        interruptions=Span.of(float(found.interruptions) for found in replays),
        lost=Span.of(found.lost for found in replays),
    )


def replay(forecast: Forecast, *, seed: int) -> Replay:
    """Replay one launch."""
    return _Sweep(forecast, random.Random(seed)).run()


@dataclass(kw_only=True, eq=False)
class _Run:
    """A stage that was handed out.

    Attributes:
        plan: its forecast.
        began: when it was handed out.
        phase: what it does; `waiting` for room on the nodes.
        left: seconds of `start` or `end` that are left, with all the cores they want.
        done: steps that are done; some may be lost again.
        workers: where its workers are.
    """

    plan: StageForecast
    began: float
    phase: Literal["waiting", "start", "steps", "end"] = "waiting"
    left: float = 0.0
    done: float = 0.0
    workers: dict[Node, int] = field(default_factory=dict)

    @property
    def ahead(self) -> float:
        """What is left of the phase: seconds, or steps."""
        return self.plan.work.steps - self.done if self.phase == "steps" else self.left


class _Sweep:
    """State of one simulated launch; `off` in [-1, 1] is where in their ranges all rates are."""

    def __init__(self, forecast: Forecast, draws: random.Random) -> None:
        self._forecast = forecast
        self._off = draws.triangular(-1.0, 1.0, 0.0)
        self._nodes = Nodes(forecast.cluster, draws)
        self._all_decode_cpus = forecast.cluster.capacity.decode_cpus
        done = [key for key in forecast.graph.stages if key not in forecast.stages]
        self._order = StageOrder(forecast.graph, finished=done)
        self._now = forecast.launch.at(self._off)
        self._runs: list[_Run] = []
        self._computed = self._lost = 0.0
        self._ends: dict[str, tuple[float, float]] = {}

    def run(self) -> Replay:
        """Go from event to event until every stage has ended."""
        while True:
            self._nodes_change()
            self._hand_out()
            if not self._runs:
                return self._result()
            speeds = self._speeds()
            due = {run: self._now + run.ahead / speed for run, speed in speeds.items()}
            until = min([*due.values(), self._nodes.next_change])
            if math.isinf(until):
                raise RuntimeError("the simulation stands still: a stage never finds room")
            for run, speed in speeds.items():
                # What is due is over, however little rounding leaves of it.
                self._advance(run, run.ahead if due[run] <= until else speed * (until - self._now))
            self._now = until
            for run in list(self._runs):
                while run.phase != "waiting" and run.ahead <= 0:
                    self._next_phase(run)

    def _hand_out(self) -> None:
        while len(self._runs) < self._forecast.at_once:
            key = self._order.next(lambda key: "ours").key
            if key is None:
                break
            self._runs.append(_Run(plan=self._forecast.stages[key], began=self._now))
        for run in self._runs:
            if run.phase == "waiting":
                workers = self._nodes.place(run.plan.placement)
                if workers is not None:
                    run.workers, run.phase, run.left = workers, "start", run.plan.times.start.at(self._off)

    def _speeds(self) -> dict[_Run, float]:
        """Of every stage that does something: seconds or steps of its phase in a second."""
        alone: dict[_Run, float] = {}
        wanted = 0.0
        for run in self._runs:
            if run.phase == "waiting":
                continue
            speed, cores = self._undisturbed(run)
            alone[run] = speed
            wanted += cores
        share = min(1.0, self._nodes.cpus() / wanted) if wanted else 1.0
        return {run: speed * share for run, speed in alone.items()}

    def _undisturbed(self, run: _Run) -> tuple[float, float]:
        """Speed of a stage that has all the cores that it wants, and how many these are."""
        if run.phase != "steps":
            return 1.0, self._forecast.start_cores
        times = run.plan.times
        compute, decode = times.compute.at(self._off), times.decode.at(self._off)
        seconds = max(compute, decode / self._decoders(run), _TINY)
        return 1 / seconds, (times.threads * compute + decode) / seconds

    def _decoders(self, run: _Run) -> float:
        cores = decoders_of(run.plan.placement)
        if not self._all_decode_cpus or not run.plan.placement.decode.label_selector:
            return cores
        return max(_TINY, cores * self._nodes.cpus(decode=True) / self._all_decode_cpus)

    def _advance(self, run: _Run, amount: float) -> None:
        if run.phase == "steps":
            run.done += amount
            self._computed += amount * self._worker_seconds(run)
        else:
            run.left -= amount

    def _worker_seconds(self, run: _Run) -> float:
        """Seconds that a step keeps the workers of a stage computing."""
        return run.plan.times.compute.at(self._off) * run.plan.placement.workers

    def _next_phase(self, run: _Run) -> None:
        if run.phase == "start":
            run.phase = "steps"
        elif run.phase == "steps":
            run.phase, run.left = "end", run.plan.times.end.at(self._off)
        else:
            run.phase = "waiting"
            self._runs.remove(run)
            self._nodes.give_back(run.workers, run.plan.placement)
            self._ends[run.plan.stage.key] = (run.began, self._now)
            self._order.end(run.plan.stage.key, "finished")

    def _nodes_change(self) -> None:
        gone = set(self._nodes.change(self._now))
        for run in self._runs:
            if gone & run.workers.keys():
                self._interrupt(run)

    def _interrupt(self, run: _Run) -> None:
        """Go back to the newest checkpoint, and wait for room."""
        every = self._checkpoint_steps(run)
        saved = 0.0 if every is None else run.done // every * every
        again = (run.done - saved) * self._worker_seconds(run)
        self._computed -= again
        self._lost += again
        self._nodes.give_back(run.workers, run.plan.placement)
        run.done, run.phase, run.workers = saved, "waiting", {}

    def _checkpoint_steps(self, run: _Run) -> float | None:
        """Steps between two checkpoints; None for a test, which has none."""
        work = run.plan.work
        if work.checkpoint_steps is None:
            return None
        if work.checkpoint_minutes is None:
            return float(work.checkpoint_steps)
        seconds = run.plan.times.step(decoders_of(run.plan.placement)).at(self._off)
        return min(float(work.checkpoint_steps), max(1.0, 60 * work.checkpoint_minutes // seconds))

    def _result(self) -> Replay:
        placements = [found.placement for found in self._forecast.stages.values()]
        slots = total_workers(self._forecast.cluster, placements, at_once=self._forecast.at_once)
        paid = slots * self._now
        return Replay(
            makespan=self._now,
            idle=max(0.0, 1 - self._computed / paid) if paid else 0.0,
            interruptions=self._nodes.interruptions,
            lost=self._lost,
            ends=self._ends,
        )
