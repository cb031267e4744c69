import csv
import io
import json
import math

import pytest
from rich.console import Console

from lstcl_platform.results.compare import Comparison, compare_trials
from lstcl_platform.results.tables import comparison_csv, comparison_json, comparison_table
from lstcl_platform.tracking.records import TrialResult
from tests.results.conftest import MakeTrial

BASELINES = {"study": {"baseline_majority": 0.24, "baseline_mean_frame": 0.52}}


@pytest.fixture
def comparison(stride_trials: list[TrialResult]) -> Comparison:
    return compare_trials(stride_trials, launch_metrics=BASELINES)


def shown(comparison: Comparison, *, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(comparison_table(comparison, width=width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_marks_the_best_and_names_baselines_and_open_trials(comparison: Comparison) -> None:
    text = shown(comparison, width=100)
    assert "short=8 long=32   0.710 ± 0.010 *" in text
    assert "2   1 running" in text
    assert "without learning: majority class 0.240, nearest neighbour on the mean frame 0.520" in text
    assert text.count(" *\n") + text.count(" * ") == 1


def test_narrow_table_keeps_names_whole_and_drops_other_metrics(comparison: Comparison) -> None:
    assert "loss" in shown(comparison, width=100)
    narrow = shown(comparison, width=60)
    assert "loss" not in narrow
    assert "short=8 long=32" in narrow
    assert max(map(len, narrow.splitlines())) <= 60


def test_each_experiment_has_its_table(make_trial: MakeTrial) -> None:
    trials = [make_trial("a", {"x": 1}, experiment=name, top1=0.5) for name in ("one", "two")]
    lines = [line.strip() for line in shown(compare_trials(trials), width=80).splitlines()]
    assert lines.index("one") < lines.index("two")


def test_csv_has_the_swept_fields_and_all_metrics(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    assert [row["pretrain.clips.long_stride"] for row in rows] == ["8", "32", ""]
    assert rows[2]["pretrain"] == "null"
    assert float(rows[1]["top1"]) == pytest.approx(0.71)
    assert float(rows[1]["top1_sd"]) == pytest.approx(0.01)
    assert [row["top1_n"] for row in rows] == ["2", "3", "3"]
    assert float(rows[0]["loss"]) == pytest.approx(1.4)
    assert [row["best"] for row in rows] == ["0", "1", "0"]


def test_json_holds_every_value_and_stays_json_with_nan(make_trial: MakeTrial) -> None:
    trials = [
        make_trial(f"a seed={seed}", {"x": 1, "seed": seed}, top1=v) for seed, v in ((0, 0.5), (1, math.nan))
    ]

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(comparison_json(compare_trials(trials)), parse_constant=refuse)
    assert content["cells"][0]["metrics"]["top1"] == {"mean": None, "sd": None, "n": 2, "values": [0.5, None]}
    assert content["cells"][0]["cell"] == {"x": 1}
