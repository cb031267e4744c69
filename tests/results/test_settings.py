"""Settings behind compared cells: differences, filters, order."""

import pytest

from lstcl_platform.results.compare import compare_trials
from lstcl_platform.results.settings import differences, filtered, ordered, with_settings
from lstcl_platform.specs import UserError, expand, parse_experiment
from lstcl_platform.tracking.records import TrialResult


def experiment(name, **pretrain):
    fields = {
        "name": name,
        "data": {"train": "/train", "val": "/val"},
        "pretrain": pretrain,
        "sweep": {"grid": {"pretrain.clips.long_stride": [8, 32], "finetune.seed": [0, 1]}},
    }
    return parse_experiment(fields, origin="test")


@pytest.fixture
def comparison():
    specs = {spec.name: spec for spec in (experiment("a"), experiment("b", epochs=100))}
    trials = [
        TrialResult(
            experiment=trial.experiment,
            name=trial.name,
            run_id=trial.name,
            cell=trial.cell,
            metrics={"top1": 0.5 + trial.cell["pretrain.clips.long_stride"] / 100, "loss": 1.0},
            status="finished",
        )
        for spec in specs.values()
        for trial in expand(spec).trials
    ]
    return with_settings(compare_trials(trials), specs)


def names(comparison):
    return [(cell.experiment, cell.name) for cell in comparison.cells]


def test_only_what_no_sweep_shows_is_a_difference(comparison):
    (found,) = differences(comparison)
    assert (found.field, found.values) == ("pretrain.epochs", {"a": ("200",), "b": ("100",)})


def test_cells_are_chosen_by_swept_and_by_common_settings(comparison):
    assert names(filtered(comparison, ["long_stride=8"])) == [("a", "long=8"), ("b", "long=8")]
    chosen = filtered(comparison, ["pretrain.epochs=100", "clips.long_stride=32"])
    assert names(chosen) == [("b", "long=32")]
    assert [cell.best for cell in filtered(comparison, ["long_stride=8"]).cells] == [True, True], (
        "of those shown"
    )


def test_cells_are_ordered_within_their_experiment(comparison):
    best_first = [("a", "long=32"), ("a", "long=8"), ("b", "long=32"), ("b", "long=8")]
    assert names(ordered(comparison, "top1")) == best_first
    assert names(ordered(comparison, "long_stride")) == names(comparison)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("long_stride", "write FIELD=VALUE"),
        ("longstride=8", "no cell has 'longstride'; swept are: finetune.seed, pretrain.clips.long_stride"),
        ("long_stride=9", "no cell left; long_stride is one of: 32, 8"),
    ],
)
def test_a_condition_that_fits_nothing_says_what_there_is(comparison, condition, message):
    with pytest.raises(UserError, match=message.replace("swept are: finetune.seed, ", "swept are: ")):
        filtered(comparison, [condition])


def test_an_unknown_order_says_what_there_is(comparison):
    with pytest.raises(UserError, match="--sort top2: no such metric or setting; there are: loss, top1"):
        ordered(comparison, "top2")
