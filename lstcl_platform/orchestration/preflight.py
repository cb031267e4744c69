"""The arithmetic before a launch: does a stage fit, how many at a time, and what is left for decoding.

Ray retries a worker group that can never be placed for ever and in silence, so what cannot fit is refused here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lstcl_platform.orchestration.cluster import Capacity
from lstcl_platform.orchestration.node_groups import DECODE_LABEL, DECODES
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.run import ResourcesSpec
from lstcl_platform.specs.stages import TESTS, Stage
from lstcl_platform.specs.wording import numbered

_GPU_WORKER_CPUS = 1.0
_LEAST_CPUS = 0.25
_CPUS_OF_A_WORKER = 2
_STORE_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class DecodeShare:
    """What the decoding of one stage may take.

    Attributes:
        task_cpus: CPUs one decode task reserves.
        cpus: CPUs all decode tasks of the stage may hold at a time.
        object_store_bytes: decoded data that may wait in the object store.
        label_selector: node labels that decode tasks ask for, e.g. {"ray-subcluster": "data"}; empty takes any node.
    """

    task_cpus: float
    cpus: float
    object_store_bytes: int
    label_selector: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What one stage takes, and how many stages run at once.

    Attributes:
        workers: training processes.
        worker_cpus: CPUs reserved for each.
        worker_gpus: GPUs reserved for each.
        label_selector: node labels that training processes ask for; empty takes any node.
        decode: what decoding may take.
        concurrent: stages that may run at the same time.
        waits_for: what the cluster lacks now and its autoscaler will have to bring; empty if nothing.
    """

    workers: int
    worker_cpus: float
    worker_gpus: float
    label_selector: Mapping[str, str]
    decode: DecodeShare
    concurrent: int
    waits_for: str = ""


def place_all(stages: Sequence[Stage], capacity: Capacity) -> dict[str, Placement]:
    """What each of the unfinished `stages` takes, by key; no more run at once than chains of them end, and one more
    for probes beside the pretrainings that go on.

    Raises:
        UserError: as `place`.
    """
    # The rungs of a trial run one after the other, and so do the parts of a pretraining.
    tests = [stage for stage in stages if stage.kind in TESTS]
    ends = Counter((stage.until, stage.until and stage.kind) for stage in tests)
    chains = max(ends.values(), default=1) + any(test.kind == "probe" and test.until for test in tests)
    return {stage.key: place(stage.spec.resources, capacity, stages=chains) for stage in stages}


def stages_at_once(placements: Sequence[Placement]) -> int:
    """How many of the stages of one launch run at once; at least one is given."""
    return min(placement.concurrent for placement in placements)


def place(resources: ResourcesSpec, capacity: Capacity, *, stages: int) -> Placement:
    """Fit stages with `resources` into `capacity`; at most `stages` of them can run at once.

    Raises:
        UserError: one stage needs more than the cluster can ever have.
    """
    workers = resources.workers
    gpus = _worker_gpus(resources, capacity)
    if workers * gpus > capacity.max_gpus:
        raise UserError(
            f"resources: a stage needs {numbered(workers * gpus, 'GPU')} ({numbered(workers, 'worker')} x "
            f"{_amount(gpus)}), but this cluster can never have more than {_amount(capacity.max_gpus)}; "
            "lower resources.workers or resources.gpus_per_worker, or launch on a larger cluster with --address"
            f"{_where_limits_are_known(capacity)}"
        )
    _check_one_node(resources, capacity, gpus=gpus)
    # Nodes that are labelled for decoding decode and nothing else, unless there are no others.
    apart = capacity.decode_cpus if capacity.decode_cpus < capacity.max_cpus else 0.0
    cpus = capacity.max_cpus - apart
    fixed = None if resources.cpus_per_worker == "auto" else float(resources.cpus_per_worker)
    least = workers * (_LEAST_CPUS if fixed is None else fixed) + (0.0 if apart else _LEAST_CPUS)
    if least > cpus:
        decoding = "" if apart else f", and {_LEAST_CPUS} for decoding"
        besides = f" besides its decode nodes' {_amount(apart)}" if apart else ""
        raise UserError(
            f"resources: a stage needs {numbered(least, 'CPU')} ({numbered(workers, 'worker')}{decoding}), but this "
            f"cluster can never have more than {_amount(cpus)}{besides}; lower resources.workers or "
            f"resources.cpus_per_worker"
            f"{_where_limits_are_known(capacity)}"
        )
    concurrent = _concurrent(resources, cpus, capacity, gpus=gpus, least_cpus=least, stages=stages)
    share = cpus / concurrent
    for_workers = share if apart else share / 2
    worker_cpus = fixed or min(_worker_cpus(for_workers, workers=workers, gpus=gpus), capacity.node_cpus)
    decode_cpus = apart / concurrent if apart else share - workers * worker_cpus
    return Placement(
        workers=workers,
        worker_cpus=worker_cpus,
        worker_gpus=gpus,
        label_selector={DECODE_LABEL: f"!{DECODES}"} if apart else {},
        decode=DecodeShare(
            task_cpus=min(1.0, decode_cpus),
            cpus=decode_cpus,
            object_store_bytes=int(capacity.object_store_bytes * _STORE_SHARE / concurrent),
            label_selector={DECODE_LABEL: DECODES} if apart else {},
        ),
        concurrent=concurrent,
        waits_for=_missing(capacity, cpus=least + (_LEAST_CPUS if apart else 0), gpus=workers * gpus),
    )


def check_reachable(
    *, nodes: int, can_grow: bool, locations: Mapping[str, str], shared: Path | None = None
) -> None:
    """Refuse storage or tracking that only one node can see when the cluster has, or may get, several.

    Args:
        nodes: nodes now.
        can_grow: whether an autoscaler may add more.
        locations: field name -> path or URI.
        shared: folder that the user says all nodes see (storage.shared).

    Raises:
        UserError: naming the field and what to write instead.
    """
    if nodes <= 1 and not can_grow:
        return
    for name, location in locations.items():
        local = "://" not in location or location.startswith(("file://", "sqlite://"))
        if local and not _is_shared(location) and not (shared and _path_of(location).is_relative_to(shared)):
            raise UserError(
                f"{name}: {location} is on one node, but this cluster has or may get several; use a URI that all nodes "
                "reach (s3://, gs://, http:// for tracking) or a path below a shared mount (NFS); if this is one, "
                "and not recognised, set storage.shared=true"
            )


def _is_shared(location: str) -> bool:
    """Whether a local path lies on a network file system."""
    import psutil

    path = str(_path_of(location))
    mounts = [p for p in psutil.disk_partitions(all=True) if path.startswith(p.mountpoint)]
    longest = max(mounts, key=lambda p: len(p.mountpoint), default=None)
    return longest is not None and longest.fstype in {
        "nfs",
        "nfs4",
        "cifs",
        "lustre",
        "ceph",
        "fuse.s3fs",
        "gpfs",
    }


def _path_of(location: str) -> Path:
    scheme, found, rest = location.rpartition("://")
    return Path(rest.removeprefix("/") if found and scheme == "sqlite" else rest)


def _check_one_node(resources: ResourcesSpec, capacity: Capacity, *, gpus: float) -> None:
    """Refuse a worker that is larger than the largest node."""
    cpus = 0.0 if resources.cpus_per_worker == "auto" else float(resources.cpus_per_worker)
    for name, what, wanted, largest in (
        ("gpus_per_worker", "GPU", gpus, capacity.node_gpus),
        ("cpus_per_worker", "CPU", cpus, capacity.node_cpus),
    ):
        if wanted > largest:
            raise UserError(
                f"resources.{name}: a worker needs {numbered(wanted, what)}, but no node of this cluster has, or can "
                f"have, more than {_amount(largest)}"
            )


def _worker_gpus(resources: ResourcesSpec, capacity: Capacity) -> float:
    if resources.gpus_per_worker == "auto":
        return 1.0 if capacity.max_gpus >= 1 else 0.0
    return float(resources.gpus_per_worker)


def _worker_cpus(share: float, *, workers: int, gpus: float) -> float:
    """CPUs of each of the workers that share some, at most one each when a GPU does their arithmetic."""
    return min(_GPU_WORKER_CPUS, share / workers) if gpus else share / workers


def _concurrent(
    resources: ResourcesSpec, cpus: float, capacity: Capacity, *, gpus: float, least_cpus: float, stages: int
) -> int:
    """Stages at once: what is asked for, or what the GPUs hold, or two CPUs a worker; never more than fit.

    Without a GPU, one CPU trains and one decodes. Packing stages more densely gains nothing: each has about ten
    processes to start, and these would only get in the other stages' way.
    """
    fits = cpus // least_cpus
    if gpus:
        fits = min(fits, capacity.max_gpus // (resources.workers * gpus))
    wanted: float
    if resources.max_concurrent_stages != "auto":
        wanted = resources.max_concurrent_stages
    else:
        wanted = fits if gpus else cpus // max(_CPUS_OF_A_WORKER * resources.workers, least_cpus)
    return int(max(1, min(wanted, fits, stages)))


def _missing(capacity: Capacity, *, cpus: float, gpus: float) -> str:
    lacks = []
    if gpus > capacity.gpus:
        lacks.append(numbered(gpus - capacity.gpus, "more GPU"))
    if cpus > capacity.cpus:
        lacks.append(numbered(cpus - capacity.cpus, "more CPU"))
    return " and ".join(lacks)


def _where_limits_are_known(capacity: Capacity) -> str:
    return (
        ""
        if capacity.can_grow
        else " (what an autoscaler may bring is known on its head alone: launch there)"
    )


def _amount(value: float) -> str:
    return f"{value:g}"
