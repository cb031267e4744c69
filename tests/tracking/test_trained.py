"""Finding weights by name; `tests/cli/test_export.py` has the ways to name a run."""

import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import EvaluateSpec
from lstcl_platform.tracking.tracker import Tracker
from tests.tracking.conftest import make_stage


def finished(tracker: Tracker, name: str, **tags: str):
    stage = make_stage(
        name,
        model={"name": "swin_tiny", "frames": 4, "image_size": 64, "init": {"kind": "native"}},
        data={"manifest": "m", "target_fps": 25.0, "short_videos": "clamp"},
    )
    run = tracker.begin_stage(stage, attempt=1, attempt_dir="a1", fingerprint={})
    tracker.finish_stage(run, metrics={}, **tags)
    return run


def test_the_model_comes_from_the_stage_without_what_it_started_from(tracker):
    run = finished(tracker, "trained", weights="s3://b/w.safetensors", weights_digest="ab")
    found = tracker.trained_weights(run.key[:12])
    assert (found.weights, found.sha256, found.spec.kind) == ("s3://b/w.safetensors", "ab", "pretrain")
    assert (found.spec.target_fps, found.spec.classes, found.spec.evaluate) == (
        25.0,
        None,
        EvaluateSpec(stride=8),
    )
    assert found.spec.model == ModelSpec(name="swin_tiny", frames=4, image_size=64)


def test_digits_that_several_stages_begin_with_are_refused(tracker):
    keys = [finished(tracker, f"trained {number}", weights="w").key for number in range(17)]
    first = next(key[0] for key in keys if sum(other[0] == key[0] for other in keys) > 1)
    with pytest.raises(UserError, match="stages begin so"):
        tracker._newest(first, asked=first)


def test_a_stage_without_weights_has_none(tracker):
    run = finished(tracker, "without")
    with pytest.raises(UserError, match="has no weights yet"):
        tracker.trained_weights(run.run_id)
