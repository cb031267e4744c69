"""Launches whose processes are killed at random moments, or asked to stop: launching again is resuming."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lstcl_platform.tracking.tracker import Tracker
from tests.chaos.faults import disturb_at_random
from tests.chaos.processes import RayNodes
from tests.chaos.store import Store, assert_equal_outcomes
from tests.chaos.sweep import Cost, DisturbedSweep, table
from tests.helpers.study import Launched, checkpoints, make_study_videos, run_cli, study_values, write_spec

KILLS = int(os.environ.get("LSTCL_CHAOS_KILLS", "20"))
SEED = int(os.environ.get("LSTCL_CHAOS_SEED", "1"))


def costs_of_kills(kills: int, *, folder: Path, nodes: RayNodes, **changes: Any) -> Sequence[Cost]:
    """Run a sweep twice, once disturbed by `kills`; both must have one outcome.

    The undisturbed one runs on a cluster of its own, as by default.
    """
    videos = make_study_videos(folder / "videos", train=12)
    values = {
        "checkpoint__every_steps": 3,
        "tracking__log_every_steps": 2,
        "finetune__drop_path": 0.3,
        "finetune__head_dropout": 0.3,
        "resources__max_failures": 5,
        "resources__max_concurrent_stages": 1,
        "storage__shared": True,
        **changes,
    }
    whole = write_spec(folder / "calm.yaml", study_values(videos, folder / "calm", **values))
    done = run_cli("launch", whole, timeout=7200)
    assert done.returncode == 0, done.stderr[-3000:]
    calm = Store(folder / "calm" / "mlflow.db")

    storage = folder / "wild"
    spec = write_spec(folder / "wild.yaml", study_values(videos, storage, **values))
    nodes.up()
    sweep = DisturbedSweep(spec, nodes=nodes, storage=storage, log=folder / "wild.log")
    try:
        disturb_at_random(sweep, kills=kills, seed=SEED, steps=sum(calm.steps().values()))
        sweep.finish()
    finally:
        sweep.close()
    print(table(sweep.costs))
    assert_equal_outcomes(sweep.store.outcome(), calm.outcome())
    return sweep.costs


@pytest.mark.kills
@pytest.mark.timeout(1800)
def test_three_random_kills_change_nothing(nodes, tmp_path, monkeypatch):
    """Launcher, worker and node, each once."""
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process less for each attempt to start
    changes = {"pretrain__epochs": 25, "finetune__epochs": 10}
    assert len(costs_of_kills(3, folder=tmp_path, nodes=nodes, **changes)) == 3


@pytest.mark.long
@pytest.mark.timeout(14400)
def test_many_random_kills_change_nothing(nodes, tmp_path):
    """LSTCL_CHAOS_KILLS kills over four trials of all three stages; LSTCL_CHAOS_SEED draws others."""
    grid = {"pretrain.clips.long_stride": [2, 3], "finetune.seed": [0, 1]}
    changes = {"pretrain__epochs": 100, "finetune__epochs": 40, "sweep__grid": grid}
    costs = costs_of_kills(KILLS, folder=tmp_path, nodes=nodes, **changes)
    lost = sum(cost.recovered for cost in costs) / len(costs)
    print(
        f"{len(costs)} kills, {lost:.1f} s lost a kill, {sum(cost.repeated for cost in costs)} steps repeated"
    )
    assert len(costs) == KILLS


@pytest.mark.kills
@pytest.mark.timeout(1800)
def test_a_killed_launch_goes_on_and_an_interrupted_one_says_how(tmp_path):
    """On a cluster of the launch's own, as by default."""
    storage = tmp_path / "runs"
    values = study_values(
        make_study_videos(tmp_path / "videos"),
        storage,
        pretrain__epochs=1000,
        pretrain__warmup_epochs=1,
        checkpoint__every_steps=20,
    )
    spec = write_spec(tmp_path / "tiny.yaml", values)
    first = Launched("launch", spec, log=tmp_path / "first.log")
    try:
        first.wait_for(lambda: checkpoints(storage))
        first.kill()
    finally:
        first.close()
    second = Launched("launch", spec, log=tmp_path / "second.log")
    try:
        second.wait_for(lambda: "running" in second.log.read_text())
        second.signal(signal.SIGINT)
        assert second.finish() == 130, second.log.read_text()[-3000:]
    finally:
        second.close()
    text = second.log.read_text()
    assert "goes on from step" in text
    assert f"go on with: lstcl-platform resume tiny --storage {storage}" in text
    assert "Traceback" not in text
    stopped = int(checkpoints(storage)[-1].name.removeprefix("step-"))
    assert stopped >= 20
    assert sum(Store(storage / "mlflow.db").steps().values()) == stopped, (
        "no step after the newest checkpoint"
    )
    (trial,) = Tracker(f"sqlite:///{storage}/mlflow.db", artifact_location=None).trial_results("tiny")
    assert trial.status == "interrupted"
    assert trial.stages[0].status == "interrupted"
