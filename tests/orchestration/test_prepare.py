from dataclasses import replace

import pytest

from lstcl_platform.orchestration.prepare import prepare_data
from lstcl_platform.orchestration.progress import SilentView
from lstcl_platform.specs import expand
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.loading import parse_experiment


def trials(folder, **synthetic):
    values = {
        "name": "study",
        "data": {
            "train": "train",
            "val": "val",
            "synthesize": {"train_videos": 6, "val_videos": 6, "side": 16, "seconds": 2.0, **synthetic},
        },
        "model": {"frames": 2},
        "pretrain": {"clips": {"short_stride": 1, "long_stride": 2}, "batch_size": 2},
        "finetune": {"batch_size": 2},
    }
    return expand(parse_experiment(values, origin="test", folder=folder)).trials


def test_a_set_rendered_from_other_settings_is_refused_and_not_silently_reused(tmp_path):
    storage = tmp_path / "runs"
    first = prepare_data(trials(tmp_path), storage=storage, view=SilentView())
    again = prepare_data(trials(tmp_path), storage=storage, view=SilentView())
    assert [data.manifest.digest for data in first.values()] == [
        data.manifest.digest for data in again.values()
    ]
    with pytest.raises(UserError):
        prepare_data(trials(tmp_path, seed=1), storage=storage, view=SilentView())


def test_a_batch_that_the_videos_cannot_fill_is_refused(tmp_path):
    (trial,) = trials(tmp_path)
    large = trial.spec.finetune.model_copy(update={"batch_size": 7})
    larger = replace(trial, spec=trial.spec.model_copy(update={"finetune": large}))
    with pytest.raises(UserError, match=r"finetune\.batch_size is 7, but .*train has only 6 videos for it"):
        prepare_data([larger], storage=tmp_path / "runs", view=SilentView())
