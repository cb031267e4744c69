"""A pretraining that is probed on its way, on the shared cluster: each part once, and no way back."""

import json
from pathlib import Path

import pytest

from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.study import run_cli, study_values, write_spec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


def test_parts_of_a_pretraining_are_probed_and_what_it_left_behind_is_refused(
    ray_address, study_videos, tmp_path
):
    storage = tmp_path / "runs"
    evaluate = {"protocols": ["knn"], "clips": 1, "probe_epochs": [1]}
    spec = write_spec(tmp_path / "tiny.yaml", study_values(study_videos, storage, evaluate=evaluate))
    launched = run_cli("launch", spec, "--address", ray_address)
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert "4 stages ran" in launched.stderr
    assert "goes on from step 2 of 6" in launched.stderr

    tracker = Tracker(f"sqlite:///{storage}/mlflow.db", artifact_location=str(storage / "artifacts"))
    (trial,) = tracker.trial_results("tiny")
    part, early, whole, end = trial.stages
    assert [(stage.kind, stage.epoch, stage.status) for stage in trial.stages] == [
        ("pretrain", 1, "finished"),
        ("probe", 1, "finished"),
        ("pretrain", 3, "finished"),
        ("probe", 3, "finished"),
    ]
    done = tracker.finished([part.key, whole.key])
    assert all(Path(stage.weights).is_file() for stage in done.values())
    assert done[part.key].weights_sha256 != done[whole.key].weights_sha256
    curve = tracker.stage_curves(trial.run_id, ["probe/knn_top1"])["probe/knn_top1"]
    assert curve == [(1, early.metrics["knn_top1"]), (3, end.metrics["knn_top1"])]
    (cell,) = json.loads(run_cli("compare", "tiny", "--storage", storage, "--format", "json").stdout)["cells"]
    assert [(each["epoch"], each["mean"]) for each in cell["probes"]["knn_top1"]] == curve

    late = run_cli("launch", spec, "--set", "evaluate.probe_epochs=[1, 2]", "--address", ray_address)
    assert late.returncode == 2
    assert f"epoch 2 of tiny/default: pretrain {whole.key[:10]} has come to epoch 3" in late.stderr
