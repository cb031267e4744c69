"""What every command does at a terminal: narrow tables, no colour where none is wanted, quiet where asked."""

import json
import re
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from lstcl_platform.cli import control, launch
from lstcl_platform.cli.main import app
from tests.helpers.videos import make_video

runner = CliRunner()


@pytest.fixture(scope="module")
def place(trained_study):
    folder = trained_study.folder.parent
    for label in ("jump", "run"):
        make_video(folder / "videos" / label / "one.mp4", frames=40, side=48)
    (folder / "study.yaml").write_text("name: study\ndata: {train: videos, val: other}\n")
    return folder


@pytest.fixture(autouse=True)
def inside(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


TABLES = ("status", "status study", "compare study", "plan study.yaml", "predict study/best videos")


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("command", TABLES)
def test_a_table_keeps_to_the_width_and_has_no_colour_where_none_is_wanted(command, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    done = runner.invoke(app, command.split())
    assert done.exit_code == 0, done.output
    lines = re.sub(r"\x1b\[[\d;]*m", "", done.stdout).splitlines()
    rows = [line for line in lines if any(mark in line for mark in "│━─┃┏└")]
    assert rows
    assert max(map(len, rows)) <= width
    assert not re.search(r"\x1b\[(?:\d+;)*[349]\d", done.stdout), "a colour"


def test_quiet_leaves_out_progress_and_hints_and_keeps_results_and_errors(tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    command = ["predict", "study/best", "videos", str(tmp_path / "bad.mp4"), "--format", "csv"]
    loud, quiet = runner.invoke(app, command), runner.invoke(app, ["--quiet", *command])
    assert (loud.exit_code, quiet.exit_code) == (1, 1)
    assert loud.stdout == quiet.stdout
    assert "Predicting: 3 of 3" in loud.stderr
    assert quiet.stderr.splitlines() == [
        line for line in loud.stderr.splitlines() if "cannot be read" in line
    ]
    index = ["data", "index", "videos", "-o", str(tmp_path / "m.parquet")]
    assert "Next: lstcl-platform data show" in runner.invoke(app, index).stderr
    assert runner.invoke(app, ["-q", *index]).stderr == ""


@pytest.mark.parametrize(
    ("command", "then"),
    [
        ("compare study", "lstcl-platform report study -o report.html"),
        ("status study", "lstcl-platform logs study"),  # its launch never said that it ended
    ],
)
def test_the_next_command_names_the_storage_where_it_is_not_the_default(command, then, place):
    where = str(place / "lstcl_runs")
    assert runner.invoke(app, command.split()).stderr.splitlines()[-1] == f"Next: {then}"
    named = runner.invoke(app, [*command.split(), "--storage", where])
    assert named.stderr.splitlines()[-1] == f"Next: {then} --storage {where}"


def test_status_for_a_script():
    (study,) = json.loads(runner.invoke(app, ["status", "--format", "json"]).stdout)
    assert study["experiment"] == "study"
    assert [trial["name"] for trial in study["trials"]] == ["one", "other", "two"]
    assert {stage["kind"] for stage in study["trials"][0]["stages"]} == {"pretrain", "finetune", "evaluate"}


def test_the_command_that_goes_on_does_so_in_the_same_place(place, monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(control, "run", lambda experiments, **options: told.append(options["again"]))
    monkeypatch.setattr(launch, "run", lambda experiments, **options: told.append(options["again"]))
    storage, spec = str(place / "lstcl_runs"), tmp_path / "tiny.yaml"
    spec.write_text("{name: tiny, data: {train: train, val: val}}")
    for words in (f"resume study --storage {storage}", f"launch {spec}"):
        for options in ("", " --address auto --allow-numerics-change"):
            assert runner.invoke(app, f"{words}{options}".split()).exit_code == 0
            assert set(told.pop().split()) == {"lstcl-platform", *f"{words}{options}".split()}


@pytest.mark.parametrize("command", ["data prepare", "bench ingest", "launch", "embed"])
def test_help_fills_the_lines_of_the_terminal(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = runner.invoke(app, [*command.split(), "--help"]).stdout.partition("╭")[0]
    lines = [line.strip() for line in text.strip().splitlines()]
    for line, after in pairwise(lines[2:]):
        if line and after:
            assert len(line) + 1 + len(after.split()[0]) > 77, (line, after)
