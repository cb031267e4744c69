"""Predicted time of stages beside what they took."""

from types import SimpleNamespace
from typing import Any, cast

from lstcl_platform.results.report.predicted import predicted_table
from lstcl_platform.results.report.study import Study
from lstcl_platform.tracking.records import StageState


def study(**seconds: float) -> Study:
    """An experiment whose stages took so long; those of 0 s are still running."""
    stages = {
        key: SimpleNamespace(
            state=StageState(
                key=key,
                kind="pretrain",
                run_id="run",
                status="finished" if taken else "running",
                seconds=taken or 50.0,
            )
        )
        for key, taken in seconds.items()
    }
    return cast(Study, SimpleNamespace(stages=stages))


def foreseen(kind: str, expected: float, basis: str = "measured") -> dict[str, Any]:
    span = {"low": 0.8 * expected, "expected": expected, "high": 1.5 * expected}
    return {"kind": kind, "basis": basis, "seconds": span}


def texts(found: Study, prediction: dict[str, Any]) -> list[list[str]]:
    return [[cell.text for cell in row] for row in predicted_table(found, prediction).rows]


def test_finished_stages_are_set_beside_their_prediction_by_kind_and_in_all():
    prediction = {
        "a": foreseen("pretrain", 100.0),
        "b": foreseen("pretrain", 100.0, "guess"),
        "c": foreseen("evaluate", 10.0),
        "d": foreseen("finetune", 10.0),
        "gone": foreseen("finetune", 10.0),
    }
    assert texts(study(a=120.0, b=130.0, c=20.0, d=0.0, e=9.0), prediction) == [
        ["pretraining", "2", "3 min", "4 min", "1.25", "1 measured, 1 guess"],
        ["evaluation", "1", "10 s", "20 s", "2.00", "1 measured"],
        ["all", "3", "4 min", "4 min", "1.29", "2 measured, 1 guess"],
    ]


def test_what_lies_beyond_the_range_is_marked():
    rows = predicted_table(
        study(a=140.0, c=16.0), {"a": foreseen("pretrain", 100.0), "c": foreseen("evaluate", 10.0)}
    ).rows
    assert [row[4].tone for row in rows] == ["", "warn", ""]


def test_without_a_prediction_there_is_nothing_to_show():
    assert texts(study(a=1.0), {}) == []
