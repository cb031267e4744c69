import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lstcl_platform.specs import UserError
from lstcl_platform.tracking.records import LaunchRun, StageRun
from lstcl_platform.tracking.store import STAGES
from lstcl_platform.tracking.tracker import Tracker
from tests.tracking.conftest import make_stage, make_study

CELLS = [{"pretrain.clips.long_stride": long, "finetune.seed": seed} for long in (8, 32) for seed in (0, 1)]


@pytest.fixture(scope="session")
def mlflow_client(tracker: Tracker) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracker.uri)


def begin(tracker: Tracker, name: str, *, attempt: int = 1, **identity: Any) -> StageRun:
    return tracker.begin_stage(
        make_stage(name, **identity),
        attempt=attempt,
        attempt_dir=f"train/{name}/a{attempt}",
        fingerprint={"world_size": 2, "device": "cpu"},
        total_steps=100,
    )


def rows(steps: range) -> list[dict[str, float]]:
    return [{"step": step, "epoch": step / 10, "loss": 1 / step} for step in steps]


def begin_study(tracker: Tracker, name: str, **fields: Any) -> LaunchRun:
    spec, trials, graph = make_study(name, CELLS, **fields)
    return tracker.begin_launch(spec, requested={"name": name}, trials=trials, graph=graph)


def test_rows_offered_again_are_stored_once(tracker: Tracker, mlflow_client: Any) -> None:
    run = begin(tracker, "rows")
    assert tracker.log_rows(run, rows(range(1, 6))) == 5
    assert tracker.log_rows(run, rows(range(1, 9))) == 3
    resumed = begin(tracker, "rows", attempt=2)
    assert tracker.log_rows(resumed, rows(range(1, 11))) == 2
    history = mlflow_client.get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(step, 1 / step) for step in range(1, 11)]


def test_more_rows_than_a_batch_are_all_stored(tracker: Tracker, mlflow_client: Any) -> None:
    run = begin(tracker, "many rows")
    assert tracker.log_rows(run, rows(range(1, 702))) == 701
    assert [point.step for point in mlflow_client.get_metric_history(run.run_id, "loss")] == list(
        range(1, 702)
    )


def test_unfinished_run_goes_on_and_finished_run_does_not(tracker: Tracker) -> None:
    first = begin(tracker, "reuse")
    tracker.fail_stage(first, error="boom", log="a1/log.txt")
    second = begin(tracker, "reuse", attempt=2)
    tracker.interrupt_stage(second)
    third = begin(tracker, "reuse", attempt=3)
    assert (second.run_id, third.run_id) == (first.run_id, first.run_id)
    assert (first.resumed, third.resumed) == (False, True)
    tracker.finish_stage(third, metrics={})
    assert begin(tracker, "reuse", attempt=4).run_id != first.run_id


def test_finished_returns_what_finish_recorded(tracker: Tracker, tmp_path: Path, mlflow_client: Any) -> None:
    (tmp_path / "curve.txt").write_text("x")
    run = begin(tracker, "result", pretrain={"epochs": 3, "crop": [0.2, 0.7]})
    tracker.log_rows(run, rows(range(1, 3)))
    tracker.finish_stage(
        run,
        metrics={"top1": 0.75},
        weights="s3://bucket/w.safetensors",
        weights_digest="ab",
        checkpoint="s3://bucket/step-2",
        state_digest="cd",
        predictions="s3://bucket/p.parquet",
        dataset_digest="ef",
        artifacts=[tmp_path / "curve.txt"],
    )
    stage = tracker.finished([run.key, "0" * 64])[run.key]
    assert (stage.run_id, stage.metrics["top1"], stage.metrics["loss"]) == (run.run_id, 0.75, 0.5)
    assert (stage.weights, stage.weights_sha256) == ("s3://bucket/w.safetensors", "ab")
    assert (stage.checkpoint, stage.predictions) == ("s3://bucket/step-2", "s3://bucket/p.parquet")
    assert (stage.state_digest, stage.fingerprint) == ("cd", {"device": "cpu", "world_size": 2})
    assert stage.dataset_digest == "ef"
    stored = mlflow_client.get_run(run.run_id)
    assert stored.data.params["pretrain.epochs"] == "3"
    assert stored.data.params["pretrain.crop"] == "[0.2,0.7]"
    assert {file.path for file in mlflow_client.list_artifacts(run.run_id)} == {"curve.txt", "resolved.yaml"}


def test_finished_is_the_last_write(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tracker, "last write")

    def killed(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    # The process dies right before the last write: everything else is stored, the stage is not finished.
    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "set_terminated", killed)
        with pytest.raises(KeyboardInterrupt):
            tracker.finish_stage(run, metrics={"top1": 0.5}, weights="w")
    assert tracker.finished([run.key]) == {}
    again = begin(tracker, "last write", attempt=2)
    tracker.finish_stage(again, metrics={"top1": 0.5}, weights="w")
    assert tracker.finished([run.key])[run.key].run_id == run.run_id
    assert len(tracker._client.get_metric_history(run.run_id, "top1")) == 1


def test_mlflow_status_alone_is_no_result(tracker: Tracker, mlflow_client: Any) -> None:
    run = begin(tracker, "closed by hand")
    mlflow_client.set_terminated(run.run_id, status="FINISHED")
    assert tracker.finished([run.key]) == {}


def test_renamed_run_is_still_found(tracker: Tracker, mlflow_client: Any) -> None:
    run = begin(tracker, "renamed")
    tracker.finish_stage(run, metrics={})
    mlflow_client.update_run(run.run_id, name="my best pretraining")
    assert run.key in tracker.finished([run.key])


def test_deleted_run_no_longer_counts(tracker: Tracker, mlflow_client: Any) -> None:
    run = begin(tracker, "deleted")
    tracker.finish_stage(run, metrics={})
    mlflow_client.delete_run(run.run_id)
    assert tracker.finished([run.key]) == {}


def test_time_of_a_killed_attempt_counts_up_to_its_newest_row(tracker: Tracker, mlflow_client: Any) -> None:
    run = begin(tracker, "killed")
    mlflow_client.set_tag(run.run_id, "lstcl.began", f"{time.time() - 60:.3f}")
    tracker.log_rows(run, rows(range(1, 2)))
    assert begin(tracker, "killed", attempt=2).seconds_before == pytest.approx(60, abs=5)


def test_failure_is_told(tracker: Tracker) -> None:
    run = begin(tracker, "failing")
    tracker.log_rows(run, rows(range(1, 41)))
    tracker.fail_stage(run, error="Traceback ...\nValueError: no frames", log="train/a1/log.txt")
    state = tracker.stage_runs([run.key])[run.key]
    assert (state.status, state.step, state.total_steps) == ("failed", 40, 100)
    assert (state.error, state.log) == ("Traceback ...\nValueError: no frames", "train/a1/log.txt")


def test_manifest_is_an_input_of_the_run(tracker: Tracker, mlflow_client: Any) -> None:
    run = begin(tracker, "dataset")
    for _ in range(2):
        tracker.log_dataset(run, name="train", digest="ab" * 32, source="/data/train", context="training")
    inputs = mlflow_client.get_run(run.run_id).inputs.dataset_inputs
    assert [(item.dataset.name, item.dataset.digest) for item in inputs] == [("train", ("ab" * 32)[:36])]


def test_long_values_are_cut_to_what_mlflow_takes(tracker: Tracker, mlflow_client: Any) -> None:
    run = begin(tracker, "long", text="x" * 9000)
    tracker.fail_stage(run, error="y" * 20000)
    data = mlflow_client.get_run(run.run_id).data
    assert (len(data.params["text"]), len(data.tags["lstcl.error"])) == (6000, 8000)


def test_secrets_reach_neither_tags_nor_params_nor_artifacts(tracker: Tracker, storage: Path) -> None:
    spec, trials, graph = make_study("secrets", CELLS[:1], tracking={"uri": "http://me:hunter2@mlflow:5000"})
    launch = tracker.begin_launch(
        spec, requested={"env": {"AWS_SECRET": "hunter2"}}, trials=trials, graph=graph
    )
    stage = tracker.begin_stage(
        make_stage("secret stage", api_token="hunter2", source="s3://key:hunter2@bucket/x"),
        attempt=1,
        attempt_dir="s3://key:hunter2@bucket/train/a1",
        fingerprint={"env": {"HF_TOKEN": "hunter2"}},
    )
    tracker.fail_stage(stage, error="cannot open s3://key:hunter2@bucket/x?secret_key=hunter2")
    tracker.finish_launch(launch, status="failed")
    stored = [path.read_bytes() for path in storage.rglob("*") if path.is_file()]
    assert len(stored) > 3
    assert not any(b"hunter2" in content for content in stored)
    assert tracker.recorded_spec("secrets").spec.tracking.uri == tracker.uri


def test_equal_launch_goes_on_in_the_same_runs(tracker: Tracker) -> None:
    first = begin_study(tracker, "again")
    tracker.finish_launch(first, status="interrupted")
    second = begin_study(tracker, "again")
    other = begin_study(tracker, "again", description="changed")
    assert (second.run_id, second.trials, second.resumed) == (first.run_id, first.trials, True)
    assert other.run_id != first.run_id
    assert not other.resumed
    assert set(other.trials.values()).isdisjoint(first.trials.values())
    assert tracker.launch_state("again").run_id == other.run_id
    begin_study(tracker, "again")
    assert tracker.launch_state("again").run_id == first.run_id


def test_relaunch_leaves_finished_trials_finished(tracker: Tracker) -> None:
    launch = begin_study(tracker, "relaunch")
    first, second, *_ = launch.trials
    tracker.finish_trial(launch, first, status="finished", metrics={"top1": 0.5})
    tracker.finish_trial(launch, second, status="failed", error="no frames")
    tracker.finish_launch(launch, status="failed")
    statuses = [result.status for result in tracker.trial_results("relaunch")]
    assert statuses == ["finished", "failed", "interrupted", "interrupted"]
    begin_study(tracker, "relaunch")
    statuses = [result.status for result in tracker.trial_results("relaunch")]
    assert statuses == ["finished", "waiting", "waiting", "waiting"]


def test_trials_are_children_with_cell_and_stage_runs(tracker: Tracker, mlflow_client: Any) -> None:
    spec, trials, graph = make_study("children", CELLS)
    shared = graph.stages[graph.chains[f"children/{trials[0].name}"][0]]
    run = tracker.begin_stage(shared, attempt=1, attempt_dir="a1", fingerprint={})
    tracker.finish_stage(run, metrics={})
    launch = tracker.begin_launch(spec, requested={}, trials=trials, graph=graph)
    child = mlflow_client.get_run(launch.trials[trials[0].name])
    assert child.data.tags["mlflow.parentRunId"] == launch.run_id
    assert child.data.params == {"pretrain.clips.long_stride": "8", "finetune.seed": "0"}
    assert yaml.safe_load(child.data.tags["lstcl.stage_runs"]) == {shared.key: run.run_id}
    assert child.info.run_name == trials[0].name


def test_results_of_trials(tracker: Tracker) -> None:
    spec, trials, graph = make_study("results", CELLS)
    launch = tracker.begin_launch(spec, requested={}, trials=trials, graph=graph)
    first = trials[0].name
    for key in launch.chains[first]:
        run = tracker.begin_stage(graph.stages[key], attempt=1, attempt_dir="a1", fingerprint={})
        tracker.finish_stage(run, metrics={})
    tracker.finish_trial(launch, first, status="finished", metrics={"top1": 0.5})
    running = tracker.begin_stage(
        graph.stages[launch.chains[trials[2].name][0]], attempt=1, attempt_dir="a1", fingerprint={}
    )
    tracker.log_rows(running, rows(range(1, 8)))
    results = tracker.trial_results("results")
    assert [result.name for result in results] == [trial.name for trial in trials]
    assert [result.status for result in results] == ["finished", "waiting", "running", "running"]
    assert (results[0].cell, results[0].metrics) == (CELLS[0], {"top1": 0.5})
    assert list(results[0].cell) == list(CELLS[0])
    assert [stage.kind for stage in results[1].stages] == ["pretrain", "finetune", "evaluate"]
    assert [stage.status for stage in results[1].stages] == ["finished", "waiting", "waiting"]
    assert results[2].stages[0].step == 7
    assert all(stage.seconds > 0 for stage in results[0].stages)


def test_launch_without_sign_of_life_counts_as_interrupted(tracker: Tracker, mlflow_client: Any) -> None:
    launch = begin_study(tracker, "silent")
    assert tracker.launch_state("silent").status == "running"
    mlflow_client.set_tag(launch.run_id, "lstcl.heard", f"{time.time() - 600:.3f}")
    assert tracker.launch_state("silent").status == "interrupted"
    tracker.heartbeat(launch)
    assert tracker.launch_state("silent").status == "running"


def test_stop_is_asked_for_by_another_process_and_forgotten_by_the_next_launch(tracker: Tracker) -> None:
    launch = begin_study(tracker, "stopping")
    assert not tracker.stop_requested(launch)
    assert Tracker(tracker.uri, artifact_location=None).request_stop("stopping")
    assert tracker.stop_requested(launch)
    tracker.finish_launch(launch, status="interrupted")
    assert not tracker.request_stop("stopping")
    assert not tracker.stop_requested(begin_study(tracker, "stopping"))


def test_recorded_spec_is_the_launched_one(tracker: Tracker) -> None:
    spec, trials, graph = make_study("recorded", CELLS, storage={"path": "/data/runs"})
    tracker.begin_launch(
        spec, requested={"name": "recorded", "data": {"train": "t"}}, trials=trials, graph=graph
    )
    recorded = tracker.recorded_spec("recorded")
    assert recorded.spec == spec
    assert yaml.safe_load(recorded.requested) == {"name": "recorded", "data": {"train": "t"}}


def test_closing_a_launch_closes_its_open_trials(
    tracker: Tracker, tmp_path: Path, mlflow_client: Any
) -> None:
    (tmp_path / "curve.png").write_bytes(b"png")
    launch = begin_study(tracker, "closing")
    first, *others = launch.trials
    tracker.finish_trial(launch, first, status="finished", metrics={"top1": 0.5})
    tracker.log_launch_metrics(launch, {"baseline_majority": 0.24})
    tracker.finish_launch(launch, status="failed", figures=[tmp_path / "curve.png"])
    statuses = {name: mlflow_client.get_run(run_id).info.status for name, run_id in launch.trials.items()}
    assert statuses == {first: "FINISHED", **dict.fromkeys(others, "KILLED")}
    assert tracker.launch_state("closing").metrics == {"baseline_majority": 0.24}
    assert [file.path for file in mlflow_client.list_artifacts(launch.run_id, "figures")] == [
        "figures/curve.png"
    ]


def test_unknown_experiment_names_the_nearest(tracker: Tracker) -> None:
    begin_study(tracker, "nearest_name")
    with pytest.raises(UserError, match="did you mean 'nearest_name'"):
        tracker.trial_results("nearst_name")
    assert "nearest_name" in tracker.experiments()
    assert STAGES not in tracker.experiments()


def test_name_of_the_stages_is_refused(tracker: Tracker) -> None:
    with pytest.raises(UserError, match="kept for the runs of stages"):
        begin_study(tracker, STAGES)


def test_threads_of_one_launch_write_at_once(tracker: Tracker, mlflow_client: Any) -> None:
    runs = [begin(tracker, f"thread {index}") for index in range(4)]

    def write(run: StageRun) -> None:
        for start in range(1, 41, 10):
            tracker.log_rows(run, rows(range(1, start + 10)))

    threads = [threading.Thread(target=write, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        assert [point.step for point in mlflow_client.get_metric_history(run.run_id, "loss")] == list(
            range(1, 41)
        )


WRITER = """
import sys
from lstcl_platform.tracking.tracker import Tracker
from tests.tracking.conftest import make_stage
tracker = Tracker(sys.argv[1], artifact_location=sys.argv[2])
run = tracker.begin_stage(make_stage(sys.argv[3]), attempt=1, attempt_dir="a1", fingerprint={})
for step in range(1, 31):
    tracker.log_rows(run, [{"step": step, "loss": 1.0}])
tracker.finish_stage(run, metrics={})
"""


def test_two_processes_make_the_store_and_write_at_once(tmp_path: Path) -> None:
    uri, names = f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}", ("one", "two")
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, uri, str(tmp_path / "artifacts"), name],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in names
    ]
    # MLflow's chatter and alembic's would show here.
    assert [(writer.communicate()[0], writer.returncode) for writer in writers] == [("", 0), ("", 0)]
    tracker = Tracker(uri, artifact_location=None)
    done = tracker.finished([make_stage(name).key for name in names])
    assert [stage.metrics for stage in done.values()] == [{"step": 30.0, "loss": 1.0}] * 2
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mlflow.db"]
