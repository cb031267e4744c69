"""How long a stage takes, from what was measured of such stages, of similar ones, or from assumptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from lstcl_platform.orchestration.preflight import Placement
from lstcl_platform.planning.arithmetic import cost_of, recomputed, sample_flops
from lstcl_platform.planning.clusters import ClusterSpec
from lstcl_platform.planning.rates import Guess, RatesSpec, StageRateSpec, rates_of, rates_of_kind
from lstcl_platform.planning.span import Span
from lstcl_platform.planning.work import StageWork
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.stages import Stage

Basis = Literal["measured", "scaled", "guess"]
"""Where a rate is from: such a stage was measured; another one of this device, set in proportion by arithmetic; or
assumptions alone."""

_LEAST = 1.1
"""A measurement is never more certain than this factor."""
_SCALED = 1.6
"""How far arithmetic in proportion may be off."""


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """Times of a stage on its workers.

    Attributes:
        basis: where the training rate is from.
        start: seconds from the start of an attempt to its first batch.
        compute: seconds that a step takes all its workers, not waiting for data.
        decode: core seconds that the decoding of a step takes.
        end: seconds from the last step to the end.
        steps: of the stage.
        threads: cores that its workers keep busy while they compute: 0 where GPUs do.
    """

    basis: Basis
    start: Span
    compute: Span
    decode: Span
    end: Span
    steps: int
    threads: float

    def step(self, decoders: float) -> Span:
        """Seconds of a step when `decoders` cores decode for the stage."""
        pairs = zip(_ends(self.compute), _ends(self.decode), strict=True)
        return Span(*(max(compute, decode / decoders) for compute, decode in pairs))

    def whole(self, decoders: float) -> Span:
        """Seconds of the stage in one attempt that nobody disturbs."""
        return Span.total([self.start, self.step(decoders).times(self.steps), self.end])


def times_of(stage: Stage, work: StageWork, rates: RatesSpec, cluster: ClusterSpec) -> StageTimes:
    """Times of `stage` on `cluster`.

    Raises:
        UserError: nothing is known of the speed of its GPUs.
    """
    device, workers = cluster.device, stage.spec.resources.workers
    threads = stage.spec.resources.threads_per_worker
    assume = rates.assume
    same = rates_of(stage, rates.stages, device=device)
    basis, a_sample = _compute(stage, rates, cluster)
    a_step = work.samples / work.steps  # not the batch: the last one of a test may be small
    here = [rate for rate in rates.stages if rate.device == device]
    return StageTimes(
        basis=basis,
        start=_fixed(same, here, "start_seconds", assume.start_seconds),
        compute=a_sample.times(a_step / workers),
        decode=_decode(rates, work).times(a_step),
        end=_fixed(same, here, "end_seconds", assume.end_seconds),
        steps=work.steps,
        threads=float(workers * threads) if device == "cpu" else 0.0,
    )


def decoders_of(placement: Placement) -> float:
    """Cores that decode for a stage: Ray reserves parts of a CPU, but a task keeps a whole one busy."""
    return float(max(1, int(placement.decode.cpus / placement.decode.task_cpus)))


def _compute(stage: Stage, rates: RatesSpec, cluster: ClusterSpec) -> tuple[Basis, Span]:
    """Seconds that a sample takes one worker."""
    same = [r for r in rates_of(stage, rates.stages, device=cluster.device) if r.samples_per_second]
    if same:
        return "measured", Span.of(1 / (r.samples_per_second or 1.0) for r in same).widened(_LEAST)
    flops = sample_flops(stage) * recomputed(stage)
    near = [
        r
        for r in rates.stages
        if r.device == cluster.device and r.samples_per_second and r.stage in ("pretrain", "finetune")
    ]
    if near:
        speeds = [_flops_of(rate) * (rate.samples_per_second or 1.0) for rate in near]
        return "scaled", Span.exactly(flops / median(speeds)).widened(_SCALED)
    assume = rates.assume
    peak = cluster.peak_tflops or stage.spec.resources.peak_tflops
    if cluster.device != "cpu" and peak is not None:
        speeds = [peak * 1e12 * share for share in assume.mfu]
    elif cluster.device != "cpu":
        raise UserError(
            f"no training on {cluster.device} was measured: say resources.peak_tflops, or peak_tflops of its node "
            "group, or pass rates with --rates FILE"
        )
    else:
        speeds = [1e9 * gflops * stage.spec.resources.threads_per_worker for gflops in assume.cpu_gflops]
    slow, usual, fast = sorted(speeds)
    return "guess", Span(flops / fast, flops / usual, flops / slow)


def _flops_of(rate: StageRateSpec) -> float:
    """Operations of one sample of a measured training stage."""
    cost = cost_of(
        ModelSpec(name=rate.model, attention=rate.attention, frames=rate.frames, image_size=rate.image_size)
    )
    passes = 3 if rate.stage == "finetune" else 6 if rate.framework == "simsiam" else 8
    return 2.0 * cost.macs * passes


def _decode(rates: RatesSpec, work: StageWork) -> Span:
    """Core seconds that decoding a sample takes, wherever it was measured."""
    same = rates_of_kind(work.stage, rates.stages)
    measured = [rate.decode_seconds for rate in same if rate.decode_seconds is not None]
    if measured:
        return Span.of(measured).widened(_LEAST)
    a_clip = [rate.decode_seconds / _clips(rate) for rate in rates.stages if rate.decode_seconds]
    if a_clip:
        return Span.of(a_clip).times(work.clips).widened(_SCALED)
    return _guess(rates.assume.clip_decode_seconds).times(work.clips)


def _clips(rate: StageRateSpec) -> int:
    return 2 if rate.stage == "pretrain" else rate.views


def _fixed(same: Sequence[StageRateSpec], here: Sequence[StageRateSpec], name: str, assumed: Guess) -> Span:
    """Seconds that every stage takes: of such stages, else of any on this device, else assumed."""
    for rates in (same, here):
        measured = [value for rate in rates if (value := getattr(rate, name)) is not None]
        if measured:
            return Span.of(measured).widened(_LEAST)
    return _guess(assumed)


def _guess(values: Guess) -> Span:
    return Span(*sorted(values))


def _ends(span: Span) -> tuple[float, float, float]:
    return span.low, span.expected, span.high
