"""A study launched on the shared cluster: from videos to the comparison, again, and extended."""

import json

import pyarrow.parquet as pq
import pytest

from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.study import CLASSES, run_cli, study_values, write_spec
from tests.helpers.videos import damage

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


def tracker_of(storage):
    return Tracker(f"sqlite:///{storage}/mlflow.db", artifact_location=str(storage / "artifacts"))


def attempts(storage):
    return sorted(path.relative_to(storage) for path in (storage / "train").glob("*/a*"))


def check_predictions(tracker, key, videos, storage):
    """`predict` says of the test videos, by the names of their classes, what the test itself stored."""
    table = pq.read_table(tracker.finished([key])[key].predictions).to_pydict()
    assert table["path"] == sorted(str(file.relative_to(videos)) for file in videos.rglob("*.mp4"))
    shown = run_cli("predict", "tiny/long=2", videos, "--storage", storage, "--format", "json")
    assert shown.returncode == 0, shown.stderr[-3000:]
    found = [
        {answer["class"]: answer["probability"] for answer in video["top"]}
        for video in json.loads(shown.stdout)["videos"]
    ]
    assert [[shares[name] for name in CLASSES] for shares in found] == [
        pytest.approx(row, abs=1e-5) for row in table["probabilities"]
    ]


def test_launch_compares_and_launching_again_runs_only_what_is_new(ray_address, study_videos, tmp_path):
    storage = tmp_path / "runs"
    values = study_values(
        study_videos,
        storage,
        sweep={"grid": {"pretrain.clips.long_stride": [2]}, "cases": [{"name": "scratch", "pretrain": None}]},
    )
    spec = write_spec(tmp_path / "tiny.yaml", values)
    first = run_cli("launch", spec, "--address", ray_address)
    assert first.returncode == 0, first.stderr[-3000:]
    assert "5 stages ran, 0 were done before, 0 failed." in first.stderr
    assert "long=2" in first.stdout
    assert "scratch" in first.stdout

    tracker = tracker_of(storage)
    trials = {trial.name: trial for trial in tracker.trial_results("tiny")}
    assert {name: trial.status for name, trial in trials.items()} == {
        "long=2": "finished",
        "scratch": "finished",
    }
    assert 0 <= trials["long=2"].metrics["top1"] <= trials["long=2"].metrics["top5"] <= 1
    pretrain = tracker.finished([trials["long=2"].stages[0].key])[trials["long=2"].stages[0].key]
    assert pretrain.fingerprint["world_size"] == 1
    assert pretrain.weights_sha256
    check_predictions(tracker, trials["long=2"].stages[-1].key, study_videos / "val", storage)

    before = attempts(storage)
    again = run_cli("launch", spec, "--address", ray_address)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "0 stages ran, 5 were done before, 0 failed." in again.stderr
    assert again.stdout == first.stdout
    assert attempts(storage) == before

    values["sweep"]["grid"]["finetune.stride"] = [2, 3]
    write_spec(spec, values)
    planned = json.loads(run_cli("plan", spec, "--format", "json").stdout)
    assert planned["keys_final"]
    assert [stage["finished"] for stage in planned["stages"]].count(True) == 5
    assert len(planned["stages"]) == 7
    more = run_cli("launch", spec, "--address", ray_address)
    assert more.returncode == 0, more.stderr[-3000:]
    assert "2 stages ran, 5 were done before, 0 failed." in more.stderr
    assert len(attempts(storage)) == len(before) + 2

    resumed = run_cli("resume", "tiny", "--storage", storage, "--address", ray_address)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "0 stages ran, 7 were done before, 0 failed." in resumed.stderr
    assert resumed.stdout == more.stdout

    listed = run_cli("compare", "tiny", "--storage", storage, "--format", "json")
    names = {cell["name"] for cell in json.loads(listed.stdout)["cells"]}
    assert names == {"stride=2 long=2", "stride=3 long=2", "scratch"}
    told = run_cli("logs", "tiny", "--storage", storage)
    assert "rank0.log" in told.stdout
    idle = run_cli("stop", "tiny", "--storage", storage)
    assert idle.returncode == 2
    assert "not running" in idle.stderr


def test_damaged_videos_are_named_and_counted_and_the_study_goes_on(ray_address, study_videos, tmp_path):
    from shutil import copytree

    videos = copytree(study_videos, tmp_path / "videos")
    unreadable = videos / "train" / "run" / "01.mp4"
    unreadable.write_bytes(b"no video at all")
    torn = damage(videos / "train" / "jump" / "00.mp4")
    # Two videos a step, so that an epoch has further steps to take a stand-in from.
    values = study_values(
        videos, tmp_path / "runs", data__max_bad_fraction=0.5, pretrain__batch_size=2, finetune__batch_size=2
    )
    spec = write_spec(tmp_path / "tiny.yaml", values)
    done = run_cli("launch", spec, "--address", ray_address)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "bad video left out: run/01.mp4" in done.stderr
    assert "bad videos in pretrain" in done.stderr
    assert torn.name in done.stderr
    (trial,) = tracker_of(tmp_path / "runs").trial_results("tiny")
    assert trial.status == "finished"


def test_too_many_bad_videos_stop_the_launch_before_anything_runs(study_videos, tmp_path):
    from shutil import copytree

    videos = copytree(study_videos, tmp_path / "videos")
    (videos / "train" / "run" / "01.mp4").write_bytes(b"no video at all")
    spec = write_spec(tmp_path / "tiny.yaml", study_values(videos, tmp_path / "runs"))
    refused = run_cli("launch", spec)
    assert refused.returncode == 2
    assert "data.max_bad_fraction" in refused.stderr
    assert "run/01.mp4" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_failed_stage_is_reported_and_its_descendants_are_skipped(ray_address, study_videos, tmp_path):
    values = study_values(
        study_videos,
        tmp_path / "runs",
        resources__max_failures=0,
        # An absurd learning rate makes the loss overflow: that stage fails, the scratch trial does not.
        sweep={"cases": [{"name": "lstcl", "pretrain.lr_base": 1e38}, {"name": "scratch", "pretrain": None}]},
    )
    spec = write_spec(tmp_path / "tiny.yaml", values)
    ended = run_cli("launch", spec, "--address", ray_address)
    assert ended.returncode == 1, ended.stderr[-3000:]
    assert "failed: pretrain" in ended.stderr
    assert "FloatingPointError" in ended.stderr
    states = {t.name: t.status for t in tracker_of(tmp_path / "runs").trial_results("tiny")}
    assert states == {"lstcl": "failed", "scratch": "finished"}
    assert list((tmp_path / "runs" / "train").glob("*/a1/error.txt"))
