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
from lstcl_platform.orchestration.ingest import Deal, checked_batches, deal_shards
from lstcl_platform.orchestration.preflight import place
from lstcl_platform.specs.run import ResourcesSpec

DECODE_NODE = {"num_cpus": 1, "labels": {"ray-subcluster": "data"}}


@dataclass(frozen=True)
class RestlessDecode:
    """Takes another time for every chunk, and says which node decoded it."""

    def __call__(self, positions):
        import ray

        time.sleep(0.2 * np.random.default_rng(int(positions[0])).random())
        node = ray.get_runtime_context().get_node_id()
        return {"position": positions, "node": np.array([node] * len(positions), dtype=object)}


def seen(address: str) -> dict[str, object]:
    """CPUs of the labelled and other nodes that decoded, and the positions in their order of arrival."""
    import ray

    with connected(address) as capacity:
        placement = place(ResourcesSpec(), capacity, stages=1)
        deal = Deal(global_batch=4, world=1, steps=16)
        (shard,) = deal_shards(RestlessDecode(), deal=deal, share=placement.decode)
        batches = list(checked_batches(shard, deal=deal, rank=0))
        labelled = {node["NodeID"]: "ray-subcluster" in node["Labels"] for node in ray.nodes()}
        where = ray.remote(label_selector=dict(placement.label_selector))(
            lambda: ray.get_runtime_context().get_node_id()
        )
        return {
            "decode_cpus": placement.decode.cpus,
            "decoded_on": sorted(
                "decode node" if labelled[node] else "other node"
                for node in {node for batch in batches for node in batch["node"]}
            ),
            "trained_on": "decode node" if labelled[ray.get(where.remote())] else "other node",
            "positions": np.concatenate([batch["position"] for batch in batches]).tolist(),
        }


def main(folder: Path) -> None:
    """Two plain nodes; then a third for decoding."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "temp_dir": str(folder), "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        without = seen(cluster.address)
        cluster.add_node(**DECODE_NODE)
        print(json.dumps({"without": without, "with": seen(cluster.address)}))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
