"""A cluster whose autoscaler (v2) brings and takes nodes on this machine, through Ray's fake node provider.

Ray's own `AutoscalingCluster` ends every other cluster of the machine when it starts.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.helpers.study import environment

HEAD_ID = "f" * 51 + "00000"
HEAD_GROUP = "ray.head.default"  # the name that the provider knows it by
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
START = "from ray.scripts.scripts import main; main()"
COUNT_NODES = """
import sys
from ray._raylet import GcsClient
print(len(GcsClient(address=sys.argv[1]).get_all_node_info()))
"""

HEAD_ENVIRONMENT = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
"""What a head needs beside its autoscaler's configuration."""


def fake_provider(gcs_address: str) -> dict:
    """The `provider` of a configuration whose nodes are processes beside the head."""
    return {
        "type": "external",
        "module": PROVIDER,
        "head_node_id": HEAD_ID,
        "gcs_address": gcs_address,
        "launch_multiple": True,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }


class AutoscaledCluster:
    """A head without CPUs, and what comes beside it: one node that decodes, one that trains, of a CPU each."""

    def __init__(self, folder: Path, *, idle_seconds: float) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        config = folder / "autoscaler.json"
        config.write_text(json.dumps(self._config(idle_seconds=idle_seconds)))
        self._log = (folder / "head.log").open("w")
        self._environment = environment(
            RAY_TMPDIR=str(folder),
            RAY_AUTH_MODE="token",
            RAY_enable_autoscaler_v2="1",
            **HEAD_ENVIRONMENT,
        )
        self._head = subprocess.Popen(
            [sys.executable, "-c", START, *self._arguments(config)],
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _arguments(self, config: Path) -> list[str]:
        host, port = self.address.split(":")
        return [
            *("start", "--head", "--block", f"--node-ip-address={host}", f"--port={port}", "--num-cpus=0"),
            *("--include-dashboard=false", "--object-store-memory=200000000"),
            *(f"--temp-dir={self._folder / 'ray'}", f"--autoscaling-config={config}"),
        ]

    def _config(self, *, idle_seconds: float) -> dict:
        """As `ray up` leaves it on a head."""
        group = {
            "resources": {"CPU": 1, "object_store_memory": 200_000_000},
            "node_config": {},
            "max_workers": 1,
        }
        commands = (
            "setup",
            "head_setup",
            "worker_setup",
            "initialization",
            "head_start_ray",
            "worker_start_ray",
        )
        return {
            "cluster_name": "fake",
            "max_workers": 2,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": idle_seconds / 60,
            "provider": fake_provider(self.address),
            "head_node_type": HEAD_GROUP,
            "available_node_types": {
                HEAD_GROUP: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "decode": group | {"labels": {"ray-subcluster": "data"}},
                "train": group | {"labels": {"ray-subcluster": "train"}},
            },
            **{name: {} for name in ("auth", "docker", "file_mounts")},
            **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
            **{f"{name}_commands": [] for name in commands},
            "file_mounts_sync_continuously": False,
        }

    def nodes(self) -> dict[str, psutil.Process]:
        """Raylets beside the head's, by node id."""
        found = {}
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.Error):
                if process.info["name"] != "raylet":
                    continue
                values = process.environ()
                node = values.get("RAY_OVERRIDE_NODE_ID_FOR_TESTING", "")
                if str(self._folder) == values.get("RAY_TMPDIR") and node not in ("", HEAD_ID):
                    found[node] = process
        return found

    def node_of(self, name: str) -> str | None:
        """The node on which a process of that name runs, such as `ray::RayTrainWorker`."""
        for node, raylet in self.nodes().items():
            with suppress(psutil.Error):
                if any(child.name().startswith(name) for child in raylet.children(recursive=True)):
                    return node
        return None

    def kill(self, node: str) -> None:
        """SIGKILL to a node: all its processes at once, as when a machine goes away."""
        raylet = self.nodes()[node]
        for process in [raylet, *raylet.children(recursive=True)]:
            with suppress(psutil.Error):
                process.kill()

    def is_up(self) -> bool:
        """Whether the head is a node of its cluster, and not only a port that is open.

        A process of its own asks: Ray keeps the first token that a process has used, whatever its environment becomes.
        """
        assert self._head.poll() is None, (self._folder / "head.log").read_text()[-3000:]
        host, port = self.address.split(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            asked = subprocess.run(
                [sys.executable, "-c", COUNT_NODES, self.address],
                env=self._environment,
                capture_output=True,
                text=True,
                check=False,
            )
            return asked.stdout.strip() == "1"
        return False

    def close(self) -> None:
        """Take everything down."""
        left = list(self.nodes().values())
        with suppress(psutil.Error):
            left += psutil.Process(self._head.pid).children(recursive=True)
        if self._head.poll() is None:
            os.killpg(self._head.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._head.wait(15)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        if self._head.poll() is None:
            os.killpg(self._head.pid, signal.SIGKILL)
            self._head.wait(10)
        self._log.close()


@contextmanager
def autoscaled_cluster(*, idle_seconds: float) -> Iterator[AutoscaledCluster]:
    """A head that answers; it and its nodes end with the block."""
    with tempfile.TemporaryDirectory(prefix="lstcl-scale-", ignore_cleanup_errors=True) as folder:
        cluster = AutoscaledCluster(Path(folder), idle_seconds=idle_seconds)
        try:
            end = time.monotonic() + 120
            while not cluster.is_up():
                assert time.monotonic() < end, "the head did not come up"
                time.sleep(0.2)
            yield cluster
        finally:
            cluster.close()
