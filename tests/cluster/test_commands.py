"""The commands of the launcher files, run as they are written: on two machines, and in a clean environment."""

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config

from tests.helpers.autoscaler import HEAD_ENVIRONMENT, HEAD_GROUP, fake_provider
from tests.helpers.machines import ADDRESSES, NEEDED, Machine, two_machines

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
LAUNCHER = ["aws", "gcp"]
SENT = ("pyproject.toml", "README.md", "LICENSE", "lstcl_platform", "cluster")
LIMITS = """
from lstcl_platform.orchestration.cluster import connected
with connected("auto") as now:
    print(now.nodes, now.cpus, now.max_gpus, now.decode_cpus)
"""


def launcher(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())


def missing() -> list[str]:
    programs = [name for name in (*NEEDED, "curl") if shutil.which(name) is None]
    return programs if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) else [*programs, "postgresql"]


def move_in(machine: Machine, token: str) -> None:
    """What `ray up` and the setup commands leave on a node, with the environment of this test."""
    (machine.home / "lstcl").symlink_to(sys.prefix)
    (machine.home / "lstcl_platform").symlink_to(ROOT)
    (machine.home / ".ray").mkdir()
    (machine.home / ".ray" / "auth_token").write_text(token)


def exports(**values: str) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


@pytest.mark.skipif(bool(missing()), reason=f"needs {' and '.join(missing())}")
@pytest.mark.parametrize("name", LAUNCHER)
def test_head_and_worker_start_and_are_a_closed_cluster(name):
    config = launcher(name)
    groups = config["available_node_types"]
    told = prepare_config(config) | {
        "provider": fake_provider(f"{ADDRESSES['head']}:6379"),
        "head_node_type": HEAD_GROUP,
        "available_node_types": {HEAD_GROUP if group == "head" else group: groups[group] for group in groups},
    }
    token = secrets.token_hex(32)
    with two_machines(PYTHONPATH=str(ROOT)) as (head, worker):
        for machine in (head, worker):
            move_in(machine, token)
        (head.home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(told))
        for command in config["head_start_ray_commands"]:
            head.run(exports(**HEAD_ENVIRONMENT) + command)
        as_launcher = exports(
            RAY_HEAD_IP=ADDRESSES["head"],
            RAY_OVERRIDE_RESOURCES=json.dumps(groups["decode"]["resources"]),
            RAY_OVERRIDE_LABELS=json.dumps(groups["decode"]["labels"]),
        )
        for command in config["worker_start_ray_commands"]:
            worker.run(as_launcher + command)
        limits = head.run(f"~/lstcl/bin/python -c {shlex.quote(LIMITS)}").splitlines()[-1]
        assert limits == "2 32.0 64.0 2048.0"
        for port in (5000, 8265):
            head.run(f"curl --silent --output seen http://127.0.0.1:{port}")
            worker.run(f"! curl --silent --max-time 20 http://{ADDRESSES['head']}:{port}")
        answer = head.run(
            "cd /mnt/lstcl && MLFLOW_TRACKING_URI=http://127.0.0.1:5000 "
            "~/lstcl/bin/lstcl-platform doctor --address auto --format json 2>~/doctor.err"
        )
        found = {finding["check"]: finding for finding in json.loads(answer)}
        assert not [finding for finding in found.values() if finding["status"] == "fail"]
        assert found["tracking"]["detail"] == "http://127.0.0.1:5000 answers"


def test_setup_in_a_clean_environment(tmp_path):
    """All but mount.sh, which needs the cloud's file server."""
    code = tmp_path / "lstcl_platform"
    code.mkdir()
    for name in SENT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, code / name)
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}

    def run(command: str) -> None:
        done = subprocess.run(
            ["bash", "-c", command],
            env=kept | {"HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-3000:]}"

    for launched, cloud in (("aws", "boto3"), ("gcp", "googleapiclient, google.auth, cryptography")):
        config = launcher(launched)
        for group in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
            for command in config[group]:
                if "mount.sh" not in command:
                    run(command)
        run(f"~/lstcl/bin/python -c 'import lstcl_platform, mlflow, psycopg, ray, torch, {cloud}'")
    run("~/lstcl/bin/pip check")
    run("~/lstcl/bin/lstcl-platform bench --help")
    assert token.stat().st_mode & 0o777 == 0o600
