"""The stream of a stage on a real cluster: what arrives, in which order, whatever decodes it."""

import contextlib
import gc
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from lstcl_platform.orchestration.cluster import connected
from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.ingest import (
    MAX_DECODE_RETRIES,
    checked_batches,
    deal_shards,
    stream,
)
from lstcl_platform.orchestration.preflight import DecodeShare

SAMPLES = 48_000_000


@dataclass(frozen=True)
class RestlessDecode:
    """Takes another time for every chunk, so that chunks are done in another order than they were begun."""

    seconds: float = 0.2

    def __call__(self, positions, *, read):
        draw = np.random.default_rng(int(positions[0]))
        time.sleep(self.seconds * draw.random())
        pictures = np.stack([np.full((2, 3), position % 251, dtype=np.uint8) for position in positions])
        names = np.array([f"video {position}" * (position % 3) for position in positions], dtype=object)
        return {"position": positions, "picture": pictures, "bad": names}


@dataclass(frozen=True)
class CrashingDecode:
    """Dies as native code would, and leaves a mark for every time it does."""

    marks: Path

    def __call__(self, positions, *, read):
        if 8 in positions:
            (self.marks / str(time.time_ns())).touch()
            os._exit(1)
        return {"position": positions}


@dataclass(frozen=True)
class MarkedDecode:
    """Leaves a mark when it has begun."""

    mark: Path

    def __call__(self, positions, *, read):
        self.mark.touch()
        return {"position": positions}


def share(*, cpus=1.0, task_cpus=0.5):
    return DecodeShare(task_cpus=task_cpus, cpus=cpus, object_store_bytes=200_000_000, label_selector={})


def shards_of(decode, deal, placed):
    return deal_shards(decode, deal=deal, share=placed)


def received(decode, deal, placed, *, batches=None):
    """The first `batches` (or all) of every rank, each read by a thread of this process."""
    shards = shards_of(decode, deal, placed)

    def read(rank):
        return list(itertools.islice(checked_batches(shards[rank], deal=deal, rank=rank), batches))

    with ThreadPoolExecutor(deal.world) as pool:
        return list(pool.map(read, range(deal.world)))


@pytest.fixture(scope="module")
def cluster(ray_address):
    with connected(ray_address) as capacity:
        yield capacity


def train_worker(config):
    """What a stage's worker does, without the training; returns every rank's positions, and the raylet's pid."""
    import torch
    from ray import train

    context = train.get_context()
    deal, rank = config["deal"], context.get_world_rank()
    batches = checked_batches(config["shards"][rank], deal=deal, rank=rank)
    taken = itertools.islice(batches, config["batches"])
    mine = torch.from_numpy(np.stack([batch["position"] for batch in taken]))
    everyone = [torch.empty_like(mine) for _ in range(context.get_world_size())]
    torch.distributed.all_gather(everyone, mine)
    return [positions.tolist() for positions in everyone], os.getppid()


def train_on(decode, deal, placed, *, folder, batches=None):
    """Positions (rank, step, sample) that the workers of a TorchTrainer received, and the raylet's pid."""
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"deal": deal, "batches": batches, "shards": shards_of(decode, deal, placed)},
        scaling_config=train.ScalingConfig(num_workers=deal.world, resources_per_worker={"CPU": 0.25}),
        torch_config=TorchConfig(backend="gloo"),
        run_config=train.RunConfig(name="stream", storage_path=str(folder)),
    )
    ranks, raylet = trainer.fit().return_value
    return np.array(ranks), raylet


@pytest.mark.cluster
def test_decoding_begins_before_a_rank_asks_and_what_is_not_asked_for_ends(cluster, tmp_path):
    import ray

    mark = tmp_path / "begun"
    shards = shards_of(MarkedDecode(mark), Deal(global_batch=4, world=2, steps=100_000), share())
    while not mark.exists():
        time.sleep(0.1)  # pytest's time limit ends a wait that has no end
    del shards
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        time.sleep(0.1)


@pytest.mark.cluster
@pytest.mark.parametrize("start_step", [0, 7])
def test_two_train_workers_receive_the_plan_in_order_from_any_step(cluster, tmp_path, start_step):
    deal = Deal(global_batch=48, world=2, accumulation=2, start_step=start_step, steps=12)
    ranks, _ = train_on(RestlessDecode(), deal, share(), folder=tmp_path)
    assert ranks.shape == (2, 12 - start_step, 24)
    in_plan_order = ranks.reshape(2, -1, 2, 12).transpose(1, 2, 0, 3).ravel()  # step, micro-batch, rank, slot
    np.testing.assert_array_equal(in_plan_order, np.arange(start_step * 48, 12 * 48))


@pytest.mark.cluster
def test_48_million_samples_start_from_the_middle_and_a_stopped_stage_leaves_nothing_running(
    cluster, tmp_path
):
    import ray

    first, batch = SAMPLES // 2, 32
    deal = Deal(global_batch=batch, world=2, start_step=first // batch, steps=SAMPLES // batch)
    # One decode task that takes all of the stage's CPUs: nothing of them may be kept for the source.
    placed = share(cpus=1.0, task_cpus=1.0)
    ranks, raylet = train_on(RestlessDecode(0.01), deal, placed, folder=tmp_path, batches=3)
    np.testing.assert_array_equal(np.sort(ranks.ravel()), np.arange(first, first + 3 * batch))
    while streaming(raylet) or ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        time.sleep(0.1)  # pytest's time limit ends a wait that has no end


def streaming(raylet):
    """Titles of the processes below `raylet` that produce or decode chunks."""
    titles = []
    for process in psutil.Process(raylet).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            titles.append(" ".join(process.cmdline()))
    return [title for title in titles if "ChunkSource" in title or "DecodeChunk" in title]


@pytest.mark.cluster
def test_content_does_not_depend_on_how_many_tasks_decode_it(cluster):
    deal = Deal(global_batch=34, world=2, steps=6)  # 17 samples a rank: chunks of one
    alone = received(RestlessDecode(0.02), deal, share(cpus=1.0, task_cpus=1.0))
    many = received(RestlessDecode(0.02), deal, share(cpus=2.0, task_cpus=0.25))
    for one, other in zip(itertools.chain(*alone), itertools.chain(*many), strict=True):
        assert one.keys() == other.keys() == {"position", "picture", "bad"}
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    batch = many[1][0]
    np.testing.assert_array_equal(batch["picture"][:, 1, 2], batch["position"] % 251)
    assert [str(name) for name in batch["bad"]] == [f"video {p}" * (p % 3) for p in batch["position"]]


def map_operators():
    """Those of the executors in this process. By type(): isinstance would ask a weak proxy for what it stood for."""
    from ray.data._internal.execution.operators.map_operator import MapOperator

    return [found for found in gc.get_objects() if issubclass(type(found), MapOperator)]


@pytest.mark.cluster
def test_the_executor_forgets_tasks_whose_chunks_were_handed_on(cluster):
    deal = Deal(global_batch=1, world=1, steps=150)
    before = map_operators()
    kept = []
    chunks = stream(RestlessDecode(0.0), deal=deal, share=share()).iter_batches(batch_size=1)
    for number, _ in enumerate(chunks):
        if number == 140:
            mine = [op for op in map_operators() if not any(op is old for old in before)]
            started = [op for op in mine if op._output_queue is not None]
            kept = [(len(op._output_blocks_stats), len(op._output_queue._inner)) for op in started]
    assert kept  # the source and the decode tasks
    assert max(max(sizes) for sizes in kept) < 100


@pytest.mark.cluster
def test_more_stages_at_once_than_cpus_all_receive(cluster):
    deal = Deal(global_batch=8, world=1, steps=20)
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(received, RestlessDecode(0.01), deal, share(cpus=0.5)) for _ in range(3)]
        counts = [len(run.result()[0]) for run in runs]
    assert counts == [20, 20, 20]


@pytest.mark.cluster
def test_a_decode_task_that_dies_is_tried_again_and_then_ends_the_stage(cluster, tmp_path):
    deal = Deal(global_batch=4, world=1, steps=10)
    with pytest.raises(Exception, match=r"crashed|died|unexpectedly"):
        received(CrashingDecode(tmp_path), deal, share(cpus=1.0, task_cpus=1.0))
    assert len(list(tmp_path.iterdir())) == 1 + MAX_DECODE_RETRIES


class Shard:
    """A stream that delivers given chunks."""

    def __init__(self, chunks):
        self._chunks = chunks

    def iter_batches(self, *, batch_size, **_):
        for start in range(0, len(self._chunks), batch_size):
            yield {"position": np.array(self._chunks[start : start + batch_size])}


PLANNED = [[0, 1, 2], [6, 7, 8]]


@pytest.mark.parametrize(
    ("chunks", "problem"),
    [
        pytest.param([[0, 2, 1], [6, 7, 8]], "received positions", id="order within a batch"),
        pytest.param([[6, 7, 8], [0, 1, 2]], "received positions", id="order of batches"),
        pytest.param([[0, 1, 2], [9, 10, 11]], "received positions", id="those of the other rank"),
        pytest.param([[0, 1, 2]], "received 1 of 2 planned steps", id="too few"),
        pytest.param([*PLANNED, [12, 13, 14]], "received 3 of 2 planned steps", id="too many"),
    ],
)
def test_a_rank_that_receives_anything_but_its_plan_raises(chunks, problem):
    deal = Deal(global_batch=6, world=2, steps=2)
    assert [
        batch["position"].tolist() for batch in checked_batches(Shard(PLANNED), deal=deal, rank=0)
    ] == PLANNED
    with pytest.raises(RuntimeError, match=problem):
        list(checked_batches(Shard(chunks), deal=deal, rank=0))
