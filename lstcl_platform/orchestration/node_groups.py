"""What the autoscaler of a cluster may bring, read where the autoscaler itself reads it.

Ray (2.60) has a place for this in its head, which Ray Train and Ray Data look at, but nothing of open-source Ray writes
there: to a launch, a cluster that starts from zero looked as if it could never have a CPU.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstcl_platform.specs.errors import UserError

DECODE_LABEL, DECODES = "ray-subcluster", "data"
"""A label that Ray Data's autoscaler knows too: it counts only such nodes for datasets that ask for them."""

RAYCLUSTER = "LSTCL_RAYCLUSTER"
"""Variable of a KubeRay head's container: the name of the RayCluster to which it belongs."""

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Equal nodes of a cluster.

    Attributes:
        cpus: CPUs of each.
        gpus: GPUs of each.
        decodes: whether they are labelled for decoding.
        count: how many there are, or may be.
    """

    cpus: float
    gpus: float
    decodes: bool
    count: int


def nodes_to_come(gcs_address: str) -> tuple[Nodes, ...]:
    """The groups of the autoscaler when each is as large as it may get; none where there is no autoscaler.

    Its limits are known on the head alone, where Ray's launcher and KubeRay keep them; and there a launch runs.

    Args:
        gcs_address: HOST:PORT of the cluster's head, as Ray itself writes it.

    Raises:
        UserError: the file cannot be read, or Kubernetes does not answer.
    """
    try:
        config = _of_launcher(gcs_address) or _of_kubernetes()
    except OSError as error:
        raise UserError(f"what the autoscaler of this cluster may bring cannot be read: {error}") from error
    return () if config is None else groups(config)


def groups(config: Mapping[str, Any]) -> tuple[Nodes, ...]:
    """Worker groups of an autoscaler's configuration, as Ray's launcher completes it."""
    head, in_all = config.get("head_node_type"), config.get("max_workers", 0)
    return tuple(
        Nodes(
            cpus=float(group["resources"].get("CPU", 0)),
            gpus=float(group["resources"].get("GPU", 0)),
            decodes=group.get("labels", {}).get(DECODE_LABEL) == DECODES,
            count=min(in_all, group.get("max_workers", in_all)),
        )
        for name, group in config["available_node_types"].items()
        if name != head
    )


def _of_launcher(gcs_address: str) -> Mapping[str, Any] | None:
    """The file that the autoscaler of a cluster made by `ray up` was started with, if it runs on this machine."""
    import psutil
    import yaml

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        named = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if named.get("--gcs-address") == gcs_address and "--autoscaling-config" in named:
            file = Path(
                named["--autoscaling-config"]
            ).expanduser()  # as `ray up` names it, ~/ray_bootstrap_config.yaml
            config: Mapping[str, Any] = yaml.safe_load(file.read_text())
            return config
    return None


def _of_kubernetes() -> Mapping[str, Any] | None:
    """What KubeRay's autoscaler makes of the RayCluster to which this pod belongs, if it is a head."""
    cluster = os.environ.get(RAYCLUSTER)
    if cluster is None or not _POD_NAMESPACE.exists():
        return None
    from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer

    config: Mapping[str, Any] = AutoscalingConfigProducer(cluster, _POD_NAMESPACE.read_text().strip())()
    return config
