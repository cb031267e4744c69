"""The process group of a stage's workers, which meet on their node's own address and on no other.

The meeting point that torch opens by itself (`env://`, `tcp://`) listens on every interface of the machine. Here rank 0
binds the socket: on a local cluster to the loopback, on a real one to the address that the nodes know each other by.
"""

import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it at run time only

_stores: list[TCPStore] = []
"""In the process of rank 0: the meeting point, until it has joined."""


@dataclass
class OwnAddressTorchConfig(TorchConfig):  # type: ignore[misc]  # Ray is not typed
    """As Ray's own, but for the meeting point. `backend` must be given."""

    @property
    def backend_cls(self) -> type["_Backend"]:
        """What sets the process group up."""
        return _Backend


class _Backend(_TorchBackend):  # type: ignore[misc]  # Ray is not typed
    def on_start(self, worker_group: Any, backend_config: OwnAddressTorchConfig) -> None:
        """Called by the controller once the workers are there."""
        timeout = timedelta(seconds=backend_config.timeout_s)
        host, port = worker_group.execute_single(0, _open_store, timeout=timeout)
        worker_group.execute(_set_torch_distributed_env_vars)
        world = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank,
                    _join,
                    backend=backend_config.backend,
                    address=(host, port),
                    world_rank=rank,
                    world_size=world,
                    timeout=timeout,
                )
                for rank in range(world)
            ]
        )


def _open_store(*, timeout: timedelta) -> tuple[str, int]:
    """Open the meeting point in this process; returns its address."""
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
    store = _stores.pop() if world_rank == 0 else TCPStore(*address, is_master=False, timeout=timeout)
    dist.init_process_group(backend, store=store, rank=world_rank, world_size=world_size, timeout=timeout)
