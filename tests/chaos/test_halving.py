"""Successive halving whose launcher is killed between the rungs, or runs twice at once: the same cells go on."""

import json
import re
from pathlib import Path

import pytest

from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.study import Launched, make_study_videos, run_cli, study_values, write_spec

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

RATES = [1e-6, 1e-3, 1e-2, 1e-1]


def study(videos: Path, storage: Path, *, rates: list[float], **sweep) -> dict:
    return study_values(
        videos,
        storage,
        pretrain=None,
        finetune__epochs=3,
        finetune__drop_path=0.3,
        finetune__head_dropout=0.3,
        tracking__log_every_steps=3,  # no divisor of a rung's steps: rows must not show where a rung was
        sweep={"grid": {"finetune.lr_base": rates}, **sweep},
    )


class Store:
    """What a store holds of the study."""

    def __init__(self, storage: Path) -> None:
        self.tracker = Tracker(f"sqlite:///{storage}/mlflow.db", artifact_location=str(storage / "artifacts"))
        self.trials = {trial.name: trial for trial in self.tracker.trial_results("tiny")}

    def outcome(self, name: str) -> dict:
        """Digests and metrics of a trial's finetuning to the end and of its test, but for times."""
        stages = self.trials[name].final_stages
        keys = [stages["finetune"].key, stages["evaluate"].key]
        trained, tested = map(self.tracker.finished(keys).get, keys)
        curves = self.tracker.stage_curves(trained.run_id, ["loss", "lr", "train_top1", "grad_norm"])
        scores = {name: tested.metrics[name] for name in ("top1", "top5", "videos")}
        return {
            "keys": keys,
            "weights": trained.weights_sha256,
            "state": trained.state_digest,
            "curves": curves,
            "scores": scores,
        }


def decisions(storage: Path) -> dict[str, list[dict]]:
    files = sorted((storage / "halving" / "tiny").glob("epoch-*.json"))
    return {path.name: json.loads(path.read_text())["standings"] for path in files}


def attempts(storage: Path) -> dict[str, int]:
    return {stage.name: len(list(stage.glob("a*"))) for stage in (storage / "train").iterdir()}


def test_killed_between_the_rungs_the_same_cells_go_on_to_the_bits_of_a_whole_finetuning(tmp_path):
    videos = make_study_videos(tmp_path / "videos")
    halved, whole = tmp_path / "halved", tmp_path / "whole"
    rule = {"after_epochs": [1, 2], "keep": 0.5}
    spec = write_spec(tmp_path / "halved.yaml", study(videos, halved, rates=RATES, halving=rule))
    launched = Launched("launch", spec, log=tmp_path / "first.log")
    try:
        launched.wait_for(lambda: decisions(halved))
        launched.kill()
    finally:
        launched.close()
    first, before = decisions(halved), attempts(halved)
    assert len(first) == 1
    again = run_cli("launch", spec)
    assert again.returncode == 0, again.stderr[-3000:]
    both = decisions(halved)
    assert {name: both[name] for name in first} == first
    assert [len(standings) for standings in both.values()] == [4, 2]

    store = Store(halved)
    (survivor,) = (name for name, trial in store.trials.items() if trial.status == "finished")
    stopped = [trial for trial in store.trials.values() if trial.status == "stopped"]
    assert sorted(trial.standing.epoch for trial in stopped) == [1, 1, 2]
    assert {trial.name for trial in stopped} | {survivor} == set(store.trials)
    done = {
        stage.key for trial in store.trials.values() for stage in trial.stages if stage.status == "finished"
    }
    assert len(done) == 2 * (4 + 2 + 1)
    # What was finished when the launcher was killed was not run again: no attempt more.
    early = {key for trial in store.trials.values() for key in [stage.key for stage in trial.stages[:2]]}
    assert {key: count for key, count in attempts(halved).items() if key in early} == {
        key: count for key, count in before.items() if key in early
    }

    rate = store.trials[survivor].cell["finetune.lr_base"]
    plain = write_spec(tmp_path / "whole.yaml", study(videos, whole, rates=[rate]))
    uninterrupted = run_cli("launch", plain)
    assert uninterrupted.returncode == 0, uninterrupted.stderr[-3000:]
    assert store.outcome(survivor) == Store(whole).outcome(survivor)

    third = run_cli("launch", spec)
    assert third.returncode == 0, third.stderr[-3000:]
    assert "0 stages ran, 14 were done before, 0 failed. 10 were left out" in third.stderr
    assert decisions(halved) == both
    for text in (third.stdout, run_cli("status", "tiny", "--storage", halved).stdout):
        assert text.count("stopped after epoch 1: val_top1") == 2
        assert text.count("stopped after epoch 2: val_top1") == 1
    assert "chose cells by val_top1" in third.stdout


def test_two_launches_at_once_run_each_stage_once_and_agree(tmp_path):
    """Each with a cluster of its own, as two people would start them."""
    videos, storage = make_study_videos(tmp_path / "videos"), tmp_path / "runs"
    rule = {"after_epochs": [1, 2], "keep": 0.5}
    spec = write_spec(tmp_path / "tiny.yaml", study(videos, storage, rates=RATES, halving=rule))
    both = [Launched("launch", spec, log=tmp_path / f"{name}.log") for name in ("first", "second")]
    try:
        codes = [launched.finish(timeout=1800) for launched in both]
    finally:
        for launched in both:
            launched.close()
    texts = [launched.log.read_text() for launched in both]
    assert codes == [0, 0], "\n".join(text[-3000:] for text in texts)
    assert any("waiting for its result" in text for text in texts), "the launches have met"

    standings = decisions(storage)
    assert [len(ranked) for ranked in standings.values()] == [4, 2]
    assert set(attempts(storage).values()) == {1}
    store = Store(storage)
    assert sorted(trial.status for trial in store.trials.values()) == ["finished", *["stopped"] * 3]
    runs = store.tracker._client.search_runs(
        [store.tracker._client.get_experiment_by_name("lstcl-stages").experiment_id]
    )
    keys = [run.data.tags["lstcl.stage_key"] for run in runs]
    assert len(keys) == len(set(keys)) == len(attempts(storage)) == 2 * (4 + 2 + 1)
    for text in texts:
        assert text.count("after epoch 1, 2 of 4 cells go on") == 1
        assert text.count("after epoch 2, 1 of 2 cells go on") == 1
    told = [[line[9:] for line in text.splitlines() if "cells go on by" in line] for text in texts]
    assert told[0] == told[1]
    ran = [int(re.findall(r"(\d+) stages? ran, ", text)[0]) for text in texts]
    print(f"stages that each launch ran: {ran}")
    assert sum(ran) == len(keys)
