"""The nodes of a simulated cluster: they start, are taken away and come again, and hold workers meanwhile."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lstcl_platform.orchestration.preflight import Placement
from lstcl_platform.planning.clusters import ClusterSpec, NodeGroupSpec

_TINY = 1e-9


@dataclass(kw_only=True, eq=False)
class Node:
    """One node.

    Attributes:
        group: its type.
        up: whether it takes work.
        changes_at: when it next comes up, or is taken away; infinity for never.
        free: workers' GPUs and CPUs that are not taken.
    """

    group: NodeGroupSpec
    up: bool = False
    changes_at: float = 0.0
    free: dict[str, float] = field(default_factory=dict)

    def holds(self, placement: Placement) -> int:
        """How many more workers of such a stage fit."""
        if not self.up or self.group.decode:
            return 0
        needs = {"gpus": placement.worker_gpus, "cpus": placement.worker_cpus}
        counts = [int((self.free[name] + _TINY) / need) for name, need in needs.items() if need]
        return min(counts, default=placement.workers)


class Nodes:
    """All nodes of a cluster; time is in seconds from the launch.

    Args:
        cluster: as described.
        draws: when spot nodes are taken away.
    """

    def __init__(self, cluster: ClusterSpec, draws: random.Random) -> None:
        self._draws = draws
        self.nodes = [
            Node(group=group, changes_at=60 * group.start_up_minutes)
            for group in cluster.nodes.values()
            for _ in range(group.count)
        ]
        self.interruptions = 0
        self.change(0.0)

    @property
    def next_change(self) -> float:
        """When a node next comes or goes."""
        return min(node.changes_at for node in self.nodes)

    def change(self, now: float) -> list[Node]:
        """Let nodes come and go that are due; returns those that were taken away."""
        gone = []
        for node in self.nodes:
            while node.changes_at <= now:
                if node.up:
                    gone.append(node)
                    self.interruptions += 1
                    node.up, node.changes_at = False, now + 60 * node.group.start_up_minutes
                else:
                    node.up, node.changes_at = True, now + self._life(node.group)
                    node.free = {"gpus": float(node.group.gpus), "cpus": node.group.cpus}
        return gone

    def place(self, placement: Placement) -> dict[Node, int] | None:
        """Take room for all workers of a stage, fullest nodes first; None while there is not enough."""
        chosen: dict[Node, int] = {}
        left = placement.workers
        for node in self.nodes:
            here = min(left, node.holds(placement))
            if here:
                chosen[node] = here
                left -= here
        if left:
            return None
        self._take(chosen, placement, sign=-1)
        return chosen

    def give_back(self, workers: Mapping[Node, int], placement: Placement) -> None:
        """End the workers of a stage; on a node that is gone there is nothing to give back."""
        self._take({node: count for node, count in workers.items() if node.up}, placement, sign=1)

    def cpus(self, *, decode: bool | None = None) -> float:
        """Cores of the nodes that are up: of all, or of those that only decode, or of the others."""
        return sum(
            node.group.cpus
            for node in self.nodes
            if node.up and (decode is None or node.group.decode == decode)
        )

    def _take(self, workers: Mapping[Node, int], placement: Placement, *, sign: int) -> None:
        for node, count in workers.items():
            node.free["gpus"] += sign * count * placement.worker_gpus
            node.free["cpus"] += sign * count * placement.worker_cpus

    def _life(self, group: NodeGroupSpec) -> float:
        rate = group.interruptions_per_hour
        return self._draws.expovariate(rate / 3600) if rate else float("inf")


def total_workers(cluster: ClusterSpec, placements: Sequence[Placement], *, at_once: int) -> float:
    """Workers that could compute at a time: the GPUs, or on CPUs the workers of the stages that run at once."""
    gpus = cluster.capacity.gpus
    return gpus or float(at_once * max((placement.workers for placement in placements), default=1))
