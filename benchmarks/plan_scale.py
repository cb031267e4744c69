"""Does a plan of 48 million samples start at once, stay small and share fairly? Run by hand; prints three tables.

    python benchmarks/plan_scale.py [--samples 48000000] [--seconds 15]

The stream is the one that a stage trains from; only decoding is replaced, by sleeping.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lstcl_platform.orchestration.cluster import Capacity, connected
from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.ingest import checked_batches, deal_shards
from lstcl_platform.orchestration.preflight import Placement, place
from lstcl_platform.specs.run import ResourcesSpec
from lstcl_platform.video.sample_reads import Read, read_checked

PLANNERS = {"SplitCoordinator": "executor", "DatasetManager": "dataset manager", "ReadChunkSource": "source"}
"""Part of a process title -> what it is."""
OWN = ("Pss_Anon", "Pss_File")
"""Lines of smaps_rollup: libraries count by share. Pss_Shmem, left out, is the object store, which Ray bounds."""


@dataclass(frozen=True, kw_only=True)
class SleepingDecode:
    """Stands in for decoding: takes `seconds` a sample, and returns `payload` bytes of picture for each."""

    seconds: float
    payload: int

    def __call__(self, positions: NDArray[np.int64], *, read: Read = read_checked) -> dict[str, NDArray[Any]]:
        """Wait, then return the positions."""
        time.sleep(self.seconds * len(positions))
        return {"position": positions, "picture": np.zeros((len(positions), self.payload), dtype=np.uint8)}


def consume(config: Mapping[str, Any]) -> dict[str, float]:
    """Train worker: receive batches for a while; returns what every rank saw."""
    import torch
    from ray import train

    deal: Deal = config["deal"]
    world, rank = train.get_context().get_world_size(), train.get_context().get_world_rank()
    shard = config["shards"][rank]
    asked = time.time()
    batches = checked_batches(shard, deal=deal, rank=rank)
    next(batches)
    began = time.time()
    steps = 0
    while time.time() - began < config["seconds"]:
        next(batches)
        steps += 1
    # [samples, seconds to the first batch, seconds since the launch of the stage]
    mine = torch.tensor(
        [steps * deal.rank_batch, began - asked, began - config["launched"]], dtype=torch.float64
    )
    everyone = [torch.zeros_like(mine) for _ in range(world)]
    if world > 1:
        torch.distributed.all_gather(everyone, mine)
    else:
        everyone = [mine]
    names = ("samples", "first_batch", "since_launch")
    return {f"{name}{r}": float(row[i]) for r, row in enumerate(everyone) for i, name in enumerate(names)}


def stream(placement: Placement, deal: Deal, decode: SleepingDecode, *, seconds: float) -> dict[str, float]:
    """Train on the stream for `seconds`; returns what `consume` saw."""
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        consume,
        train_loop_config={
            "deal": deal,
            "seconds": seconds,
            "launched": time.time(),
            "shards": deal_shards(decode, deal=deal, share=placement.decode),
        },
        scaling_config=train.ScalingConfig(
            num_workers=placement.workers, resources_per_worker={"CPU": placement.worker_cpus}
        ),
        torch_config=TorchConfig(backend="gloo"),
        run_config=train.RunConfig(name=f"stream-{time.time_ns()}", storage_path=os.environ["RAY_TMPDIR"]),
    )
    value = trainer.fit().return_value
    assert isinstance(value, dict)
    return value


def planner_memory() -> dict[str, float]:
    """MB of the processes that plan, without the pages of the shared object store: {"executor": 120.0, ...}."""
    found: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
            status = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (psutil.NoSuchProcess, OSError):
            continue
        for part, name in PLANNERS.items():
            if part in title:
                kilobytes = [int(line.split()[1]) for line in status.splitlines() if line.startswith(OWN)]
                found[name] = found.get(name, 0.0) + sum(kilobytes) / 1e3
    return found


def while_running(
    work: Callable[[], dict[str, float]], *, every: float = 2.0
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Result of `work`, and the planners' memory while it ran."""
    samples: list[dict[str, float]] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        while not running.done():
            samples.append({"time": time.time()} | planner_memory())
            time.sleep(every)
    return running.result(), samples


def one_stage(capacity: Capacity, arguments: argparse.Namespace, console: Console) -> None:
    """4 ranks: time to the first batch, memory, evenness."""
    deal = Deal(global_batch=32, world=4, steps=arguments.samples // 32)
    placement = place(ResourcesSpec(workers=4), capacity, stages=1)
    decode = SleepingDecode(seconds=arguments.decode_seconds, payload=arguments.payload)
    seen, memory = while_running(lambda: stream(placement, deal, decode, seconds=arguments.seconds))
    table = Table(
        "rank", "samples", "first batch after asking, s", "after launch, s", title="One stage, 4 ranks"
    )
    for rank in range(4):
        count, first, launched = (
            seen[f"{name}{rank}"] for name in ("samples", "first_batch", "since_launch")
        )
        table.add_row(str(rank), f"{count:.0f}", f"{first:.2f}", f"{launched:.2f}")
    console.print(table)
    received = [seen[f"samples{rank}"] for rank in range(4)]
    console.print(
        f"least / most received: {min(received) / max(received):.3f}; {sum(received) / arguments.seconds:.1f} samples/s"
    )
    names = list(PLANNERS.values())
    table = Table("s", *names, "together", title="Planners, MB")
    for row in memory:
        if "executor" in row:
            cells = [row.get(name, 0.0) for name in names]
            seconds = row["time"] - memory[0]["time"]
            table.add_row(*(f"{cell:.0f}" for cell in [seconds, *cells, sum(cells)]))
    console.print(table)


def two_stages(capacity: Capacity, arguments: argparse.Namespace, console: Console) -> None:
    """2 stages at once, one rank each."""
    placement = place(ResourcesSpec(max_concurrent_stages=2), capacity, stages=2)
    assert placement.concurrent == 2, placement
    deal = Deal(global_batch=8, world=1, steps=arguments.samples // 8)
    decode = SleepingDecode(seconds=arguments.decode_seconds, payload=arguments.payload)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(stream, placement, deal, decode, seconds=arguments.seconds) for _ in range(2)]
        seen = [run.result() for run in runs]
    table = Table("stage", "samples/s", "first batch after asking, s", title="Two stages at once")
    for number, row in enumerate(seen):
        table.add_row(str(number), f"{row['samples0'] / arguments.seconds:.1f}", f"{row['first_batch0']:.2f}")
    console.print(table)
    received = [row["samples0"] for row in seen]
    console.print(f"less / more received: {min(received) / max(received):.3f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=48_000_000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--decode-seconds", type=float, default=0.005, help="time a sample takes")
    parser.add_argument("--payload", type=int, default=100_000, help="bytes a sample weighs")
    parser.add_argument("--only", choices=("one", "two"))
    arguments = parser.parse_args()
    console = Console(highlight=False, width=160)
    console.print(
        f"{arguments.samples:,} planned samples, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    with connected(None) as capacity:
        if arguments.only != "two":
            one_stage(capacity, arguments, console)
        if arguments.only != "one":
            two_stages(capacity, arguments, console)
    console.print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
