"""A sweep on a cluster of no nodes: they come, one dies and is replaced, the stage goes on, the idle ones leave."""

import re
import secrets
import time

import pytest

from tests.helpers.autoscaler import autoscaled_cluster
from tests.helpers.study import Launched, checkpoints, study_values, write_spec

pytestmark = [pytest.mark.autoscaling, pytest.mark.timeout(900)]


class Timeline:
    """What happened when, for the reader of the test's output."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def note(self, event: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {event}", flush=True)


@pytest.fixture
def loopback(monkeypatch):
    """Head, nodes and launch agree that a node's address is the loopback, and on a token."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.mark.usefixtures("loopback")
def test_nodes_come_die_are_replaced_and_leave(study_videos, tmp_path, capsys):
    values = study_values(
        study_videos,
        tmp_path / "runs",
        pretrain=None,
        finetune__epochs=200,
        checkpoint__every_steps=5,
        storage__shared=True,
        sweep={"grid": {"finetune.seed": [0, 1]}},
    )
    spec = write_spec(tmp_path / "tiny.yaml", values)
    with capsys.disabled(), autoscaled_cluster(idle_seconds=10) as cluster:
        print()
        timeline = Timeline()
        timeline.note(f"head up at {cluster.address}, {len(cluster.nodes())} nodes")
        launched = Launched("launch", spec, "--address", cluster.address, log=tmp_path / "log")
        try:
            follow(launched, cluster, timeline, tmp_path)
        finally:
            launched.close()
        end = time.monotonic() + 120
        while cluster.nodes():
            assert time.monotonic() < end, "idle nodes stay"
            time.sleep(0.2)
        timeline.note("idle nodes gone")


def follow(launched, cluster, timeline, folder) -> None:
    def log() -> str:
        return launched.log.read_text()

    launched.wait_for(lambda: "waiting for the cluster's autoscaler" in log())
    timeline.note("sweep pending: " + log().split("waiting for ")[1].splitlines()[0])
    first = launched.wait_for(cluster.nodes)
    timeline.note(f"node up: {short(first)}")
    launched.wait_for(lambda: len(cluster.nodes()) == 2)
    timeline.note(f"nodes up: {short(cluster.nodes())}")
    launched.wait_for(lambda: [path for path in checkpoints(folder / "runs") if step(path) >= 10])
    node = cluster.node_of("ray::RayTrainWorker")
    assert node is not None, "training, but on no node"
    reached = max(map(step, checkpoints(folder / "runs")))
    known = set(cluster.nodes())
    cluster.kill(node)
    timeline.note(f"killed the node that trains, {short([node])}, at the checkpoint of step {reached}")
    new = launched.wait_for(lambda: set(cluster.nodes()) - known)
    timeline.note(f"replaced by {short(new)}")
    assert launched.wait_for(lambda: cluster.node_of("ray::RayTrainWorker")) in new
    told = launched.wait_for(lambda: re.search(r"goes on from step (\d+)", log()))
    launched.wait_for(lambda: [path for path in checkpoints(folder / "runs") if path.parent.name != "a1"])
    timeline.note(f"resumed at step {told[1]} on {short(new)}")
    assert int(told[1]) >= reached
    assert launched.finish(timeout=600) == 0, log()[-3000:]
    assert "4 stages ran, 0 were done before, 0 failed." in log()
    timeline.note("sweep finished: 4 stages")


def step(path) -> int:
    return int(path.name.removeprefix("step-"))


def short(nodes) -> str:
    return ", ".join(f"node {int(node[-5:])}" for node in sorted(nodes))
