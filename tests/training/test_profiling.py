"""A trace of the steps that were asked for, and of no others."""

import gzip
import json
from pathlib import Path

import pytest

from lstcl_platform.specs.run import TrackingSpec
from tests.training.stages import Recorder, StageUnderTest, stage_context, trial

STAGE = StageUnderTest("pretrain")


def optimizer_steps(trace: str) -> int:
    events = json.loads(gzip.decompress(Path(trace).read_bytes()))["traceEvents"]
    return sum(event.get("name") == "Optimizer.step#AdamW.step" for event in events)


def test_a_trace_of_the_asked_steps(tmp_path: Path):
    spec = trial(pretraining={"drop_path": 0.0})
    plain, profiled = Recorder(), Recorder()
    expected = STAGE.run(stage_context(tmp_path / "a1", plain), spec=spec)
    result = STAGE.run(stage_context(tmp_path / "a2", profiled, profile_steps=(2, 3)), spec=spec)
    assert profiled.files == [str(tmp_path / "a2" / "trace-2-3.json.gz")]
    assert optimizer_steps(profiled.files[0]) == 2
    assert result.state_digest == expected.state_digest
    assert plain.files == []


@pytest.mark.parametrize(("steps", "names"), [((1, 4), ["trace-4-4.json.gz"]), ((1, 2), [])])
def test_a_resumed_stage_profiles_what_is_left(tmp_path: Path, steps: tuple[int, int], names: list[str]):
    first = STAGE.run(stage_context(tmp_path / "a1", Recorder(stop_after=3)))
    reporter = Recorder()
    context = stage_context(tmp_path / "a2", reporter, resume_from=first.checkpoint, profile_steps=steps)
    STAGE.run(context, start=3)
    assert [Path(file).name for file in reporter.files] == names


def test_steps_are_a_first_and_a_last_one():
    with pytest.raises(ValueError, match=r"a first and a last step, not \[3, 2\]"):
        TrackingSpec(profile_steps=(3, 2))
