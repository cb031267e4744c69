"""The files in `cluster/`: valid for the tools that read them, and closed, frugal and wired as their walk-through says.

`ray up` and KubeRay check more when they are given a cloud; Ray's own schema and its preparation run here.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from lstcl_platform.orchestration.node_groups import RAYCLUSTER

FOLDER = Path(__file__).parents[2] / "cluster"
LAUNCHER = ["aws", "gcp"]
MANIFESTS = sorted((FOLDER / "kuberay").glob("*.yaml"))


def launcher(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def manifests() -> list[dict[str, Any]]:
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_takes_the_file(name):
    prepared = prepare_config(launcher(name))
    validate_config(prepared)
    assert set(prepared["available_node_types"]) == {"head", "decode", "gpu"}


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_head_drives_and_all_else_comes_and_goes(name):
    config = launcher(name)
    types = config["available_node_types"]
    assert config["head_node_type"] == "head"
    assert types["head"]["resources"] == {"CPU": 0}, "tasks and workers must find no place on the head"
    assert "--num-cpus=0" in "".join(config["head_start_ray_commands"])
    assert [types[group]["min_workers"] for group in ("decode", "gpu")] == [0, 0]
    assert types["decode"]["labels"]["ray-subcluster"] == "data"
    assert "GPU" not in types["decode"]["resources"]
    assert types["gpu"]["resources"]["GPU"] > 0
    spot = {group: "spot" in json.dumps(types[group]["node_config"]).lower() for group in types}
    assert spot == {"head": False, "decode": True, "gpu": True}
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert "RAY_enable_autoscaler_v2=1" in "".join(config["head_start_ray_commands"])
    for command in (line for line in starts if "ray start" in line):
        assert "RAY_AUTH_MODE=token" in command
        assert "PATH=$HOME/lstcl/bin:$PATH" in command, "jobs are run by the `python` of the node's PATH"


@pytest.mark.parametrize("name", LAUNCHER)
def test_nothing_is_open_to_the_world(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    assert "0.0.0.0" not in text
    assert "--dashboard-host=127.0.0.1" in text
    config = launcher(name)
    for group in config["available_node_types"].values():
        node = group["node_config"]
        # Left to itself, Ray makes a security group with SSH for everybody, or takes the default network.
        assert node.get("SecurityGroupIds") or node.get("networkInterfaces")
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]


def test_the_head_s_role_may_touch_nodes_of_this_cluster_only():
    policy = json.loads((FOLDER / "aws-head-policy.json").read_text())
    cluster = launcher("aws")["cluster_name"]
    for statement in policy["Statement"]:
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        assert not [action for action in actions if "*" in action]
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in actions)
        if "ec2:TerminateInstances" in actions:
            assert cluster in statement["Condition"]["StringEquals"].values()
    passed = next(s for s in policy["Statement"] if s["Action"] == "iam:PassRole")
    types = launcher("aws")["available_node_types"]
    assert passed["Resource"].endswith(f"role/{types['decode']['node_config']['IamInstanceProfile']['Name']}")


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda path: path.name)
def test_the_scripts_are_shell_and_used(script):
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    for name in LAUNCHER:
        assert f"bash ~/lstcl_platform/cluster/{script.name}" in (FOLDER / f"{name}.yaml").read_text()


def test_the_ray_cluster_on_kubernetes_is_as_the_others():
    spec = manifest("RayCluster", "lstcl")["spec"]
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    (asks,) = [variable["valueFrom"] for variable in head["env"] if variable["name"] == RAYCLUSTER]
    assert asks == {"fieldRef": {"fieldPath": "metadata.labels['ray.io/cluster']"}}
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert {name: group["minReplicas"] for name, group in groups.items()} == {"decode": 0, "gpu": 0}
    assert groups["decode"]["labels"] == {"ray-subcluster": "data"}


def test_the_job_runs_on_that_cluster():
    spec = manifest("RayJob", "fig2-stride-grid")["spec"]
    assert spec["clusterSelector"] == {"ray.io/cluster": "lstcl"}
    assert spec["entrypoint"].startswith("lstcl-platform launch /mnt/lstcl/")
    assert spec["entrypoint"].endswith("--address auto")
    assert "backoffLimit" not in spec, "KubeRay refuses it beside clusterSelector"


def pods() -> list[dict[str, Any]]:
    """Pod specs of all manifests."""
    cluster = manifest("RayCluster", "lstcl")["spec"]
    templates = [cluster["headGroupSpec"]["template"]]
    templates += [group["template"] for group in cluster["workerGroupSpecs"]]
    templates.append(manifest("RayJob", "fig2-stride-grid")["spec"]["submitterPodTemplate"])
    templates += [m["spec"]["template"] for m in manifests() if m["kind"] in ("Deployment", "StatefulSet")]
    return [template["spec"] for template in templates]


def test_no_pod_runs_as_root_or_has_rights_it_does_not_need():
    assert len(pods()) == 6
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]) == {"requests", "limits"}
    with_account = [pod for pod in pods() if pod.get("automountServiceAccountToken", True)]
    assert len(with_account) == 1, "the head alone talks to Kubernetes: its autoscaler does"


def test_services_are_reached_from_inside_by_those_who_need_them():
    for service in (m for m in manifests() if m["kind"] == "Service"):
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "NetworkPolicy"}
    assert policies["closed"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    (database,) = policies["postgresql"]["ingress"]
    assert database["from"] == [{"podSelector": {"matchLabels": {"app": "mlflow"}}}]


def test_passwords_come_from_secrets():
    for path in [*MANIFESTS, *(FOLDER / f"{name}.yaml" for name in LAUNCHER)]:
        for line in path.read_text().splitlines():
            if re.search(r"password|_token|token:", line, re.IGNORECASE) and not line.lstrip().startswith(
                "#"
            ):
                assert re.search(
                    r"secretKeyRef|\$DATABASE_PASSWORD|auth_token|mode: token|AUTH_MODE", line
                ) or ("automountServiceAccountToken: false" in line), line


def test_the_image_holds_what_the_manifests_rely_on():
    text = (FOLDER / "Dockerfile").read_text()
    assert "USER 1000" in text
    assert "[postgresql]" in text
    assert "wget" in text, "KubeRay's health checks ask with it"
    for source in re.findall(r"^COPY (\S+) /code/", text, re.MULTILINE):
        assert (FOLDER.parent / source).exists()
