"""The prediction of a plan: what its unfinished stages take, by kind and in all, and what would balance them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lstcl_platform.orchestration.cluster import Capacity
from lstcl_platform.orchestration.preflight import Placement, place_all, stages_at_once
from lstcl_platform.planning.clusters import ClusterSpec
from lstcl_platform.planning.rates import RatesSpec
from lstcl_platform.planning.span import Span
from lstcl_platform.planning.times import Basis, StageTimes, decoders_of, times_of
from lstcl_platform.planning.work import DataSize, StageWork, work_of
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.specs.stages import Stage, StageGraph, StageKind


@dataclass(frozen=True, kw_only=True)
class StageForecast:
    """What one stage is predicted to take.

    Attributes:
        stage: the stage.
        work: what it does.
        times: of its parts.
        placement: what it is given.
        seconds: in one undisturbed attempt.
    """

    stage: Stage
    work: StageWork
    times: StageTimes
    placement: Placement
    seconds: Span

    @property
    def decode_seconds(self) -> Span:
        """Core seconds of decoding in all."""
        return self.times.decode.times(self.work.steps)

    @property
    def worker_seconds(self) -> Span:
        """Seconds of all its workers together, waits included."""
        return self.seconds.times(self.placement.workers)

    @property
    def computing_seconds(self) -> Span:
        """Of `worker_seconds`, those that compute."""
        return self.times.compute.times(self.work.steps * self.placement.workers)

    def core_seconds(self, start_cores: float) -> Span:
        """Core seconds of all that it does, `start_cores` of them a second while it starts and ends."""
        times = self.times
        steps = Span.total([times.compute.times(times.threads), times.decode]).times(times.steps)
        return Span.total([times.start.times(start_cores), steps, times.end.times(start_cores)])

    @property
    def waits_for_data(self) -> bool:
        """Whether decoding is the slower side of a step."""
        return self.times.decode.expected / decoders_of(self.placement) > self.times.compute.expected


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over some stages.

    Attributes:
        stages: how many.
        flops: operations.
        decode_hours: core hours of decoding.
        worker_hours: hours of workers (GPUs where GPUs train).
        wall_hours: hours of the stages one after the other.
        storage_bytes: final checkpoints, weights and predictions.
        bases: stages by where their rates are from.
    """

    stages: int
    flops: float
    decode_hours: Span
    worker_hours: Span
    wall_hours: Span
    storage_bytes: float
    bases: Mapping[Basis, int]

    @classmethod
    def of(cls, stages: Collection[StageForecast]) -> "Totals":
        """Sums of `stages`."""
        bases: dict[Basis, int] = {}
        for found in stages:
            bases[found.times.basis] = bases.get(found.times.basis, 0) + 1
        return cls(
            stages=len(stages),
            flops=sum(found.work.flops for found in stages),
            decode_hours=Span.total(found.decode_seconds for found in stages).times(1 / 3600),
            worker_hours=Span.total(found.worker_seconds for found in stages).times(1 / 3600),
            wall_hours=Span.total(found.seconds for found in stages).times(1 / 3600),
            storage_bytes=sum(found.work.stored_bytes for found in stages),
            bases=bases,
        )

    def as_json(self) -> dict[str, Any]:
        """The sums as JSON-ready values."""
        return {
            "stages": self.stages,
            "flops": self.flops,
            "decode_core_hours": self.decode_hours.as_json(),
            "worker_hours": self.worker_hours.as_json(),
            "stage_hours": self.wall_hours.as_json(),
            "storage_bytes": self.storage_bytes,
            "rates": dict(self.bases),
        }


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What the unfinished stages of a plan are predicted to take on a cluster.

    Attributes:
        graph: all stages of the plan.
        stages: key -> forecast of each unfinished stage whose data has a known size.
        unknown: unfinished stages whose data has not.
        cluster: where.
        at_once: stages that run at the same time.
        launch: seconds until the first stage.
        checkpoint: when training state is saved.
        start_cores: cores that are busy while a stage starts.
    """

    graph: StageGraph
    stages: Mapping[str, StageForecast]
    unknown: Sequence[Stage]
    cluster: ClusterSpec
    at_once: int
    launch: Span
    checkpoint: CheckpointSpec
    start_cores: float

    def totals(self, kind: StageKind | None = None) -> Totals:
        """Sums over the stages of a kind, or over all."""
        return Totals.of([f for f in self.stages.values() if kind is None or f.stage.kind == kind])

    @property
    def wall(self) -> Span:
        """Seconds of the launch: no less than its longest chain takes, all stages over those that run at once, and all
        their work over the cores that there are."""
        if not self.stages:
            return Span.exactly(0.0)
        everything = Span.total(found.seconds for found in self.stages.values()).times(1 / self.at_once)
        chains = [self._chain(key) for key in self.stages]
        busy = Span.total(found.core_seconds(self.start_cores) for found in self.stages.values())
        bounds = [everything, busy.times(1 / self.cluster.capacity.cpus), *chains]
        longest = [max(getattr(bound, end) for bound in bounds) for end in ("low", "expected", "high")]
        return Span.total([self.launch, Span(*longest)])

    @property
    def cost(self) -> Span | None:
        """Price of all nodes for as long as the launch runs; None where nothing has a price."""
        return self.wall.times(self.cluster.price_per_hour / 3600) if self.cluster.priced else None

    @property
    def bottleneck(self) -> Literal["decode", "training"]:
        """What the workers' time goes with: waiting for data where that is the slower side for most of it."""
        waiting = sum(f.worker_seconds.expected for f in self.stages.values() if f.waits_for_data)
        whole = sum(f.worker_seconds.expected for f in self.stages.values())
        return "decode" if waiting > whole / 2 else "training"

    @property
    def balance(self) -> float | None:
        """Decode cores a worker at which decoding and training take equally long; None where nothing is computed."""
        computing = sum(f.computing_seconds.expected for f in self.stages.values())
        decoding = sum(f.decode_seconds.expected for f in self.stages.values())
        return decoding / computing if computing else None

    @property
    def cores_a_worker(self) -> float | None:
        """Decode cores a worker that the stages are given, weighed by their time; None without a stage."""
        whole = sum(f.seconds.expected for f in self.stages.values())
        given = sum(
            f.seconds.expected * decoders_of(f.placement) / f.placement.workers for f in self.stages.values()
        )
        return given / whole if whole else None

    def _chain(self, key: str) -> Span:
        """Seconds from the start of the first unfinished ancestor of a stage to its end."""
        spans, at = [], key
        while at in self.stages:
            spans.append(self.stages[at].seconds)
            needs = self.graph.stages[at].needs
            if not needs:
                break
            at = needs[0]
        return Span.total(spans)


def forecast(
    graph: StageGraph,
    *,
    finished: Collection[str],
    sizes: Mapping[str, DataSize],
    rates: RatesSpec,
    cluster: ClusterSpec,
    capacity: Capacity,
    checkpoint: CheckpointSpec,
) -> Forecast:
    """Predict what the unfinished stages of `graph` take on `cluster`.

    Args:
        graph: all stages.
        finished: keys of those that will not run again.
        sizes: sizes of data by resolved path, as far as known.
        rates: measured rates, and assumptions.
        cluster: where they run.
        capacity: of the cluster, as a launch finds it.
        checkpoint: when training state is saved.

    Raises:
        UserError: a stage does not fit the cluster.
    """
    todo = [stage for key, stage in graph.stages.items() if key not in finished]
    placements = place_all(todo, capacity)
    found: dict[str, StageForecast] = {}
    unknown: list[Stage] = []
    for stage in todo:
        done = max((graph.stages[key].until or 0 for key in stage.earlier), default=0)
        work = work_of(stage, sizes, checkpoint, epochs_done=done)
        if work is None:
            unknown.append(stage)
            continue
        times, placement = times_of(stage, work, rates, cluster), placements[stage.key]
        seconds = times.whole(decoders_of(placement))
        found[stage.key] = StageForecast(
            stage=stage, work=work, times=times, placement=placement, seconds=seconds
        )
    return Forecast(
        graph=graph,
        stages=found,
        unknown=unknown,
        cluster=cluster,
        at_once=stages_at_once(list(placements.values())) if placements else 1,
        launch=_launch(rates),
        checkpoint=checkpoint,
        start_cores=rates.assume.start_cores,
    )


def unknown_paths(stages: Iterable[Stage]) -> list[str]:
    """Data that stages of unknown size read, each once."""
    return list(dict.fromkeys(path for stage in stages for path in stage.spec.sources()))


def _launch(rates: RatesSpec) -> Span:
    if rates.launch_seconds:
        return Span.of(rates.launch_seconds).widened(1.1)
    return Span(*sorted(rates.assume.launch_seconds))
