"""Connecting to Ray: an own local cluster by default, or one that runs already; quietly, and past stale state."""

import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lstcl_platform.orchestration import JOB_ENVIRONMENT
from lstcl_platform.orchestration.node_groups import DECODE_LABEL, DECODES, Nodes, nodes_to_come
from lstcl_platform.specs.errors import UserError

_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_LOCAL_ENVIRONMENT = {
    # Nothing of a local cluster listens beyond the loopback: with this (named for the systems where it is Ray's own
    # default) the node's address is 127.0.0.1, and the workers' collectives go the same way.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": _LOOPBACK,
    "NCCL_SOCKET_IFNAME": _LOOPBACK,
    # A local cluster is never preempted, and its watcher is one more process for every stage to start.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # A stage takes about eight small processes whatever the number of cores: start them side by side, and keep the
    # idle ones for the next stage.
    "RAY_num_workers_soft_limit": "8",
    "RAY_worker_maximum_startup_concurrency": "8",
    # Ray's own early processes have no runtime environment, so no actor of a launch can be given one.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}
_LOCAL_PREFIX = "lstcl-ray-"
_LOCAL_OBJECT_STORE_SHARE = 0.15


class ClusterLostError(Exception):
    """Ray's head went away while a launch ran; the message is for the user."""


def is_cluster_loss(error: BaseException) -> bool:
    """Whether Ray's own services, or an actor on its head, stopped answering."""
    from ray.exceptions import RayError

    return isinstance(error, RayError | ConnectionError)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a cluster has, or can become.

    Attributes:
        cpus: CPUs now.
        gpus: GPUs now.
        max_cpus: CPUs once the autoscaler has brought every node it may.
        max_gpus: the same for GPUs.
        node_cpus: CPUs of the largest node, now or to come, that is not for decoding alone.
        node_gpus: the same for GPUs.
        nodes: nodes now.
        can_grow: whether an autoscaler may bring more.
        object_store_bytes: object store memory now.
        decode_cpus: CPUs, now or once the autoscaler has brought them, of nodes labelled for decoding
            (`ray-subcluster=data`), which are among `max_cpus`.
    """

    cpus: float
    gpus: float
    max_cpus: float
    max_gpus: float
    node_cpus: float
    node_gpus: float
    nodes: int
    can_grow: bool
    object_store_bytes: int
    decode_cpus: float


@contextmanager
def connected(address: str | None) -> Iterator[Capacity]:
    """Connect to `address` (`auto` or HOST:PORT), or start a local cluster and end it afterwards when it is None.

    A local cluster keeps its state in a folder of its own: the pointer file that a killed Ray head leaves in the shared
    temp folder otherwise sends later processes to a cluster that is gone.

    Raises:
        UserError: nothing answers at `address`, or it is a job server's.
    """
    if address is not None and "://" in address:
        raise UserError(
            f"--address {address}: only launch, resume and logs can be sent to a job server; run this command on the "
            "cluster, with --address auto"
        )
    folder = None if address else _local_folder()
    if folder is not None:
        os.environ["RAY_TMPDIR"] = str(folder)
        for name, value in _LOCAL_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        if folder is not None:
            _start_local(folder)
        else:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=_job_environment(),
            )
        if threading.current_thread() is threading.main_thread():
            # Ray's own handler ends the process at once, with its exit code.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        _quiet_data()
        yield _capacity()
    except ConnectionError as error:
        raise UserError(f"no Ray cluster answers at --address {address}: {error}") from error
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _start_local(folder: Path) -> None:
    import psutil
    import ray
    from ray._private import ray_constants

    _keep_token_private()
    # As in the environment, which Ray read before it was set.
    ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=int(psutil.virtual_memory().total * _LOCAL_OBJECT_STORE_SHARE),
        _temp_dir=str(folder / "ray"),
        runtime_env=_job_environment(),
    )


def _keep_token_private() -> None:
    """Make the token that Ray keeps in the home folder, or close it to others: Ray itself leaves it readable."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        path.chmod(0o600)


def _job_environment() -> dict[str, dict[str, str]]:
    return {"env_vars": {name: os.environ[name] for name in JOB_ENVIRONMENT if name in os.environ}}


def _local_folder() -> Path:
    """A temp folder named after this process; folders of processes that are gone are removed."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{_LOCAL_PREFIX}*"):
        owner = old.name.removeprefix(_LOCAL_PREFIX)
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = root / f"{_LOCAL_PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _quiet_data() -> None:
    from ray.data import DataContext

    context = DataContext.get_current()
    context.print_on_execution_start = False
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)


def _capacity() -> Capacity:
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    here = [
        Nodes(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            decodes=node.get("Labels", {}).get(DECODE_LABEL) == DECODES,
            count=1,
        )
        for node in alive
    ]
    to_come = nodes_to_come(ray.get_runtime_context().gcs_address)
    store = sum(node["Resources"].get("object_store_memory", 0) for node in alive)
    return capacity_of(here, to_come, object_store_bytes=int(store))


def capacity_of(here: Sequence[Nodes], to_come: Sequence[Nodes], *, object_store_bytes: int) -> Capacity:
    """The sums and the largest over the nodes that are there, and over those that the autoscaler may bring.

    Nodes that came are of the autoscaler's groups, so the two are not added: the larger sum counts.
    """

    def cpus(nodes: Iterable[Nodes]) -> float:
        return sum(node.cpus * node.count for node in nodes)

    def gpus(nodes: Iterable[Nodes]) -> float:
        return sum(node.gpus * node.count for node in nodes)

    every = [node for node in (*here, *to_come) if node.count]
    trains = [node for node in every if not node.decodes]
    if not cpus(trains):  # decode nodes beside a head that only drives: they do everything
        trains = every
    return Capacity(
        cpus=cpus(here),
        gpus=gpus(here),
        max_cpus=max(cpus(here), cpus(to_come)),
        max_gpus=max(gpus(here), gpus(to_come)),
        node_cpus=max((node.cpus for node in trains), default=0.0),
        node_gpus=max((node.gpus for node in trains), default=0.0),
        nodes=len(here),
        can_grow=bool(to_come),
        object_store_bytes=object_store_bytes,
        decode_cpus=max(cpus(node for node in nodes if node.decodes) for nodes in (here, to_come)),
    )
