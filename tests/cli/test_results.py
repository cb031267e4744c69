import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lstcl_platform.cli import report, results
from lstcl_platform.cli.launch import _figures
from lstcl_platform.specs import UserError, build_graph, expand, parse_experiment
from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.paper_study import fields_of, open_tracker, record
from tests.tracking.conftest import make_study

runner = CliRunner()
app = typer.Typer()
app.command()(results.compare)
app.command()(results.status)
app.command()(report.report)

CELLS = [{"pretrain.clips.long_stride": long, "finetune.seed": seed} for long in (8, 32) for seed in (0, 1)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", artifact_location=str(folder / "artifacts"))
    spec, trials, graph = make_study("strides", CELLS)
    launch = tracker.begin_launch(spec, requested={}, trials=trials, graph=graph)
    for trial in trials[:3]:
        top1 = {8: 0.5, 32: 0.625}[trial.cell["pretrain.clips.long_stride"]]
        tracker.finish_trial(launch, trial.name, status="finished", metrics={"top1": top1})
    failed = tracker.begin_stage(
        graph.stages[launch.chains[trials[3].name][1]], attempt=1, attempt_dir="a1", fingerprint={}
    )
    tracker.fail_stage(failed, error="ValueError: no frames", log="a1/log.txt")
    tracker.finish_trial(launch, trials[3].name, status="failed")
    tracker.log_launch_metrics(launch, {"baseline_majority": 0.24})
    tracker.finish_launch(launch, status="failed")
    launch_with_models(tracker)
    return folder


def launch_with_models(tracker: Tracker) -> None:
    """A launch whose record can be expanded again, of two small models."""
    names = ["swin_micro", "timesformer_micro"]
    fields = {
        "name": "costs",
        "data": {"train": "/train", "val": "/val"},
        "model": {"image_size": 32},
        "sweep": {"grid": {"model.name": names}},
    }
    spec = parse_experiment(fields, origin="test")
    trials = expand(spec).trials
    graph = build_graph(trials, manifests={"/train": "a", "/val": "b"})
    launch = tracker.begin_launch(spec, requested=fields, trials=trials, graph=graph)
    for trial in trials:
        tracker.finish_trial(launch, trial.name, status="finished", metrics={"top1": 0.5})


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def run(*arguments: str) -> str:
    done = runner.invoke(app, arguments)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_compare_prints_cells_and_baselines(store: Path) -> None:
    text = run("compare", "strides", "--storage", str(store))
    assert "long_stride=32           0.625 *       1   1 failed" in text
    assert "without learning: majority class 0.240" in text


def test_compare_json_and_plot(store: Path, tmp_path: Path) -> None:
    figure = tmp_path / "f.png"
    text = run("compare", "strides", "--format", "json", "--plot", str(figure), "--storage", str(store))
    content = json.loads(text)
    assert [cell["finished"] for cell in content["cells"]] == [2, 1]
    assert figure.stat().st_size > 10_000


def test_compare_csv_goes_to_a_pipe_whole(store: Path) -> None:
    lines = run("compare", "strides", "--format", "csv", "--storage", str(store)).splitlines()
    assert lines[0] == ("experiment,name,pretrain.clips.long_stride,top1,top1_sd,top1_n,trials,finished,best")
    assert lines[1] == "strides,long_stride=8,8,0.5,0.0,2,2,2,0"


def test_compare_counts_what_a_test_costs(store: Path) -> None:
    text = run("compare", "costs", "--cost", "all", "--format", "json", "--storage", str(store))
    cells = json.loads(text)["cells"]
    assert [cell["cost"]["views"] for cell in cells] == [5, 5]
    assert {cell["cost"]["convention"] for cell in cells} == {"all"}
    assert cells[0]["cost"]["gmacs"] != cells[1]["cost"]["gmacs"]


def test_store_may_be_named_by_uri_or_environment(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{store / 'mlflow.db'}"
    assert "strides" in run("status", "--tracking-uri", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "strides" in run("status")


def test_status_names_the_failure(store: Path) -> None:
    text = run("status", "strides", "--storage", str(store))
    assert "3 of 4 trials done" in text
    assert "failed: ValueError: no frames" in text
    assert "log: a1/log.txt" in text


def test_unknown_experiment_names_the_nearest(store: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'strides'"):
        run("compare", "stride", "--storage", str(store))


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results"):
        run("status", "--storage", str(tmp_path / "typo"))
    assert list(tmp_path.iterdir()) == []


def test_compare_sorts_filters_and_names_what_differs(store: Path) -> None:
    text = run("compare", "strides", "--sort", "top1", "--format", "csv", "--storage", str(store))
    assert [line.split(",")[2] for line in text.splitlines()[1:]] == ["32", "8"]
    text = run("compare", "strides", "--where", "long_stride=8", "--format", "csv", "--storage", str(store))
    assert [line.split(",")[2] for line in text.splitlines()[1:]] == ["8"]
    with pytest.raises(UserError, match="long_stride is one of: 32, 8"):
        run("compare", "strides", "--where", "long_stride=5", "--storage", str(store))


def test_compare_shows_the_papers_values(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path)
    launch = record(tracker, fields_of("table2"))
    text = run("compare", "table2_sampling", "--storage", str(tmp_path))
    assert "ours - paper" in text
    assert "0.726         +0.011" in text
    content = json.loads(run("compare", launch.run_id, "--format", "json", "--storage", str(tmp_path)))
    assert content["cells"][2]["published"]["values"] == {"top1": pytest.approx(0.766)}
    figure = tmp_path / "table2.svg"
    run("compare", "table2_sampling", "--plot", str(figure), "--storage", str(tmp_path))
    assert "<svg" in figure.read_text()
    kept = {path.name for path in _figures(tracker, "table2_sampling", tmp_path)}
    assert kept == {"comparison.png", "table2.svg", "table2.png"}, "with the launch's MLflow run"


def test_report_is_written_where_it_is_asked_for(store: Path, tmp_path: Path) -> None:
    run("report", "strides", "costs", "-o", str(tmp_path / "a" / "r.html"), "--storage", str(store))
    text = (tmp_path / "a" / "r.html").read_text()
    assert "ValueError: no frames" in text
    assert text.count("<article") == 2
    with pytest.raises(UserError, match="did you mean 'strides'"):
        run("report", "stride", "-o", str(tmp_path / "none.html"), "--storage", str(store))
    assert not (tmp_path / "none.html").exists()
