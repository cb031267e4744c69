"""Faults against running sweeps: whatever is killed, the outcome is an undisturbed sweep's to the last bit."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.processes import MlflowServer, RayNodes, wait_until
from tests.chaos.sweep import (
    DisturbedSweep,
    Fault,
    Store,
    assert_equal_outcomes,
    disturb_at_random,
    kill_process,
    table,
)
from tests.helpers.study import Launched, make_study_videos, study_values, write_spec

KILLS = int(os.environ.get("LSTCL_CHAOS_KILLS", "20"))
SEED = int(os.environ.get("LSTCL_CHAOS_SEED", "1"))


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    folder = tempfile.mkdtemp(prefix="lstcl-chaos-")
    cluster = RayNodes(Path(folder))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)


def study(videos: Path, storage: Path, **changes: Any) -> dict[str, Any]:
    return study_values(
        videos,
        storage,
        pretrain__batch_size=4,
        checkpoint__every_steps=2,
        resources__max_failures=5,
        resources__max_concurrent_stages=1,
        **changes,
    )


def undisturbed(spec: Path, nodes: RayNodes, store: Store, *, log: Path) -> Mapping[str, Any]:
    launched = Launched("launch", spec, "--address", nodes.address, log=log)
    try:
        assert launched.finish(timeout=1800) == 0, log.read_text()[-3000:]
    finally:
        launched.close()
    return store.outcome()


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_three_random_kills_change_nothing(nodes, tmp_path):
    videos = make_study_videos(tmp_path / "videos", train=8)
    changes = {"pretrain__epochs": 60, "finetune__epochs": 20}
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    whole = write_spec(tmp_path / "calm.yaml", study(videos, calm, **changes))
    expected = undisturbed(whole, nodes, Store(calm / "mlflow.db"), log=tmp_path / "calm.log")

    spec = write_spec(tmp_path / "wild.yaml", study(videos, wild, **changes))
    sweep = DisturbedSweep(spec, nodes=nodes, store=Store(wild / "mlflow.db"), log=tmp_path / "wild.log")
    try:
        sweep.progress(3, what="the first steps")
        disturb_at_random(sweep, kills=3, seed=SEED, pause=1.0)
        sweep.finish()
    finally:
        sweep.close()
    print(table(sweep.costs))
    assert len(sweep.costs) == 3
    assert_equal_outcomes(sweep.store.outcome(), expected)


def terminate(sweep: DisturbedSweep) -> int:
    sweep.launched.signal(signal.SIGTERM)
    code = sweep.launched.finish()
    assert code == 130, sweep.launched.log.read_text()[-3000:]
    sweep.launch()
    return code


def drain(sweep: DisturbedSweep) -> None:
    """The cloud says that the node goes in 30 s, brings another, and takes it."""
    sweep.nodes.drain_node(30)
    sweep.nodes.add_node()
    wait_until(lambda: "gave way to a preemption" in sweep.text(), "the stage to give way")
    sweep.nodes.kill_node()


def kill_head(sweep: DisturbedSweep) -> int:
    """The head goes, and its nodes with it; the launch ends or is ended, and is launched again on a new head."""
    sweep.nodes.head.kill()
    sweep.nodes.down()
    code = wait_until(lambda: sweep.launched.process.poll(), "the launch to notice that Ray is gone")
    sweep.nodes.up()
    sweep.launch()
    return int(code)


def lose_tracking(server: MlflowServer) -> Callable[[DisturbedSweep], None]:
    def fault(sweep: DisturbedSweep) -> None:
        server.kill()
        wait_until(lambda: "does not answer" in sweep.text(), "word that the server is away")
        server.up()

    return fault


def launch_twice(sweep: DisturbedSweep) -> None:
    """A second launch of the same study while the first runs: it waits, and says for whom."""
    second = Launched(*sweep.command, log=sweep.launched.log.with_suffix(".second"))
    try:
        second.wait_for(lambda: "waiting for its result" in second.log.read_text())
        assert f"process {sweep.launched.process.pid}" in second.log.read_text()
        second.signal(signal.SIGINT)
        assert second.finish() == 130
    finally:
        second.close()


HARMLESS = (
    "a second launch of the same study",
    "SIGKILL of a decode task",
    "SIGKILL of the MLflow server",
)
"""Faults that no attempt ends by."""


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_each_fault_is_overcome_and_changes_nothing(nodes, tmp_path):
    videos = make_study_videos(tmp_path / "videos", train=8)
    changes = {"pretrain__epochs": 2000, "pretrain__warmup_epochs": 1, "finetune__epochs": 20}
    server = MlflowServer(tmp_path)
    server.up()
    faults: dict[str, Fault] = {
        "a second launch of the same study": launch_twice,
        "SIGKILL of a decode task": kill_process("MapBatches"),
        "SIGKILL of the Train controller": kill_process("TrainController"),
        "SIGKILL of the stage's driver": kill_process("ImplicitFunc"),
        "`ray drain-node`, 30 s": drain,
        "SIGKILL of the MLflow server": lose_tracking(server),
        "SIGTERM to the launcher": terminate,
        "SIGKILL of the Ray head": kill_head,
    }
    spec = write_spec(
        tmp_path / "wild.yaml", study(videos, tmp_path / "wild", tracking__uri=server.uri, **changes)
    )
    try:
        sweep = DisturbedSweep(spec, nodes=nodes, store=Store(server.database), log=tmp_path / "wild.log")
        try:
            for name, fault in faults.items():
                sweep.progress(5, what="steps")
                sweep.disturb(name, fault, restarts=name not in HARMLESS)
            sweep.finish()
        finally:
            sweep.close()
    finally:
        server.kill()
    print(table(sweep.costs))
    calm = tmp_path / "calm"
    whole = write_spec(tmp_path / "calm.yaml", study(videos, calm, **changes))
    expected = undisturbed(whole, nodes, Store(calm / "mlflow.db"), log=tmp_path / "calm.log")
    assert_equal_outcomes(sweep.store.outcome(), expected)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_random_kills_change_nothing(nodes, tmp_path):
    """LSTCL_CHAOS_KILLS kills at random moments over four trials; LSTCL_CHAOS_SEED draws others."""
    videos = make_study_videos(tmp_path / "videos", train=8)
    changes = {
        "pretrain__epochs": 400,
        "finetune__epochs": 100,
        "sweep__grid": {"pretrain.clips.long_stride": [2, 3], "finetune.seed": [0, 1]},
    }
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    whole = write_spec(tmp_path / "calm.yaml", study(videos, calm, **changes))
    expected = undisturbed(whole, nodes, Store(calm / "mlflow.db"), log=tmp_path / "calm.log")
    spec = write_spec(tmp_path / "wild.yaml", study(videos, wild, **changes))
    sweep = DisturbedSweep(spec, nodes=nodes, store=Store(wild / "mlflow.db"), log=tmp_path / "wild.log")
    try:
        disturb_at_random(sweep, kills=KILLS, seed=SEED, pause=8.0)
        sweep.finish()
    finally:
        sweep.close()
    print(table(sweep.costs))
    assert len(sweep.costs) == KILLS, "the sweep was over before all kills: give it more to do"
    assert_equal_outcomes(sweep.store.outcome(), expected)
