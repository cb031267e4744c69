"""What a cluster can become, from the files that its autoscaler is given."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler._private.util import prepare_config

from lstcl_platform.orchestration.cluster import capacity_of
from lstcl_platform.orchestration.node_groups import Nodes, groups, nodes_to_come
from lstcl_platform.orchestration.preflight import place
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.run import ResourcesSpec

CLUSTER = Path(__file__).parents[2] / "cluster"
HEAD = Nodes(cpus=0, gpus=0, decodes=False, count=1)


def of_kubernetes():
    manifest = yaml.safe_load((CLUSTER / "kuberay" / "raycluster.yaml").read_text())
    manifest["metadata"]["namespace"] = "lstcl"
    return autoscaling_config._derive_autoscaling_config_from_ray_cr(manifest)


@pytest.mark.parametrize("name", ["aws", "gcp", "kubernetes"])
def test_a_head_that_is_alone_is_a_cluster_of_all_its_groups(name):
    config = (
        of_kubernetes()
        if name == "kubernetes"
        else prepare_config(yaml.safe_load((CLUSTER / f"{name}.yaml").read_text()))
    )
    capacity = capacity_of([HEAD], groups(config), object_store_bytes=1 << 30)
    assert (capacity.cpus, capacity.gpus, capacity.nodes, capacity.can_grow) == (0, 0, 1, True)
    assert capacity.max_gpus == 64
    assert capacity.node_gpus == 8
    assert capacity.decode_cpus == 64 * (16 if name == "kubernetes" else 32)
    assert capacity.max_cpus == capacity.decode_cpus + 8 * capacity.node_cpus
    placement = place(ResourcesSpec(workers=8), capacity, stages=8)
    assert placement.worker_gpus == 1
    assert placement.concurrent == 8
    assert placement.decode.label_selector == {"ray-subcluster": "data"}
    assert placement.waits_for == "8 more GPUs and 2.25 more CPUs"


def test_nodes_that_came_are_not_counted_twice():
    came = Nodes(cpus=4, gpus=0, decodes=False, count=1)
    may = Nodes(cpus=4, gpus=0, decodes=False, count=3)
    capacity = capacity_of([HEAD, came, came], [may], object_store_bytes=0)
    assert (capacity.cpus, capacity.max_cpus, capacity.nodes) == (8, 12, 3)
    alone = capacity_of([came], [], object_store_bytes=0)
    assert (alone.max_cpus, alone.node_cpus, alone.can_grow) == (4, 4, False)


def test_the_autoscaler_of_this_cluster_is_found_among_those_of_this_machine(tmp_path, monkeypatch):
    """By its arguments, which are those that Ray gives it: the file is named as on the command line of `ray start`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = {"head_node_type": "head", "max_workers": 2, "available_node_types": {}}
    groups_of = {"head": {"resources": {"CPU": 8}}, "worker": {"resources": {"CPU": 4}, "max_workers": 3}}
    file = tmp_path / "autoscaling.yaml"
    file.write_text(yaml.safe_dump(config | {"available_node_types": groups_of}))
    arguments = [
        "--logs-dir=/nowhere",
        "--gcs-address=10.1.2.3:6379",
        "--autoscaling-config=~/autoscaling.yaml",
    ]
    with subprocess.Popen([sys.executable, "-c", "input()", *arguments], stdin=subprocess.PIPE) as monitor:
        try:
            assert nodes_to_come("10.1.2.3:6379") == (Nodes(cpus=4, gpus=0, decodes=False, count=2),)
            assert nodes_to_come("10.1.2.3:6380") == ()
            file.unlink()
            with pytest.raises(UserError, match=r"cannot be read: .*autoscaling\.yaml"):
                nodes_to_come("10.1.2.3:6379")
        finally:
            monitor.kill()
