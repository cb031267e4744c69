"""Exact resume: a launch that is killed twice and launched again ends bit for bit where an uninterrupted one ends.

The first kill falls in the middle of an epoch of the pretraining; the second falls between writing a checkpoint of the
finetuning and reporting it: the launcher is stopped (SIGSTOP) so that it cannot record anything, and killed once the
checkpoint is complete.
"""

import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.study import Launched, checkpoints, make_study_videos, run_cli, study_values, write_spec

pytestmark = [pytest.mark.kills, pytest.mark.timeout(1800)]

EVERY = 2


def study(videos: Path, storage: Path, *, workers: int) -> dict:
    return study_values(
        videos,
        storage,
        pretrain__epochs=5,
        pretrain__batch_size=4,
        finetune__epochs=5,
        finetune__drop_path=0.3,
        finetune__head_dropout=0.3,
        checkpoint__every_steps=EVERY,
        resources__workers=workers,
    )


class Store:
    """What a store says of the study's stages."""

    def __init__(self, storage: Path) -> None:
        uri = f"sqlite:///{storage}/mlflow.db"
        self._tracker = Tracker(uri, artifact_location=str(storage / "artifacts"))
        self._client = MlflowClient(uri)
        (trial,) = self._tracker.trial_results("tiny")
        self.stages = {state.kind: state for state in trial.stages}
        self.top1 = trial.metrics.get("top1")

    def losses(self, kind: str) -> dict[int, float]:
        history = self._client.get_metric_history(self.stages[kind].run_id, "loss")
        assert len({point.step for point in history}) == len(history), "a step was logged twice"
        return {point.step: point.value for point in history}

    def digests(self, kind: str) -> tuple[str | None, str | None]:
        key = self.stages[kind].key
        stage = self._tracker.finished([key])[key]
        return stage.state_digest, stage.weights_sha256


def stage_folder(storage: Path, step: int, kind_of: set[str]) -> Path | None:
    """Folder of the stage, not in `kind_of`, that has a complete checkpoint of at least `step`."""
    for path in checkpoints(storage):
        stage = path.parent.parent
        if stage.name not in kind_of and int(path.name.removeprefix("step-")) >= step:
            return stage
    return None


def resumed_steps(log: str) -> list[int]:
    return [
        int(line.split("goes on from step ")[1].split()[0])
        for line in log.splitlines()
        if "goes on from" in line
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_twice_equals_uninterrupted_in_every_loss_and_every_bit(workers, tmp_path):
    videos = make_study_videos(tmp_path / "videos", train=12)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    uninterrupted = run_cli(
        "launch", write_spec(tmp_path / "whole.yaml", study(videos, whole, workers=workers))
    )
    assert uninterrupted.returncode == 0, uninterrupted.stderr[-3000:]

    spec = write_spec(tmp_path / "broken.yaml", study(videos, broken, workers=workers))
    first = Launched("launch", spec, log=tmp_path / "first.log")
    try:
        # 3 steps an epoch: the checkpoint of step 4 lies inside the second epoch.
        pretrain = first.wait_for(lambda: stage_folder(broken, 4, set()))
        first.kill()
    finally:
        first.close()

    second = Launched("launch", spec, log=tmp_path / "second.log")
    try:
        second.wait_for(lambda: "finetune" in second.log.read_text(), poll=0.005)
        second.signal(signal.SIGSTOP)
        finetune = second.wait_for(lambda: stage_folder(broken, 4, {pretrain.name}), poll=0.005)
        second.kill()
    finally:
        second.close()
    (went_on,) = resumed_steps(second.log.read_text())
    killed_at = max(int(path.name.removeprefix("step-")) for path in checkpoints(broken, pretrain.name))
    assert went_on >= 4
    assert killed_at >= went_on

    third = run_cli("launch", spec)
    assert third.returncode == 0, third.stderr[-3000:]
    assert "2 stages ran, 1 were done before, 0 failed." in third.stderr
    (went_on,) = resumed_steps(third.stderr)
    assert went_on >= 4
    assert len(list(finetune.glob("a*"))) == 2, "the finetuning had two attempts"
    assert len(list(pretrain.glob("a*"))) == 2, "the finished pretraining was not touched again"

    ours, theirs = Store(broken), Store(whole)
    for kind in ("pretrain", "finetune"):
        assert ours.losses(kind) == theirs.losses(kind)
        assert ours.digests(kind) == theirs.digests(kind)
    assert ours.top1 == theirs.top1


def test_interrupting_writes_a_checkpoint_says_how_to_go_on_and_exits_130(tmp_path):
    videos = make_study_videos(tmp_path / "videos")
    # No checkpoint falls due before the end: the one that is there was written because of the signal.
    values = study_values(
        videos,
        tmp_path / "runs",
        pretrain__epochs=400,
        pretrain__warmup_epochs=1,
        checkpoint__every_steps=10_000,
    )
    spec = write_spec(tmp_path / "tiny.yaml", values)
    launched = Launched("launch", spec, log=tmp_path / "log")
    try:
        launched.wait_for(lambda: "running" in launched.log.read_text())
        launched.signal(signal.SIGINT)
        assert launched.finish() == 130, launched.log.read_text()[-3000:]
    finally:
        launched.close()
    text = launched.log.read_text()
    assert f"go on with: lstcl-platform launch {spec}" in text
    assert "Traceback" not in text
    (checkpoint,) = checkpoints(tmp_path / "runs")
    assert int(checkpoint.name.removeprefix("step-")) > 0
    tracker = Tracker(f"sqlite:///{tmp_path}/runs/mlflow.db", artifact_location=None)
    (trial,) = tracker.trial_results("tiny")
    assert trial.status == "interrupted"
    assert trial.stages[0].status == "interrupted"
