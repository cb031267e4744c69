"""A cluster of several nodes on this machine: where decode tasks run, and in which order their chunks arrive.

Run as a process of its own (`python -m tests.helpers.two_nodes FOLDER`); prints what was seen as JSON. Ray's test
cluster would otherwise leave its marks in the process of the tests.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstcl_platform.orchestration.cluster import connected
from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.ingest import checked_batches, deal_shards
from lstcl_platform.orchestration.preflight import place
from lstcl_platform.specs.run import ResourcesSpec

DECODE_NODE = {"num_cpus": 2, "labels": {"ray-subcluster": "data"}}
DEAL = Deal(global_batch=4, world=1, steps=16)


@dataclass(frozen=True)
class UnevenDecode:
    """Takes longer for every other chunk, so that of two at a time the later is done first; says where and when."""

    def __call__(self, positions, *, read):
        import ray

        time.sleep(0.05 if positions[0] // len(positions) % 2 else 0.5)
        node = ray.get_runtime_context().get_node_id()
        return {
            "position": positions,
            "node": np.array([node] * len(positions), dtype=object),
            "done": np.full(len(positions), time.time()),
        }


def seen(address: str) -> dict[str, object]:
    """Which kinds of nodes decoded and would train, and the positions and ends of chunks in order of arrival."""
    import ray

    with connected(address) as capacity:
        placement = place(ResourcesSpec(), capacity, stages=1)
        (shard,) = deal_shards(UnevenDecode(), deal=DEAL, share=placement.decode)
        batches = list(checked_batches(shard, deal=DEAL, rank=0))
        labels = {node["NodeID"]: node["Labels"].get("ray-subcluster", "plain") for node in ray.nodes()}
        where = ray.remote(label_selector=dict(placement.label_selector))(
            lambda: ray.get_runtime_context().get_node_id()
        )
        return {
            "decode_cpus": placement.decode.cpus,
            "decoded_on": sorted(labels[node] for node in {batch["node"][0] for batch in batches}),
            "trained_on": labels[ray.get(where.remote())],
            "positions": np.concatenate([batch["position"] for batch in batches]).tolist(),
            "done": [batch["done"][0] for batch in batches],
        }


def main(folder: Path) -> None:
    """Two plain nodes; then a third for decoding."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "temp_dir": str(folder / "ray"), "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=2)
        without = seen(cluster.address)
        cluster.add_node(**DECODE_NODE)
        print(json.dumps({"without": without, "with": seen(cluster.address)}))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
