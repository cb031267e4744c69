"""Faults against running sweeps: whatever breaks, the outcome is an undisturbed sweep's to the last bit."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.faults import (
    cut_off_node,
    damage_newest,
    drain,
    fill_disk,
    fill_disk_for_a_while,
    hang_training,
    hang_worker,
    kill_head,
    kill_process,
    launch_twice,
    lose_tracking,
    terminate,
)
from tests.chaos.processes import MlflowServer
from tests.chaos.store import Store, assert_equal_outcomes
from tests.chaos.sweep import DisturbedSweep, Fault, table
from tests.helpers.study import make_study_videos, run_cli, study_values, write_spec

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

HANG = Path(__file__).parents[1] / "helpers" / "hang"

FAULTS: Mapping[str, tuple[Mapping[str, Fault], Mapping[str, Fault]]] = {
    "processes": (
        {
            "SIGKILL of the Train controller": kill_process("TrainController"),
            "SIGKILL of the stage's driver": kill_process("ImplicitFunc"),
            "newest checkpoint damaged, a newer one half-written": damage_newest,
            "SIGTERM to the launcher": terminate,
        },
        {
            "SIGKILL of a decode task": kill_process("MapBatches"),
            "a second launch of the same study": launch_twice,
        },
    ),
    "nodes": (
        {
            "`ray drain-node`, 30 s": drain,
            "a node stands still and wakes up later": cut_off_node,
            "SIGKILL of the Ray head and its nodes": kill_head,
        },
        {},
    ),
}
"""Sweeps, and what is done to each: faults that end the attempt, and faults that it outlives."""


def study(videos: Path, storage: Path, **changes: Any) -> dict[str, Any]:
    """Steps, rows and checkpoints fall together at no step between the first and the last."""
    return study_values(
        videos,
        storage,
        **{
            "pretrain__epochs": 200,
            "finetune__epochs": 10,
            "checkpoint__every_steps": 7,
            "tracking__log_every_steps": 2,
            "resources__max_failures": 5,
            "resources__max_concurrent_stages": 1,
            "storage__shared": True,
        }
        | changes,
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return make_study_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def calm(videos, tmp_path_factory) -> Mapping[str, Any]:
    """What comes of the study when nothing disturbs it."""
    return undisturbed(videos, tmp_path_factory.mktemp("calm"))


def undisturbed(videos: Path, folder: Path, **changes: Any) -> Mapping[str, Any]:
    spec = write_spec(folder / "calm.yaml", study(videos, folder / "runs", **changes))
    done = run_cli("launch", spec)
    assert done.returncode == 0, done.stderr[-3000:]
    return Store(folder / "runs" / "mlflow.db").outcome()


def outcome(
    sweep: DisturbedSweep, ending: Mapping[str, Fault], harmless: Mapping[str, Fault]
) -> Mapping[str, Any]:
    try:
        for name, fault in {**ending, **harmless}.items():
            sweep.reach(sweep.steps() + 10)
            sweep.disturb(name, fault, restarts=name in ending)
        sweep.finish()
    finally:
        sweep.close()
    print(table(sweep.costs))
    return sweep.store.outcome()


@pytest.mark.parametrize("group", FAULTS)
def test_each_fault_is_overcome_and_changes_nothing(group, nodes, videos, request, tmp_path):
    storage = tmp_path / "runs"
    spec = write_spec(tmp_path / "wild.yaml", study(videos, storage))
    nodes.up()
    sweep = DisturbedSweep(spec, nodes=nodes, storage=storage, log=tmp_path / "wild.log")
    found = outcome(sweep, *FAULTS[group])
    assert_equal_outcomes(found, request.getfixturevalue("calm"))


def test_tracking_is_away_for_a_minute(nodes, videos, calm, tmp_path):
    server = MlflowServer(tmp_path)
    server.up()
    try:
        storage = tmp_path / "runs"
        spec = write_spec(tmp_path / "wild.yaml", study(videos, storage, tracking__uri=server.uri))
        nodes.up()
        sweep = DisturbedSweep(
            spec, nodes=nodes, storage=storage, log=tmp_path / "wild.log", database=server.database
        )
        away = {"SIGKILL of the MLflow server, back after 60 s": lose_tracking(server, seconds=60)}
        assert_equal_outcomes(outcome(sweep, {}, away), calm)
    finally:
        server.kill()


def test_a_worker_that_hangs_is_named_and_replaced(nodes, videos, tmp_path):
    changes = {"resources__workers": 2, "resources__collective_timeout_minutes": 0.5}
    expected = undisturbed(videos, tmp_path, **changes)
    storage = tmp_path / "wild"
    spec = write_spec(tmp_path / "wild.yaml", study(videos, storage, **changes))
    nodes.up()
    sweep = DisturbedSweep(spec, nodes=nodes, storage=storage, log=tmp_path / "wild.log")
    hang = {"SIGSTOP of one of two workers, timeout 30 s": hang_worker}
    assert_equal_outcomes(outcome(sweep, hang, {}), expected)


def test_a_lone_worker_whose_training_hangs_is_named_and_replaced(nodes, videos, calm, tmp_path):
    storage, order = tmp_path / "runs", tmp_path / "hang"
    values = study(videos, storage, resources__collective_timeout_minutes=0.5)
    nodes.environment = {
        "PYTHONPATH": os.pathsep.join([str(HANG), os.environ.get("PYTHONPATH", "")]),
        "LSTCL_TEST_HANG": str(order),
    }
    nodes.up()
    spec = write_spec(tmp_path / "wild.yaml", values)
    sweep = DisturbedSweep(spec, nodes=nodes, storage=storage, log=tmp_path / "wild.log")
    hang = {"the training thread of the only worker hangs, timeout 30 s": hang_training(order)}
    assert_equal_outcomes(outcome(sweep, hang, {}), calm)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A folder that holds 64 MB."""
    storage = tmp_path / "small"
    storage.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", storage],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.strip()}")
    try:
        yield storage
    finally:
        subprocess.run(["umount", "--lazy", storage], check=True)


def test_a_full_disk_ends_the_launch_and_nothing_else(nodes, videos, calm, small_disk, tmp_path):
    # Tracking lies on the same disk, as by default: it is waited for before the launch gives up.
    spec = write_spec(tmp_path / "wild.yaml", study(videos, small_disk, tracking__patience_minutes=0.2))
    nodes.up()
    sweep = DisturbedSweep(spec, nodes=nodes, storage=small_disk, log=tmp_path / "wild.log")
    assert_equal_outcomes(outcome(sweep, {"the disk is full": fill_disk}, {}), calm)


def test_a_disk_that_is_full_for_a_while_costs_nothing_where_tracking_is_elsewhere(
    nodes, videos, small_disk, tmp_path
):
    server = MlflowServer(tmp_path)
    values = study(
        videos,
        small_disk,
        pretrain__epochs=10**6,
        checkpoint={"every_steps": 10**6, "every_minutes": None},  # one that cannot be written ends its stage
        tracking={"uri": server.uri, "log_every_steps": 2},
    )
    spec = write_spec(tmp_path / "wild.yaml", values)
    server.up()
    nodes.up()
    sweep = DisturbedSweep(
        spec, nodes=nodes, storage=small_disk, log=tmp_path / "wild.log", database=server.database
    )
    try:
        sweep.reach(10)
        full = "the disk is full for a while, tracking elsewhere"
        sweep.disturb(full, fill_disk_for_a_while, restarts=False)
        sweep.launched.signal(signal.SIGTERM)
        assert sweep.launched.finish() == 130, sweep.text()[-3000:]
    finally:
        sweep.close()
        server.kill()
    print(table(sweep.costs))
    (pretrained,) = sweep.store.outcome().values()  # fails if a row is there twice
    logged = sorted(step for name, step in pretrained["points"] if name == "loss")
    assert logged == list(range(2, logged[-1] + 1, 2)), "no row is missing"
