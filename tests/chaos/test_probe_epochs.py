"""A pretraining that is probed on its way and killed between two probes: nothing twice, and the bits of a whole one."""

from pathlib import Path

import pytest

from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.study import Launched, checkpoints, make_study_videos, run_cli, study_values, write_spec

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def study(videos: Path, storage: Path, *epochs: int) -> dict:
    return study_values(
        videos,
        storage,
        evaluate={"protocols": ["knn", "linear"], "clips": 1, "probe_epochs": list(epochs)},
        pretrain__epochs=5,
        tracking__log_every_steps=3,  # no divisor of a part's steps: rows must not show where a part was
    )


class Store:
    """What a store holds of the study."""

    def __init__(self, storage: Path) -> None:
        self.tracker = Tracker(f"sqlite:///{storage}/mlflow.db", artifact_location=str(storage / "artifacts"))
        (self.trial,) = self.tracker.trial_results("tiny")

    def keys(self) -> dict[tuple[str, int | None], str]:
        """Of what has begun."""
        return {(stage.kind, stage.epoch): stage.key for stage in self.trial.stages if stage.attempt}

    def outcome(self) -> dict:
        """Keys, digests and metrics at the end, but for times."""
        pretrain, probe = self.keys()["pretrain", 5], self.keys()["probe", 5]
        found = self.tracker.finished([pretrain, probe])
        trained, tested = found[pretrain], found[probe]
        return {
            "keys": (pretrain, probe),
            "digests": (trained.weights_sha256, trained.state_digest),
            "curves": self.tracker.stage_curves(
                trained.run_id, ["loss", "lr", "grad_norm", "retrieval_top1"]
            ),
            "scores": {name: value for name, value in tested.metrics.items() if "top" in name},
        }


def attempts(storage: Path) -> dict[str, int]:
    return {stage.name: len(list(stage.glob("a*"))) for stage in (storage / "train").iterdir()}


def test_killed_between_two_probes_it_ends_with_the_bits_of_an_unprobed_pretraining(tmp_path):
    videos = make_study_videos(tmp_path / "videos")
    probed, plain = tmp_path / "probed", tmp_path / "plain"
    spec = write_spec(tmp_path / "probed.yaml", study(videos, probed, 1, 3))
    launched = Launched("launch", spec, log=tmp_path / "first.log")
    try:
        # Two steps are an epoch: step 4 lies within the second part.
        launched.wait_for(lambda: any(path.name == "step-00000004" for path in checkpoints(probed)))
        launched.kill()
    finally:
        launched.close()
    first = Store(probed)
    part = first.keys()["pretrain", 1]
    digest, before = first.tracker.finished([part])[part].weights_sha256, attempts(probed)
    again = run_cli("launch", spec)
    assert again.returncode == 0, again.stderr[-3000:]
    store = Store(probed)
    assert store.tracker.finished([part])[part].weights_sha256 == digest
    assert attempts(probed)[part] == before[part] == 1
    assert list(store.trial.probes) == [1, 3, 5]

    unprobed = write_spec(tmp_path / "plain.yaml", study(videos, plain))
    assert run_cli("launch", unprobed).returncode == 0
    assert store.outcome() == Store(plain).outcome()
    third = run_cli("launch", spec)
    assert "0 stages ran, 6 were done before, 0 failed." in third.stderr
    for command in ("status", "compare"):
        assert "linear_top1 of frozen features" in run_cli(command, "tiny", "--storage", probed).stdout
