"""What the doctor has the workers of a training job do: all-reduce, pass tensors on, and take one step together."""

import hashlib
import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lstcl_platform.orchestration.findings import odd_ones_out
from lstcl_platform.specs.frameworks import FrameworkSpec
from lstcl_platform.training.agreement import StepFigures

MEGABYTES = 64
_LINK_MEGABYTES = 16
_REPEATS = 5
_WORKER_CPUS = 0.25


@dataclass(frozen=True, kw_only=True)
class WorkerFigures:
    """What the workers of one job measured together.

    Attributes:
        backend: `nccl` or `gloo`.
        seconds: median time of an all-reduce of `MEGABYTES`.
        links: `rank a on host -> rank b on host` -> GB a second.
        step: the step that they took together.
        odd: workers whose averaged gradients differ from those of most.
    """

    backend: str
    seconds: float
    links: Mapping[str, float]
    step: StepFigures
    odd: list[str]


def run_workers(
    framework: FrameworkSpec, family: str, *, videos: int, workers: int, gpus: bool, folder: str
) -> WorkerFigures:
    """Run the checks in a training job of `workers` processes, spread over the nodes, as a stage would run.

    Args:
        framework: whose step they take.
        family: of the backbone.
        videos: global batch of that step.
        workers: number of processes, above 1.
        gpus: whether each takes a GPU.
        folder: path or URI that Ray Train may write to.
    """
    from ray import train

    from lstcl_platform.orchestration.trainer import ProcessGroup, StageTrainer

    trainer = StageTrainer(
        _check,
        train_loop_config={"framework": framework, "family": family, "videos": videos},
        scaling_config=train.ScalingConfig(
            num_workers=workers,
            use_gpu=gpus,
            resources_per_worker={"CPU": _WORKER_CPUS} | ({"GPU": 1} if gpus else {}),
            placement_strategy="SPREAD",
        ),
        backend_config=ProcessGroup(backend="nccl" if gpus else "gloo"),
        run_config=train.RunConfig(name="doctor", storage_path=folder),
    )
    found = trainer.fit().return_value
    assert isinstance(found, WorkerFigures)
    return found


def _check(config: Mapping[str, Any]) -> WorkerFigures:
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device

    from lstcl_platform.training.agreement import reference_step

    torch.set_num_threads(1)
    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    names: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(names, f"rank {dist.get_rank()} on {socket.gethostname()}")
    seconds = _all_reduce(device)
    links = _links(device, names)
    step = reference_step(config["framework"], config["family"], videos=config["videos"], device=device)
    digest = hashlib.sha256(b"".join(value.tobytes() for value in step.gradients.values())).hexdigest()
    digests: list[str] = [""] * len(names)
    dist.all_gather_object(digests, digest)
    _, odd = odd_ones_out(dict(zip(names, digests, strict=True)))
    return WorkerFigures(
        backend=str(dist.get_backend()), seconds=seconds, links=links, step=step, odd=list(odd)
    )


def _all_reduce(device: Any) -> float:
    import torch
    import torch.distributed as dist

    values = torch.ones(MEGABYTES * 10**6 // 4, device=device)
    times = []
    for _ in range(_REPEATS + 1):  # the first one opens connections
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(values)
        _wait(device)
        times.append(time.perf_counter() - began)
        values.fill_(1)
    return statistics.median(times[1:])


def _links(device: Any, names: list[str]) -> dict[str, float]:
    """Speed from each rank to the next, one link at a time, on all ranks."""
    import torch
    import torch.distributed as dist

    rank, count = dist.get_rank(), len(names)
    values = torch.ones(_LINK_MEGABYTES * 10**6 // 4, device=device)
    speeds: dict[str, float] = {}
    for sender in range(count):
        receiver = (sender + 1) % count
        for attempt in range(_REPEATS + 1):  # the first one opens the connection
            dist.barrier()
            began = time.perf_counter()
            if rank == sender:
                dist.send(values, receiver)
            elif rank == receiver:
                dist.recv(values, sender)
            _wait(device)
            if attempt and rank == receiver:
                link = f"{names[sender]} -> {names[receiver]}"
                speed = _LINK_MEGABYTES / 1e3 / (time.perf_counter() - began)
                # Of several tries the best: other work on the machine says nothing of the link.
                speeds[link] = max(speed, speeds.get(link, 0.0))
    everyone: list[dict[str, float]] = [{}] * count
    dist.all_gather_object(everyone, speeds)
    return {link: speed for found in everyone for link, speed in found.items()}


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
