"""A pretraining that is probed on its way, on the shared cluster: the same bits, each part once, no way back."""

import json

import pytest

from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.study import run_cli, study_values, write_spec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


def weights(storage):
    """(kind, epoch) -> digest of the weights, or None for a probe."""
    tracker = Tracker(f"sqlite:///{storage}/mlflow.db", artifact_location=str(storage / "artifacts"))
    (trial,) = tracker.trial_results("tiny")
    assert trial.status == "finished"
    done = tracker.finished([stage.key for stage in trial.stages])
    return {(stage.kind, stage.epoch): done[stage.key].weights_sha256 for stage in trial.stages}


def test_a_probe_on_the_way_changes_no_bit_and_cannot_be_asked_for_afterwards(
    ray_address, study_videos, tmp_path
):
    specs = {}
    for name, epochs in (("plain", []), ("probed", [1])):
        evaluate = {"protocols": ["knn"], "clips": 1, "probe_epochs": epochs}
        values = study_values(study_videos, tmp_path / name, evaluate=evaluate)
        specs[name] = write_spec(tmp_path / f"{name}.yaml", values)
    plain = run_cli("launch", specs["plain"], "--address", ray_address)
    assert plain.returncode == 0, plain.stderr[-3000:]
    assert "2 stages ran" in plain.stderr
    probed = run_cli("launch", specs["probed"], "--address", ray_address)
    assert probed.returncode == 0, probed.stderr[-3000:]
    assert "4 stages ran" in probed.stderr
    assert "goes on from step 2 of 6" in probed.stderr

    found = weights(tmp_path / "probed")
    assert set(found) == {("pretrain", 1), ("probe", 1), ("pretrain", 3), ("probe", 3)}
    assert found[("pretrain", 3)] == weights(tmp_path / "plain")[("pretrain", 3)]
    assert found[("pretrain", 1)] not in (None, found[("pretrain", 3)])
    told = run_cli("compare", "tiny", "--storage", tmp_path / "probed", "--format", "json")
    (cell,) = json.loads(told.stdout)["cells"]
    assert [each["epoch"] for each in cell["probes"]["knn_top1"]] == [1, 3]

    late = run_cli("launch", specs["plain"], "--set", "evaluate.probe_epochs=[1]", "--address", ray_address)
    assert late.returncode == 2
    assert "epoch 1 of tiny/default: pretrain" in late.stderr
    assert "has come to epoch 3" in late.stderr
