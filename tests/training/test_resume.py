"""A stage that stops, or dies, and goes on ends bit for bit where the uninterrupted one ends."""

import logging
from pathlib import Path

import pytest
import torch

from lstcl_platform import storage
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.training.checkpoints import load_checkpoint, newest_good
from tests.training.stages import STEPS_PER_EPOCH, TOTAL, Recorder, StageUnderTest, stage_context

STAGES = [StageUnderTest("pretrain"), StageUnderTest("finetune")]
TIMING = {"step_seconds", "samples_per_second", "data_wait", "data_wait_seconds", "decode_cores", "tflops"}


def numbers(rows) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]


@pytest.fixture(scope="module", params=STAGES, ids=lambda stage: stage.name)
def stage(request):
    return request.param


@pytest.fixture(scope="module")
def whole(stage, tmp_path_factory):
    """The uninterrupted run: its result, its rows, and the loss of every step."""
    reporter = Recorder()
    result = stage.run(stage_context(tmp_path_factory.mktemp("whole") / "a1", reporter))
    assert [row["step"] for row in reporter.rows] == list(range(1, TOTAL + 1))
    return result, numbers(reporter.rows)


@pytest.mark.parametrize("stop_after", [1, 3, TOTAL - 1])
def test_stopped_and_resumed_equals_uninterrupted(stage, whole, tmp_path: Path, stop_after: int):
    first = stage.run(stage_context(tmp_path / "a1", Recorder(stop_after=stop_after)))
    assert (first.status, first.steps) == ("stopped", stop_after)
    assert first.weights is None
    reporter = Recorder()
    context = stage_context(tmp_path / "a2", reporter, resume_from=first.checkpoint)
    second = stage.run(context, start=stop_after)
    expected, rows = whole
    assert numbers(reporter.rows) == rows
    assert second.state_digest == expected.state_digest
    assert second.weights_digest == expected.weights_digest
    assert numbers([second.metrics]) == numbers([expected.metrics])
    assert second.numerics_changes == ()


@pytest.mark.parametrize("log_every_steps", [1, 2])
def test_a_training_that_goes_on_from_a_part_equals_one_in_one_go(
    stage, tmp_path: Path, log_every_steps: int
):
    """The part is a stage that ends well after one epoch of the whole schedule, inside an interval of rows."""
    fields = {"log_every_steps": log_every_steps}
    in_one_go = Recorder()
    whole = stage.run(stage_context(tmp_path / "whole" / "a1", in_one_go, **fields))
    at_rung = Recorder()
    context = stage_context(tmp_path / "rung" / "a1", at_rung, end_step=STEPS_PER_EPOCH, **fields)
    rung = stage.run(context)
    assert (rung.status, rung.steps) == ("finished", STEPS_PER_EPOCH)
    assert numbers(at_rung.rows) == numbers(in_one_go.rows)[: STEPS_PER_EPOCH // log_every_steps]
    assert Path(rung.weights).exists()
    reporter = Recorder()
    context = stage_context(tmp_path / "end" / "a1", reporter, resume_from=rung.checkpoint, **fields)
    end = stage.run(context, start=STEPS_PER_EPOCH)
    assert (end.weights_digest, end.state_digest) == (whole.weights_digest, whole.state_digest)
    assert numbers(reporter.rows) == numbers(in_one_go.rows)
    assert rung.weights_digest != end.weights_digest


def test_nothing_of_an_interrupted_interval_is_lost(stage, whole, tmp_path: Path):
    """Rows of several steps: what is logged of an interval does not depend on a stop inside it."""
    checkpoint = CheckpointSpec(every_steps=100, keep=2)
    stopped = Recorder(stop_after=3)
    first = stage.run(stage_context(tmp_path / "a1", stopped, log_every_steps=4, checkpoint=checkpoint))
    assert stopped.rows == []
    reporter = Recorder()
    context = stage_context(tmp_path / "a2", reporter, log_every_steps=4, resume_from=first.checkpoint)
    stage.run(context, start=3)
    _, rows = whole
    assert [row["step"] for row in reporter.rows] == [4, TOTAL]
    assert reporter.rows[0]["loss"] == pytest.approx(sum(row["loss"] for row in rows[:4]) / 4, rel=1e-12)
    assert reporter.rows[1]["loss"] == pytest.approx(sum(row["loss"] for row in rows[4:]) / 2, rel=1e-12)
    ratios = [row["frames_decoded_per_used"] for row in rows]
    assert len(set(ratios)) == TOTAL
    assert reporter.rows[0]["frames_decoded_per_used"] == pytest.approx(sum(ratios[:4]) / 4, rel=1e-12)


def test_killed_between_checkpoints_resumes_from_the_last_one(stage, whole, tmp_path: Path):
    def dying(batches, *, after: int):
        for number, batch in enumerate(batches):
            if number == after:
                raise KeyboardInterrupt
            yield batch

    context = stage_context(tmp_path / "a1", Recorder(), checkpoint=CheckpointSpec(every_steps=2, keep=2))
    with pytest.MonkeyPatch.context() as patch:
        module = "tests.training.stages"
        for name in ("pretrain_batches", "finetune_batches"):
            source = getattr(__import__(module, fromlist=[name]), name)
            patch.setattr(f"{module}.{name}", lambda *a, _s=source, **k: dying(_s(*a, **k), after=5))
        with pytest.raises(KeyboardInterrupt):
            stage.run(context)
    ref = newest_good(str(tmp_path))
    assert ref is not None
    assert ref.step == 4
    second = stage.run(stage_context(tmp_path / "a2", Recorder(), resume_from=ref.uri), start=4)
    assert second.state_digest == whole[0].state_digest


def test_a_damaged_newest_checkpoint_costs_steps_not_the_result(stage, whole, tmp_path: Path, caplog):
    first = stage.run(stage_context(tmp_path / "a1", Recorder(stop_after=4)))
    file = Path(first.checkpoint) / "state.pt"
    file.write_bytes(file.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        ref = newest_good(str(tmp_path))
    assert ref is not None
    assert ref.step == 3
    assert first.checkpoint in caplog.text
    second = stage.run(stage_context(tmp_path / "a2", Recorder(), resume_from=ref.uri), start=3)
    assert second.state_digest == whole[0].state_digest


def test_going_on_after_the_last_step_gives_the_same_result(stage, whole, tmp_path: Path):
    """The stage finished but its result was never recorded."""
    first = stage.run(stage_context(tmp_path / "a1", Recorder()))
    second = stage.run(stage_context(tmp_path / "a2", Recorder(), resume_from=first.checkpoint), start=TOTAL)
    assert (second.status, second.steps) == ("finished", TOTAL)
    assert second.state_digest == first.state_digest == whole[0].state_digest
    assert second.weights_digest == first.weights_digest
    assert storage.exists(second.weights)
    assert second.metrics == first.metrics


def test_time_makes_checkpoints_due_too(stage, tmp_path: Path):
    hasty = CheckpointSpec(every_steps=100, every_minutes=1e-9, keep=TOTAL)
    stage.run(stage_context(tmp_path / "a1", Recorder(stop_after=5), checkpoint=hasty, log_every_steps=2))
    steps = [name for name in storage.list_names(str(tmp_path / "a1")) if name.startswith("step-")]
    assert steps == ["step-00000002", "step-00000004", "step-00000005"], "with each row, and at the stop"
    calm = CheckpointSpec(every_steps=100, every_minutes=1000)
    stage.run(stage_context(tmp_path / "calm" / "a1", Recorder(stop_after=5), checkpoint=calm))
    assert storage.list_names(str(tmp_path / "calm" / "a1")) == ["step-00000005"]


def test_only_the_last_checkpoint_stays(stage, tmp_path: Path):
    first = stage.run(stage_context(tmp_path / "a1", Recorder(stop_after=4)))
    assert storage.list_names(str(tmp_path / "a1")) == ["step-00000003", "step-00000004"]
    second = stage.run(stage_context(tmp_path / "a2", Recorder(), resume_from=first.checkpoint), start=4)
    assert storage.list_names(str(tmp_path / "a1")) == []
    assert storage.list_names(str(tmp_path / "a2")) == ["final", f"step-{TOTAL:08d}"]
    assert load_checkpoint(second.checkpoint)["step"] == TOTAL


def test_other_numerics_are_refused_unless_allowed(stage, tmp_path: Path):
    first = stage.run(stage_context(tmp_path / "a1", Recorder(stop_after=4)))
    change = "float32_matmul: highest -> high"
    torch.set_float32_matmul_precision("high")
    try:
        context = stage_context(tmp_path / "a2", Recorder(), resume_from=first.checkpoint)
        with pytest.raises(UserError, match=change):
            stage.run(context, start=4)
        allowed = stage_context(
            tmp_path / "a2", Recorder(), resume_from=first.checkpoint, allow_numerics_change=True
        )
        result = stage.run(allowed, start=4)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert result.status == "finished"
    assert result.numerics_changes == (change,)


def test_a_checkpoint_holds_no_code(stage, tmp_path: Path):
    first = stage.run(stage_context(tmp_path / "a1", Recorder(stop_after=2)))
    state = torch.load(Path(first.checkpoint) / "state.pt", weights_only=True)
    assert {"model", "optimizer", "scaler", "rng", "history", "step"} == set(state)


def test_draws_within_a_step_are_its_own(stage, whole, tmp_path: Path):
    """Whatever else draws random numbers in the process changes nothing, and no step repeats another's draws."""

    class Drawing(Recorder):
        def should_stop(self, step: int) -> bool:
            torch.rand(5)
            return super().should_stop(step)

    result = stage.run(stage_context(tmp_path / "a1", Drawing(stop_after=TOTAL - 1)))
    before, after = (
        load_checkpoint(str(tmp_path / "a1" / f"step-{step:08d}"))["rng"]["cpu"]
        for step in (TOTAL - 2, TOTAL - 1)
    )
    assert not torch.equal(before, after)
    second = stage.run(
        stage_context(tmp_path / "a2", Recorder(), resume_from=result.checkpoint), start=TOTAL - 1
    )
    assert second.weights_digest == whole[0].weights_digest
