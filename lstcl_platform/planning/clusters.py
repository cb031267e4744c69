"""The cluster that a plan is for: described in a file, or this machine. Nothing is looked up anywhere."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lstcl_platform.orchestration.cluster import Capacity
from lstcl_platform.planning.files import load_described
from lstcl_platform.specs.base import PositiveInt, Relation, Spec

GPUS = Path("/proc/driver/nvidia/gpus")
"""A folder a GPU, where the driver is NVIDIA's on Linux; on other systems GPUs are described in a file."""
_MEMORY = 1 << 34
"""Object store of a node in bytes; the plan does not depend on it."""


class NodeGroupSpec(Spec):
    """Some nodes of one type."""

    count: PositiveInt = 1
    """Nodes of the group."""
    cpus: float = Field(ge=0)
    """Cores of a node that tasks may use; 0 for a head that only drives."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of a node."""
    device: str | None = None
    """Name of the GPU, as torch tells it, such as `NVIDIA H100 80GB HBM3`: measured rates are matched by it."""
    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """What one GPU can do at the training's precision, in 10^12 operations a second (H100 SXM in bf16: 989); needed
    where no rate was measured; null takes the study's `resources.peak_tflops`."""
    decode: bool = False
    """Whether the nodes decode and nothing else (label `ray-subcluster=data`)."""
    price_per_hour: float = Field(default=0.0, ge=0)
    """Of one node, in the cluster's currency."""
    interruptions_per_hour: float = Field(default=0.0, ge=0)
    """How often a spot node is taken away, on average, in an hour that it runs; a new one is asked for at once."""
    start_up_minutes: float = Field(default=0.0, ge=0)
    """From asking for a node until it takes work."""

    def broken_relations(self) -> Iterator[Relation]:
        """A GPU says what it is; a node that only decodes has none."""
        if self.gpus and self.device is None:
            yield Relation(fields=("gpus", "device"), text="a group with gpus needs their device")
        if self.gpus and self.decode:
            yield Relation(fields=("decode", "gpus"), text="a group that decodes only has no gpus")


class ClusterSpec(Spec):
    """A cluster as a plan sees it."""

    description: str = ""
    """What it is, and where its prices are from."""
    currency: str = "USD"
    """Of the prices."""
    nodes: dict[str, NodeGroupSpec] = Field(min_length=1)
    """Groups of equal nodes, by name."""

    def broken_relations(self) -> Iterator[Relation]:
        """The rules of each group; one kind of GPU; somewhere to train."""
        for name, group in self.nodes.items():
            for rule in group.broken_relations():
                yield Relation(
                    fields=tuple(f"nodes.{name}.{field}" for field in rule.fields),
                    text=f"nodes.{name}: {rule.text}",
                )
        devices = {group.device for group in self.nodes.values() if group.gpus}
        if len(devices) > 1:
            names = ", ".join(sorted(str(device) for device in devices))
            yield Relation(fields=("nodes",), text=f"one kind of GPU a cluster, not {names}")
        if all(group.decode for group in self.nodes.values()):
            yield Relation(fields=("nodes",), text="no group trains: all of them only decode")

    @property
    def device(self) -> str:
        """What trains: the name of its GPU, or `cpu`."""
        return next((str(group.device) for group in self.nodes.values() if group.gpus), "cpu")

    @property
    def peak_tflops(self) -> float | None:
        """Of one GPU; None where CPUs train."""
        return next((group.peak_tflops for group in self.nodes.values() if group.gpus), None)

    @property
    def priced(self) -> bool:
        """Whether it costs money."""
        return any(group.price_per_hour for group in self.nodes.values())

    @property
    def price_per_hour(self) -> float:
        """Of all its nodes together."""
        return sum(group.count * group.price_per_hour for group in self.nodes.values())

    @property
    def capacity(self) -> Capacity:
        """What it has once every node is up, as a launch would find it."""
        groups = self.nodes.values()
        cpus = sum(group.count * group.cpus for group in groups)
        gpus = float(sum(group.count * group.gpus for group in groups))
        nodes = sum(group.count for group in groups)
        return Capacity(
            cpus=cpus,
            gpus=gpus,
            max_cpus=cpus,
            max_gpus=gpus,
            node_cpus=max(group.cpus for group in groups if not group.decode),
            node_gpus=float(max(group.gpus for group in groups)),
            nodes=nodes,
            can_grow=False,
            object_store_bytes=_MEMORY * nodes,
            decode_cpus=sum(group.count * group.cpus for group in groups if group.decode),
        )


def load_cluster(path: Path) -> ClusterSpec:
    """Read a cluster file.

    Raises:
        UserError: everything that is wrong with it.
    """
    return load_described(path, ClusterSpec, kind="cluster")


def this_machine() -> ClusterSpec:
    """The cores and NVIDIA GPUs of this machine, without a price; told by the system, as nothing heavy is loaded."""
    models = [_model(path.read_text()) for path in sorted(GPUS.glob("*/information"))]
    here = NodeGroupSpec(cpus=float(_cores()), gpus=len(models), device=next(iter(models), None))
    return ClusterSpec(description="this machine", nodes={"here": here})


def _model(information: str) -> str:
    """Name of a GPU as its driver tells it, which is torch's too."""
    lines = dict(line.split(":", 1) for line in information.splitlines() if ":" in line)
    return lines.get("Model", "GPU").strip()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
