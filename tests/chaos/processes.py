"""The processes that a study runs on, each in a process group of its own, to be killed as machines die."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

import lstcl_platform.orchestration  # noqa: F401  (sets Ray's environment before Ray reads it)

PATIENCE = 900.0
"""Seconds for anything to happen: on a machine that others use too, all takes ten times as long."""


def wait_until(
    condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE, poll: float = 0.1
) -> Any:
    """What `condition` answers once it is true."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(poll)
    return answer


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def kill_tree(process: psutil.Process, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process and all that it started, at once: as a machine that loses power."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        try:
            member.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)


class Server:
    """A program that runs until it is killed."""

    def __init__(self, arguments: Sequence[str], *, log: Path, **environment: str) -> None:
        with log.open("a") as file:
            self._popen = subprocess.Popen(
                [sys.executable, *arguments],
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.process = psutil.Process(self._popen.pid)

    def kill(self) -> None:
        if self._popen.poll() is None:
            kill_tree(self.process)
            self._popen.wait(30)

    def signal(self, number: signal.Signals) -> None:
        """Signal it and all that it started."""
        for member in (self.process, *self.process.children(recursive=True)):
            member.send_signal(number)

    def check(self, log: Path) -> None:
        assert self._popen.poll() is None, log.read_text()[-3000:]

    def processes(self, title: str) -> list[psutil.Process]:
        """Its processes whose title holds `title`."""
        found = []
        for process in self.process.children(recursive=True):
            try:
                if title in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


class RayNodes:
    """A Ray head that offers no CPU, and nodes that do the work: each a process tree, and killed as one.

    Args:
        folder: a short path for sockets and logs.
        cpus: CPUs of a node.

    Attributes:
        environment: of what is started from now on, beside this process's.
    """

    def __init__(self, folder: Path, *, cpus: int = 2) -> None:
        self._folder = folder
        self._cpus = cpus
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.head: Server | None = None
        self.nodes: list[Server] = []
        self._node_ids: list[str] = []
        self._client: Any = None
        self.environment: dict[str, str] = {}

    def up(self) -> None:
        """Start head and one node."""
        self._client = None
        head = ("--head", f"--port={self._port}", "--num-cpus=0", "--include-dashboard=false", "--no-monitor")
        self.head = self._start(*head)
        wait_until(self._answers, "the Ray head")
        self.add_node()

    def add_node(self) -> None:
        before = self._alive()
        self.nodes.append(self._start(f"--address={self.address}", f"--num-cpus={self._cpus}"))
        (new,) = wait_until(lambda: self._alive() - before, "a Ray node")
        self._node_ids.append(new)

    def kill_node(self) -> None:
        """Kill the oldest node."""
        self._node_ids.pop(0)
        self.nodes.pop(0).kill()

    def suspend_node(self) -> Server:
        """Let the oldest node stand still, and forget it; who calls wakes it up and kills it."""
        self._node_ids.pop(0)
        node = self.nodes.pop(0)
        node.signal(signal.SIGSTOP)
        return node

    def drain_node(self, seconds: int) -> None:
        """Say that the oldest node will be taken away in `seconds`, as a cloud does."""
        from ray.core.generated import autoscaler_pb2

        deadline = time.time_ns() // 1_000_000 + seconds * 1000
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, why = self._gcs().drain_node(self._node_ids[0], reason, "the test takes it", deadline)
        assert accepted, why

    def down(self) -> None:
        for server in self._servers():
            server.kill()
        self.head = None
        self.nodes.clear()
        self._node_ids.clear()

    def processes(self, title: str) -> list[psutil.Process]:
        return [found for server in self._servers() for found in server.processes(title)]

    def state(self) -> str:
        """Placement groups, actors that are not dead, and processes: what a sweep that stands still waits for."""
        from ray._private.state import GlobalState
        from ray._raylet import GcsClientOptions

        known = GlobalState()
        known._initialize_global_state(
            GcsClientOptions.create(
                self.address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False
            )
        )
        groups = [
            f"{key} {group['state']} {group['bundles_to_node_id']}"
            for key, group in known.placement_group_table().items()
        ]
        actors = [
            f"{key} {actor['State']} {actor['ActorClassName']} of job {actor['JobID']}"
            for key, actor in known.actor_table(None).items()
            if actor["State"] != "DEAD"
        ]
        processes = [
            f"{each.pid} {each.name()} {' '.join(each.cmdline())[:80]}" for each in self.processes("ray::")
        ]
        return "\n".join([f"free: {known.available_resources_per_node()}", *groups, *actors, *processes])

    def _servers(self) -> list[Server]:
        return [*self.nodes, *([self.head] if self.head else [])]

    def _alive(self) -> set[str]:
        """Ids of all nodes that are alive."""
        nodes = self._gcs().get_all_node_info().values()
        return {node.node_id.hex() for node in nodes if node.state == 0}

    def _gcs(self) -> Any:
        from ray._raylet import GcsClient

        if self._client is None:
            self._client = GcsClient(address=self.address)
        return self._client

    def _answers(self) -> bool:
        assert self.head is not None
        self.head.check(self._folder / "ray.log")
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return len(self._alive()) == 1
        except Exception:  # not yet up: gRPC has errors of many kinds
            return False

    def _start(self, *arguments: str) -> Server:
        code = "from ray.scripts.scripts import main; main()"
        base = ["-c", code, "start", "--block", "--object-store-memory=200000000"]
        temp = [f"--temp-dir={self._folder}/ray"] if "--head" in arguments else []
        return Server(
            [*base, *arguments, *temp],
            log=self._folder / "ray.log",
            RAY_num_workers_soft_limit="8",
            RAY_worker_maximum_startup_concurrency="8",
            **self.environment,
        )


class MlflowServer:
    """A tracking server on loopback over an SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.database = folder / "mlflow.db"
        self.uri = f"http://127.0.0.1:{self._port}"
        self._server: Server

    def up(self) -> None:
        self._server = Server(
            [
                *("-m", "mlflow", "server", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(self._port)),
                *("--backend-store-uri", f"sqlite:///{self.database}"),
                *("--artifacts-destination", str(self._folder / "artifacts")),
            ],
            log=self._folder / "mlflow.log",
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            MLFLOW_DISABLE_TELEMETRY="true",
        )
        wait_until(self._healthy, "the MLflow server")

    def kill(self) -> None:
        self._server.kill()

    def _healthy(self) -> bool:
        self._server.check(self._folder / "mlflow.log")
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
