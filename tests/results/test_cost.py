"""Costs beside accuracy: Table 4's arithmetic, each under its convention."""

import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from lstcl_platform.results.compare import compare_trials
from lstcl_platform.results.cost import with_costs
from lstcl_platform.results.tables import comparison_csv, comparison_json, comparison_table
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import EvaluateSpec
from lstcl_platform.tracking.records import TrialResult

DATA = DataSpec(train="a", val="b")
VIEWS = {"timesformer_base": EvaluateSpec(clips=1, crops=3), "st_swin_base": EvaluateSpec(clips=5)}


def study(convention):
    specs, results = {}, []
    for model, evaluate in VIEWS.items():
        for seed in (0, 1):
            name, cell = f"name={model} seed={seed}", {"model.name": model, "finetune.seed": seed}
            spec = TrialSpec(data=DATA, model=ModelSpec(name=model), evaluate=evaluate)
            specs[f"name={model}"] = spec
            results.append(
                TrialResult(
                    experiment="table4",
                    name=name,
                    run_id="r",
                    cell=cell,
                    metrics={"top1": 0.5},
                    status="finished",
                )
            )
    comparison = compare_trials(results)
    cells = tuple(replace(cell, spec=specs[cell.name]) for cell in comparison.cells)
    return with_costs(replace(comparison, cells=cells), convention=convention)


@pytest.mark.parametrize(("convention", "tera"), [("linear+conv", (0.570, 0.605)), ("all", (0.587, 0.703))])
def test_gmacs_times_views_are_those_of_table_4(convention, tera):
    """Its 0.59 for TimeSformer counts all, with 3 views; its 0.60 for Space-Time Swin weights only, with 5."""
    comparison = study(convention)
    assert [round(cell.cost.gmacs * cell.cost.views / 1e3, 3) for cell in comparison.cells] == list(tera)
    assert [cell.cost.parameters for cell in comparison.cells] == [121_258_752, 87_632_840]


def test_tables_name_the_convention():
    comparison = study("linear+conv")
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(comparison_table(comparison, width=160))
    text = console.export_text()
    assert "121 x 5" in text
    assert "189.9 x 3" in text
    assert "87.63" in text
    assert "linear+conv (linear layers and convolutions, without the products inside attention)" in text
    cost = json.loads(comparison_json(comparison))["cells"][1]["cost"]
    assert cost["convention"] == "linear+conv"
    assert (cost["views"], round(cost["gmacs"], 2)) == (5, 121.0)
    row = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))[1]
    assert (row["convention"], row["parameters"], row["views"]) == ("linear+conv", "87632840", "5")


def test_nothing_is_shown_where_nothing_was_asked():
    comparison = compare_trials(
        [TrialResult(experiment="e", name="t", run_id="r", cell={}, metrics={"top1": 0.5}, status="finished")]
    )
    assert "cost" not in json.loads(comparison_json(comparison))["cells"][0]
    assert "gmacs" not in comparison_csv(comparison)
