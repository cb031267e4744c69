"""Checkpoints written beside training: what is saved is the state at that step, and nothing that fails is lost."""

import pytest
import torch

from lstcl_platform import storage
from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage import objects
from lstcl_platform.training.checkpoint_writer import CheckpointWriter
from lstcl_platform.training.checkpoints import load_checkpoint, newest_good, next_attempt
from tests.helpers.damage import files_of_at_most
from tests.training.stages import Recorder, StageUnderTest, stage_context

PRETRAIN = StageUnderTest("pretrain")


class FillsTheDisk(Recorder):
    """From step `after` on no file can grow beyond a few bytes."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after
        self.full = files_of_at_most(1000)

    def progress(self, step, total, metrics) -> None:
        super().progress(step, total, metrics)
        if step == self._after:
            self.full.__enter__()


def weights(value: float) -> dict[str, object]:
    return {"model": {"w": torch.full((1000,), value)}, "history": [{"loss": value}]}


def test_a_checkpoint_is_the_state_when_it_was_asked_for_and_training_does_not_wait(s3, bucket):
    live = weights(1.0)
    s3.hold.clear()
    try:
        with CheckpointWriter(f"{bucket}/a1", keep=2) as writer:
            writer.save(1, live, about={"step": "one"})
            live["model"]["w"] += 1  # the upload stands still: training goes on
            live["history"].append({"loss": 2.0})
            writer.check()
            assert writer.newest is None
            s3.hold.set()
            writer.save(2, live, about={})
    finally:
        s3.hold.set()
    assert (writer.newest.step, writer.newest.attempt) == (2, 1)
    first = load_checkpoint(f"{bucket}/a1/step-00000001")
    assert torch.equal(first["model"]["w"], torch.full((1000,), 1.0))
    assert first["history"] == [{"loss": 1.0}]
    assert torch.equal(load_checkpoint(writer.newest)["model"]["w"], torch.full((1000,), 2.0))


def test_an_upload_that_is_throttled_is_repeated_and_an_outage_is_told_at_the_next_step(
    s3, bucket, monkeypatch
):
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(objects, "_LONGEST_PAUSE", 0.05)
    writer = CheckpointWriter(f"{bucket}/a1", keep=2)
    s3.throttle = 8
    writer.save(1, weights(1.0), about={})
    writer.wait()
    assert s3.throttle == 0
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.5)
    s3.throttle = 10**6
    try:
        writer.save(2, weights(2.0), about={})
        with pytest.raises(
            StorageError, match=r"step 2 was not saved, that of step 1 is intact: .*step-00000002"
        ):
            writer.wait()
        with pytest.raises(StorageError, match="does not answer"):
            newest_good(bucket)
    finally:
        s3.throttle = 0
    assert newest_good(bucket).step == 1


def test_checkpoints_in_a_bucket_fall_back_by_name_and_are_claimed_once(s3, bucket, caplog):
    with CheckpointWriter(f"{bucket}/a1", keep=2) as writer:
        for step in (1, 2, 3):
            writer.save(step, weights(step), about={})
    assert storage.list_names(f"{bucket}/a1") == ["step-00000002", "step-00000003"]
    storage.write_bytes(f"{bucket}/a1/step-00000003/state.pt", b"damaged")
    told: list[str] = []
    assert newest_good(bucket, on_damage=told.append).step == 2
    assert len(told) == 1
    assert "a1/step-00000003" in told[0]
    assert [next_attempt(bucket), next_attempt(bucket)] == [2, 3]


def test_a_full_disk_stops_the_stage_and_after_space_is_made_it_goes_on_as_if_nothing_had_been(tmp_path):
    whole = PRETRAIN.run(stage_context(tmp_path / "whole" / "a1", Recorder()))
    reporter = FillsTheDisk(after=3)
    try:
        with pytest.raises(
            StorageError, match=r"step [34] was not saved, that of step [23] is intact: .*make space"
        ):
            PRETRAIN.run(stage_context(tmp_path / "stage" / "a1", reporter))
    finally:
        reporter.full.__exit__(None, None, None)
    assert reporter.steps[-1] < 6
    left = newest_good(str(tmp_path / "stage"))
    assert left.step in (2, 3)  # that of step 3 may still have been under way
    assert not list((tmp_path / "stage").rglob("*.partial"))
    context = stage_context(tmp_path / "stage" / "a2", Recorder(), resume_from=left.uri)
    assert PRETRAIN.run(context, start=left.step).state_digest == whole.state_digest
