import math

import pytest

from lstcl_platform.results.compare import compare_trials
from lstcl_platform.specs import UserError
from lstcl_platform.tracking.records import TrialResult
from tests.results.conftest import MakeTrial


def test_cells_are_grouped_by_everything_but_seeds(stride_trials: list[TrialResult]) -> None:
    cells = compare_trials(stride_trials).cells
    assert [cell.name for cell in cells] == ["short=8 long=8", "short=8 long=32", "scratch"]
    assert cells[2].cell == {"pretrain": None}
    assert [cell.finished for cell in cells] == [2, 3, 3]
    assert cells[0].statuses == ("finished", "finished", "running")


def test_mean_and_sample_deviation_over_seeds(stride_trials: list[TrialResult]) -> None:
    top1 = compare_trials(stride_trials).cells[1].metrics["top1"]
    assert top1.values == pytest.approx((0.70, 0.71, 0.72))
    assert (top1.mean, top1.sd) == pytest.approx((0.71, 0.01))


def test_one_seed_has_no_deviation(make_trial: MakeTrial) -> None:
    cell = compare_trials([make_trial("seed=0", {"seed": 0}, top1=0.5)]).cells[0]
    assert (cell.name, cell.metrics["top1"].sd) == ("all settings as given", None)


def test_best_is_highest_accuracy_or_lowest_loss_of_each_experiment(make_trial: MakeTrial) -> None:
    trials = [
        make_trial("a", {"x": 1}, experiment="one", top1=0.5, loss=1.0),
        make_trial("b", {"x": 2}, experiment="one", top1=0.6, loss=2.0),
        make_trial("c", {"x": 3}, experiment="one", top1=math.nan, loss=math.nan),
        make_trial("a", {"x": 1}, experiment="two", top1=0.1, loss=9.0),
    ]
    assert [cell.name for cell in compare_trials(trials).cells if cell.best] == ["b", "a"]
    best = [(c.experiment, c.name) for c in compare_trials(trials, metric="loss").cells if c.best]
    assert best == [("one", "a"), ("two", "a")]


def test_nothing_stands_out_where_all_are_equal_or_alone(make_trial: MakeTrial) -> None:
    tie = [make_trial(name, {"x": name}, experiment="tie", top1=0.5) for name in "ab"]
    lead = [make_trial(name, {"x": name}, experiment="lead", top1=0.5 + (name == "b") / 4) for name in "ab"]
    none = [make_trial(name, {"x": name}, experiment="none", status="running") for name in "ab"]
    alone = [make_trial("a", {"x": "a"}, experiment="alone", top1=0.5)]
    comparison = compare_trials([*tie, *lead, *none, *alone])
    marked = [(cell.experiment, cell.name) for cell in comparison.cells if comparison.stands_out(cell)]
    assert marked == [("lead", "b")]


def test_metrics_of_unfinished_trials_do_not_count(make_trial: MakeTrial) -> None:
    trials = [make_trial("a", {"x": 1}, top1=0.5), make_trial("b", {"x": 2}, status="failed", top1=0.9)]
    cells = compare_trials(trials).cells
    assert [cell.best for cell in cells] == [True, False]
    assert cells[1].metrics == {}


def test_unknown_metric_names_the_known(stride_trials: list[TrialResult]) -> None:
    with pytest.raises(UserError, match="--metric top2: no finished trial has it; there are: loss, top1"):
        compare_trials(stride_trials, metric="top2")


def test_frozen_features_decide_where_nothing_is_finetuned(make_trial: MakeTrial) -> None:
    trials = [make_trial("a", {"x": 1}, knn_top1=0.5), make_trial("b", {"x": 2}, knn_top1=0.6)]
    comparison = compare_trials(trials)
    assert comparison.metric == "knn_top1"
    assert [cell.best for cell in comparison.cells] == [False, True]
    assert compare_trials([make_trial("a", {"x": 1}, status="running")]).metric == "top1"


def test_only_baselines_of_a_launch_are_kept(stride_trials: list[TrialResult]) -> None:
    metrics = {"study": {"baseline_majority": 0.24, "hours": 3.0}}
    assert compare_trials(stride_trials, launch_metrics=metrics).baselines == {
        "study": {"baseline_majority": 0.24}
    }
