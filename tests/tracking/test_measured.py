"""What finished stages tell a plan, and what a launch predicted, in a real store."""

import pytest

from lstcl_platform.planning.earlier import rates_of_runs
from lstcl_platform.tracking.tracker import Tracker
from tests.planning.conftest import graph_of
from tests.tracking.conftest import make_study

FINGERPRINT = {"world_size": 2, "device": "cpu", "device_name": "a CPU"}


def rows() -> list[dict[str, float]]:
    """20 steps: 10 of 2 s, a quarter of it waiting; 10 of 1 s without."""
    return [
        {"step": 10, "epoch": 1, "step_seconds": 2.0, "data_wait": 0.25, "decode_seconds": 0.3},
        {"step": 20, "epoch": 2, "step_seconds": 1.0, "data_wait": 0.0, "decode_seconds": 0.2},
    ]


def record(tracker: Tracker, kind: str, *, attempt: int = 1, seed: int = 0) -> None:
    graph = graph_of(pretrain={"epochs": 2, "warmup_epochs": 1, "batch_size": 10, "seed": seed})
    stage = next(each for each in graph.stages.values() if each.kind == kind)
    run = tracker.begin_stage(stage, attempt=attempt, attempt_dir="a", fingerprint={}, total_steps=20)
    tracker.mark_training(run, attempt_seconds=8.0, launch_seconds=20.0)
    if kind == "evaluate":
        run.seconds_before, metrics = 12.0, {"videos": 40.0, "step": 3.0}
    else:
        tracker.log_rows(run, rows())
        run.seconds_before, metrics = 40.0, {}
    tracker.finish_stage(run, metrics=metrics, fingerprint=FINGERPRINT)


def test_finished_stages_become_rates_and_resumed_ones_do_not(tracker: Tracker) -> None:
    record(tracker, "pretrain")
    record(tracker, "evaluate")
    record(tracker, "pretrain", attempt=2, seed=1)
    rates = rates_of_runs(tracker.measured_stages())
    found = {rate.stage: rate for rate in rates.stages}
    assert len(rates.stages) == 2
    pretrain, evaluate = found["pretrain"], found["evaluate"]
    # 200 videos in 30 s of which 5 were waits, by two workers; 40 s in all, 8 of them to the first batch.
    assert pretrain.samples_per_second == pytest.approx(200 / 25 / 2)
    assert pretrain.decode_seconds == pytest.approx(0.2)
    assert pretrain.start_seconds == pytest.approx(8.0)
    # The recording itself takes a while, so what is left over is at least that.
    assert pretrain.end_seconds is not None
    assert pretrain.end_seconds >= 2.0
    assert (pretrain.model, pretrain.frames, pretrain.framework, pretrain.device) == (
        "st_swin_micro",
        8,
        "moco_v3",
        "cpu",
    )
    assert evaluate.views == 2
    assert evaluate.samples_per_second is not None
    assert 0 < evaluate.samples_per_second <= 40 / 4 / 2
    assert pytest.approx(12.0) in rates.launch_seconds


def test_the_prediction_of_a_launch_stays_when_it_goes_on(tracker: Tracker) -> None:
    spec, trials, graph = make_study("predicted", [{"seed": 0}])
    first = tracker.begin_launch(spec, requested={"name": "predicted"}, trials=trials, graph=graph)
    assert tracker.prediction(first.run_id) == {}
    tracker.keep_prediction(first, {"a": {"kind": "pretrain"}, "b": {"kind": "evaluate"}})
    again = tracker.begin_launch(spec, requested={"name": "predicted"}, trials=trials, graph=graph)
    assert again.resumed
    tracker.keep_prediction(again, {"b": {"kind": "other"}, "c": {"kind": "finetune"}})
    kept = tracker.prediction(first.run_id)
    assert {key: each["kind"] for key, each in kept.items()} == {
        "a": "pretrain",
        "b": "evaluate",
        "c": "finetune",
    }
