from collections.abc import Callable, Mapping
from typing import Any

import pytest

from lstcl_platform.tracking.records import TrialResult

MakeTrial = Callable[..., TrialResult]


@pytest.fixture
def make_trial() -> MakeTrial:
    def make(
        name: str,
        cell: Mapping[str, Any],
        *,
        experiment: str = "study",
        status: str = "finished",
        **metrics: float,
    ) -> TrialResult:
        return TrialResult(
            experiment=experiment, name=name, run_id=name, cell=cell, metrics=metrics, status=status
        )

    return make


@pytest.fixture
def stride_trials(make_trial: MakeTrial) -> list[TrialResult]:
    """Two strides and training from scratch, three seeds each; one trial still runs."""
    trials = []
    for seed in range(3):
        for long, top1 in ((8, 0.60), (32, 0.70)):
            cell = {
                "pretrain.clips.short_stride": 8,
                "pretrain.clips.long_stride": long,
                "pretrain.seed": seed,
            }
            status = "running" if (long, seed) == (8, 2) else "finished"
            metrics = {"top1": top1 + 0.01 * seed, "loss": 2 - top1} if status == "finished" else {}
            trials.append(make_trial(f"short=8 long={long} seed={seed}", cell, status=status, **metrics))
        trials.append(
            make_trial(f"scratch seed={seed}", {"pretrain": None, "finetune.seed": seed}, top1=0.5, loss=1.8)
        )
    return trials
