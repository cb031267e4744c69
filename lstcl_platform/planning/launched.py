"""The prediction that a launch keeps, to be set beside what then happens."""

from collections.abc import Collection, Mapping
from typing import Any

from lstcl_platform.orchestration.cluster import Capacity
from lstcl_platform.planning.arithmetic import is_counted
from lstcl_platform.planning.clusters import ClusterSpec, NodeGroupSpec
from lstcl_platform.planning.predict import forecast
from lstcl_platform.planning.rates import RatesSpec, rates_of
from lstcl_platform.planning.work import DataSize
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.specs.stages import Stage, StageGraph


def prediction_of_launch(
    graph: StageGraph,
    *,
    finished: Collection[str],
    sizes: Mapping[str, DataSize],
    rates: RatesSpec,
    capacity: Capacity,
    checkpoint: CheckpointSpec,
) -> dict[str, Any]:
    """What the unfinished stages are predicted to take, by key: kind, basis of the rate, seconds.

    A stage is left out for which nothing was measured on such a GPU, or a model would have to be counted: a launch
    does not wait for that.
    """
    cluster = _cluster(capacity, rates)
    if cluster is None:
        return {}
    gpus = cluster.device != "cpu"
    left_out = {
        key for key, stage in graph.stages.items() if not _is_known(stage, rates, cluster.device, gpus=gpus)
    }
    found = forecast(
        graph,
        finished={*finished, *left_out},
        sizes=sizes,
        rates=rates,
        cluster=cluster,
        capacity=capacity,
        checkpoint=checkpoint,
    )
    return {
        key: {"kind": each.stage.kind, "basis": each.times.basis, "seconds": each.seconds.as_json()}
        for key, each in found.stages.items()
    }


def _cluster(capacity: Capacity, rates: RatesSpec) -> ClusterSpec | None:
    """What trains on a cluster of this capacity; None where it has GPUs and no rate was measured on any."""
    devices = [rate.device for rate in rates.stages if rate.device != "cpu"]
    if capacity.max_gpus and not devices:
        return None
    gpus = int(capacity.max_gpus)
    group = NodeGroupSpec(cpus=capacity.max_cpus, gpus=gpus, device=devices[0] if gpus else None)
    return ClusterSpec(nodes={"all": group})


def _is_known(stage: Stage, rates: RatesSpec, device: str, *, gpus: bool) -> bool:
    if any(rate.samples_per_second for rate in rates_of(stage, rates.stages, device=device)):
        return True
    trained = any(
        rate.device == device and rate.samples_per_second and rate.stage in ("pretrain", "finetune")
        for rate in rates.stages
    )
    return is_counted(stage.spec.model) and (trained or not gpus)
