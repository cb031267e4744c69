"""Ray's trainer of a stage: what `TorchTrainer` is, without the processes and imports that a stage has no use for.

Every process costs a core one to three seconds, and a stage of a small model takes not much more. So this builds on the
class below `TorchTrainer`: neither the driver nor the controller imports torch, and no process is started to hand out
datasets (a stage's data comes with it) or to watch over reservations (the next attempt frees them).

The workers meet on their node's own address and on no other. The meeting point that torch opens by itself (`env://`,
`tcp://`) listens on every interface of the machine; here rank 0 binds the socket: on a local cluster to the loopback,
on a real one to the address that the nodes know each other by.
"""

import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

_LEAVE_SECONDS = 30.0

_stores: list[Any] = []
"""In the process of rank 0: the meeting point, until it has joined."""


class StageTrainer(DataParallelTrainer):  # type: ignore[misc]  # Ray is not typed
    """A controller and its workers, joined in a torch process group."""

    def _create_default_callbacks(self) -> list[Any]:
        needless = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [each for each in super()._create_default_callbacks() if not isinstance(each, needless)]


@dataclass(frozen=True)
class ProcessGroup(BackendConfig):  # type: ignore[misc]  # Ray is not typed
    """The process group of a stage's workers.

    Attributes:
        backend: `nccl` or `gloo`.
        timeout_s: how long a collective waits for the others, seconds.
    """

    backend: str
    timeout_s: float = 1800.0

    @property
    def backend_cls(self) -> type["_Backend"]:
        """What sets the process group up."""
        return _Backend


class _Backend(Backend):  # type: ignore[misc]  # Ray is not typed
    share_cuda_visible_devices = True  # NCCL wants to see its neighbours' devices

    def on_start(self, worker_group: Any, backend_config: ProcessGroup) -> None:
        """Called by the controller once the workers are there."""
        timeout = timedelta(seconds=backend_config.timeout_s)
        address = worker_group.execute_single(0, _open_store, timeout=timeout)
        world = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank,
                    _join,
                    backend=backend_config.backend,
                    address=address,
                    world_rank=rank,
                    world_size=world,
                    timeout=timeout,
                )
                for rank in range(world)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: ProcessGroup) -> None:
        """Called by the controller before the workers end; one that does not leave is ended all the same."""
        left = worker_group.execute_async(_leave)
        ray.wait(left, num_returns=len(left), timeout=_LEAVE_SECONDS)


def _open_store(*, timeout: timedelta) -> tuple[str, int]:
    """Open the meeting point in this process; returns its address."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it at run time only

    host: str = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port: int = server.getsockname()[1]
        store = TCPStore(
            host,
            port,
            is_master=True,
            wait_for_workers=False,
            timeout=timeout,
            master_listen_fd=server.detach(),
        )
    _stores.append(store)
    return host, port


def _join(
    *, backend: str, address: tuple[str, int], world_rank: int, world_size: int, timeout: timedelta
) -> None:
    import torch.distributed as dist
    from ray.train.torch.config import _set_torch_distributed_env_vars
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it at run time only

    _set_torch_distributed_env_vars()
    store = _stores.pop() if world_rank == 0 else TCPStore(*address, is_master=False, timeout=timeout)
    dist.init_process_group(backend, store=store, rank=world_rank, world_size=world_size, timeout=timeout)


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
