"""Ingest, measured: what one core decodes, and what the workers of a stage receive through Ray Data."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lstcl_platform.orchestration.cluster import Capacity, connected
from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.decode_chunk import Decode
from lstcl_platform.orchestration.ingest import Batch, checked_batches, deal_shards
from lstcl_platform.orchestration.job import Samples, StageJob, deal_of, samples_of, trained_on
from lstcl_platform.orchestration.preflight import Placement, place
from lstcl_platform.orchestration.prepare import prepare_data
from lstcl_platform.orchestration.progress import View
from lstcl_platform.specs import LoadedExperiment, build_graph, expand
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.stages import StageKind
from lstcl_platform.specs.wording import numbered
from lstcl_platform.tracking.location import storage_folder
from lstcl_platform.video.process import set_up_decoding
from lstcl_platform.video.sample_reads import Read, read_checked
from lstcl_platform.video.samples import EvaluateSamples

_ENDLESS_STEPS = 1 << 30


@dataclass(frozen=True, kw_only=True)
class IngestRates:
    """What `bench_ingest` measured; rates are samples a second.

    Attributes:
        trial: name of the trial.
        stage: kind of the stage.
        workers: training processes that received.
        decode_cpus: CPUs that decoding held.
        alone: decoded in this process on one thread, by wall time.
        alone_cpu: the same by process CPU time, which other load on the machine hardly changes.
        alone_samples: samples behind these two.
        stream: received by all workers together, from the first batch of each on; None if there was no second.
        stream_per_cpu: the same for one of `decode_cpus`.
        stream_samples: samples behind these two.
        first_batch_seconds: from asking for data to the first batch of the slowest worker.
        added_cpu_ms: CPU milliseconds of all of Ray's processes and the workers for a sample on its way, measured with
            made-up pixels instead of decoding; None on more than one node, or if there was no second batch.
        sample_bytes: size of a sample.
    """

    trial: str
    stage: StageKind
    workers: int
    decode_cpus: float
    alone: float
    alone_cpu: float
    alone_samples: int
    stream: float | None
    stream_per_cpu: float | None
    stream_samples: int
    first_batch_seconds: float
    added_cpu_ms: float | None
    sample_bytes: int


def bench_ingest(
    experiment: LoadedExperiment,
    *,
    stage: StageKind,
    seconds: float,
    view: View,
    address: str | None = None,
) -> IngestRates:
    """Measure the ingest of a stage of the first trial of `experiment`; trains nothing, records nothing.

    Args:
        experiment: loaded spec; its data is prepared as by a launch.
        stage: which stage's samples.
        seconds: how long each of the two ways runs; evaluation ends earlier when its videos do.
        view: told what is done.
        address: Ray cluster (`auto` or HOST:PORT); None starts a local one.

    Raises:
        UserError: wrong input, or the first trial has no such stage.
    """
    place_job = _prepare(experiment, stage, view=view)
    with connected(address) as capacity:
        job = place_job(capacity)
        samples, deal = _endless(job)
        decode_cpus = job.placement.decode.cpus
        view.message(
            f"{stage} through Ray Data: {numbered(deal.world, 'worker')}, {numbered(decode_cpus, 'CPU')} for decoding"
        )
        ranks = _through_ray(samples, deal, job.placement, seconds=seconds)
        blank = Blank.like(samples(deal.positions(0)))
        view.message("the same with made-up pixels instead of decoding")
        transport = _through_ray(blank, deal, job.placement, seconds=seconds)
        one_node = capacity.nodes == 1
    # Once Ray's processes are gone, so that they do not compete.
    view.message("decode alone: one thread of this process")
    count, wall, cpu = _alone(samples, deal, seconds=seconds)
    blanks, _, blank_cpu = _alone(blank, deal, seconds=min(seconds, 2.0))
    received = [rank for rank in ranks if rank["samples"]]
    stream = sum(rank["samples"] / rank["seconds"] for rank in received) if received else None
    return IngestRates(
        trial=job.stage.trials[0],
        stage=stage,
        workers=deal.world,
        decode_cpus=decode_cpus,
        alone=count / wall,
        alone_cpu=count / cpu,
        alone_samples=count,
        stream=stream,
        stream_per_cpu=stream / decode_cpus if stream else None,
        stream_samples=int(sum(rank["samples"] for rank in ranks)),
        first_batch_seconds=max(rank["first"] for rank in ranks),
        added_cpu_ms=_added_cpu_ms(transport, blank_cpu / blanks) if one_node else None,
        sample_bytes=blank.sample_bytes,
    )


def _added_cpu_ms(ranks: list[Mapping[str, float]], bare: float) -> float | None:
    """CPU milliseconds a sample beyond the `bare` seconds of making it."""
    received = sum(rank["samples"] for rank in ranks)
    return 1e3 * (ranks[0]["cpu"] / received - bare) if received else None


@dataclass(frozen=True)
class Blank:
    """Samples of the right shapes, made at once.

    Attributes:
        fields: name -> (shape of a sample, dtype).
    """

    fields: Mapping[str, tuple[tuple[int, ...], str]]

    @staticmethod
    def like(batch: Batch) -> "Blank":
        """Blank samples of the shapes of `batch`."""
        return Blank({name: (values.shape[1:], values.dtype.str) for name, values in batch.items()})

    @property
    def sample_bytes(self) -> int:
        """Size of a sample, but for its texts."""
        kinds = [(shape, np.dtype(kind)) for shape, kind in self.fields.values()]
        return int(
            sum(np.prod(shape, dtype=int) * kind.itemsize for shape, kind in kinds if kind.kind != "O")
        )

    def __call__(self, positions: NDArray[np.int64], *, read: Read = read_checked) -> dict[str, NDArray[Any]]:
        """As many samples as positions."""
        made = {
            name: np.full((len(positions), *shape), "" if kind == "|O" else 1, dtype=kind)
            for name, (shape, kind) in self.fields.items()
        }
        return made | {"position": positions}


def _prepare(experiment: LoadedExperiment, kind: StageKind, *, view: View) -> Callable[[Capacity], StageJob]:
    """The stage as a launch would run it, once the cluster is known."""
    spec = experiment.resolved
    storage = storage_folder(spec.storage)
    trial = expand(spec).trials[0]
    data = prepare_data([trial], storage=storage, view=view)
    graph = build_graph([trial], manifests={path: found.manifest.digest for path, found in data.items()})
    stages = {stage.kind: stage for stage in graph.stages.values()}
    if kind not in stages:
        raise UserError(
            f"{experiment.path}: the first trial, {trial.name}, has no {kind}, only {', '.join(stages)}"
        )

    def placed(capacity: Capacity) -> StageJob:
        return StageJob(
            stage=stages[kind],
            train_manifest=str(data[trained_on(stages[kind])].snapshot),
            val_manifest=str(data[trial.spec.data.val].snapshot),
            stage_dir="",
            placement=place(trial.spec.resources, capacity, stages=1),
            checkpoint=spec.checkpoint,
            log_every_steps=spec.tracking.log_every_steps,
            board=None,
        )

    return placed


def _endless(job: StageJob) -> tuple[Samples, Deal]:
    """What the stage reads; a training stage's epochs go on past the last, so that a short one can be measured."""
    samples = samples_of(job)
    deal = deal_of(job, samples)
    return samples, deal if isinstance(samples, EvaluateSamples) else replace(deal, steps=_ENDLESS_STEPS)


def _through_ray(
    samples: Decode, deal: Deal, placement: Placement, *, seconds: float
) -> list[Mapping[str, float]]:
    """What each worker received; workers are tasks that reserve what training would."""
    import ray

    shards = deal_shards(samples, deal=deal, share=placement.decode)
    task = ray.remote(
        num_cpus=placement.worker_cpus,
        num_gpus=placement.worker_gpus,
        label_selector=dict(placement.label_selector),
        max_retries=0,
    )(_receive)
    ranks = [task.remote(shard, deal, rank, seconds) for rank, shard in enumerate(shards)]
    return cast("list[Mapping[str, float]]", ray.get(ranks))


def _receive(shard: Any, deal: Deal, rank: int, seconds: float) -> dict[str, float]:
    """Take batches and do nothing with them."""
    asked = time.perf_counter()
    batches = checked_batches(shard, deal=deal, rank=rank)
    next(batches)
    began = now = time.perf_counter()
    cpu = _cpu_seconds()
    count = 0
    for batch in batches:
        count += _videos_in(batch)
        now = time.perf_counter()
        if now - began >= seconds:
            break
    spent = _cpu_seconds() - cpu
    return {"first": began - asked, "samples": float(count), "seconds": now - began, "cpu": spent}


def _cpu_seconds() -> float:
    """CPU time so far of all processes of the Ray node that this process belongs to."""
    import psutil

    raylet, *above = psutil.Process().parents()
    # Whoever started it has started Ray's other servers too, unless it has left them to the system.
    root = above[0] if above and above[0].pid != 1 else raylet
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _alone(samples: Decode, deal: Deal, *, seconds: float) -> tuple[int, float, float]:
    """Samples decoded one chunk after the other, wall seconds and process CPU seconds that took."""
    set_up_decoding()
    samples(deal.positions(0))  # imports, and the manifest
    count = chunk = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds and chunk < deal.chunks:
        count += _videos_in(samples(deal.positions(chunk)))
        chunk += 1
    return count, time.perf_counter() - wall, time.process_time() - cpu


def _videos_in(batch: Batch) -> int:
    """Samples that are not padding."""
    return int((batch["video"] >= 0).sum())
