"""What a report reads of stages and launches, in a real store."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lstcl_platform.specs import UserError, build_graph, expand, parse_experiment
from lstcl_platform.tracking import origin
from tests.tracking.conftest import make_stage, make_study

DIGEST = "d" * 64


def test_a_stage_tells_what_it_read_and_what_it_met(tracker):
    stage = make_stage("detailed")
    run = tracker.begin_stage(stage, attempt=1, attempt_dir="/runs/a1", fingerprint={"threads": 2})
    tracker.log_dataset(run, name="train", digest=DIGEST, source="/data/train", context="training")
    tracker.note_preemption(run)
    tracker.note_preemption(run)
    tracker.warn_stage(run, "attempt 2 gave way to a preemption")
    tracker.note_bad_videos(run, {"a.mp4: no frames": 2}, attempt=2)
    tracker.note_bad_videos(run, {"a.mp4: no frames": 1, "b.mp4: no stream": 1}, attempt=3)
    record = tracker.stage_records([stage.key, "f" * 64])[stage.key]
    assert (record.source, record.manifest) == ("/data/train", DIGEST)
    assert (record.preemptions, record.warning) == (2, "attempt 2 gave way to a preemption")
    assert record.state.status == "running"
    assert record.result.fingerprint == {"threads": 2}
    assert tracker.bad_videos(run.run_id) == {"a.mp4: no frames": 3, "b.mp4: no stream": 1}


def test_a_finished_run_outweighs_a_later_one_of_the_same_stage(tracker):
    stage = make_stage("finished twice")
    first = tracker.begin_stage(stage, attempt=1, attempt_dir="a1", fingerprint={})
    tracker.finish_stage(first, metrics={"top1": 0.5})
    later = tracker.begin_stage(replace(stage), attempt=2, attempt_dir="a2", fingerprint={})
    assert later.run_id != first.run_id
    assert tracker.stage_records([stage.key])[stage.key].result.run_id == first.run_id


def test_curves_have_every_logged_value_in_the_order_of_steps(tracker):
    run = tracker.begin_stage(make_stage("curves"), attempt=1, attempt_dir="a1", fingerprint={})
    rows = [{"step": step, "epoch": step / 2, "loss": 1 / step} for step in (1, 2, 3)]
    tracker.log_rows(run, rows)
    assert tracker.stage_curves(run.run_id, ["loss", "feature_std"]) == {
        "loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    }


def test_a_missing_file_of_a_stage_is_said(tracker):
    run = tracker.begin_stage(make_stage("files"), attempt=1, attempt_dir="a1", fingerprint={})
    with pytest.raises(FileNotFoundError, match=r"predictions\.parquet"):
        tracker.stage_file(run.run_id, "predictions.parquet")


def test_a_launch_keeps_its_command_and_commit_without_secrets(tracker, monkeypatch):
    uri = "tracking.uri=postgresql://me:hunter2@db/mlflow"
    monkeypatch.setattr(origin.sys, "argv", ["/bin/lstcl-platform", "launch", "a b.yaml", "--set", uri])
    spec, trials, graph = make_study("origin", [{"seed": 0}])
    launch = tracker.begin_launch(spec, requested={}, trials=trials, graph=graph)
    found = tracker.launch_origin(launch.run_id)
    assert found.command.startswith("lstcl-platform launch 'a b.yaml' --set tracking.uri=postgresql://***@db")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(origin.__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.commit == head.stdout.strip()
    assert found.version


def test_any_run_can_be_compared(tracker):
    spec, trials, graph = make_study("anything", [{"seed": 0}, {"seed": 1}])
    launch = tracker.begin_launch(spec, requested={}, trials=trials, graph=graph)
    whole = tracker.results_of("anything")
    assert [len(whole.trials), whole.launch] == [2, launch.run_id]
    by_id = tracker.results_of(launch.run_id)
    assert by_id.name == f"anything@{launch.run_id[:8]}"
    assert [trial.name for trial in by_id.trials] == ["seed=0", "seed=1"]
    (one,) = tracker.results_of(launch.trials["seed=1"]).trials
    assert (one.name, one.cell) == ("seed=1", {"seed": 1})
    client = tracker._client
    other = client.create_run(client.create_experiment("somebody else's"), run_name="resnet").info.run_id
    client.log_param(other, "depth", 50)
    client.log_metric(other, "top1", 0.25)
    (foreign,) = tracker.results_of(other).trials
    assert (foreign.name, foreign.cell, foreign.metrics) == ("resnet", {"depth": "50"}, {"top1": 0.25})
    with pytest.raises(UserError, match="neither an experiment nor an MLflow run"):
        tracker.results_of("0" * 32)


def test_a_swept_framework_can_be_launched_again_from_its_record(tracker):
    fields = {
        "name": "frameworks",
        "data": {"train": "/train", "val": "/val"},
        "pretrain": {"framework": {"kind": "moco_v3"}},
        "sweep": {"grid": {"pretrain.framework.kind": ["byol", "moco_v3", "simsiam"]}},
    }
    spec = parse_experiment(fields, origin="test")
    trials = expand(spec).trials
    graph = build_graph(trials, manifests={"/train": "a", "/val": "b"})
    tracker.begin_launch(spec, requested=fields, trials=trials, graph=graph)
    again = expand(tracker.recorded_spec("frameworks").spec).trials
    assert [trial.spec for trial in again] == [trial.spec for trial in trials]
