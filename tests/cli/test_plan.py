import io
import json
from pathlib import Path

import jsonschema
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from lstcl_platform.cli.plan import build_plan, plan, plan_summary, schema, show_plan
from lstcl_platform.specs import UserError
from lstcl_platform.video.indexing import index_videos
from tests.helpers.videos import make_labelled_folder

FIG2 = """\
name: fig2
data: {train: k400/train, val: k400/val}
sweep:
  grid:
    pretrain.clips.short_stride: [4, 8, 16, 32]
    pretrain.clips.long_stride: [4, 8, 16, 32]
  illegal: exclude
"""
FIG4 = """\
name: fig4
data: {train: k400/train, val: k400/val}
sweep:
  grid:
    pretrain.clips.long_stride: [8, 32]
    finetune.stride: [4, 8, 16]
"""

app = typer.Typer()
app.command("plan")(plan)
app.command("schema")(schema)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name, text in (("fig2", FIG2), ("fig4", FIG4)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return [tmp_path / "fig2.yaml", tmp_path / "fig4.yaml"]


def printed(*args, width: int, **kwargs) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_plan(*args, console=console, **kwargs)
    return console.file.getvalue()


def test_stages_are_shared_within_a_file_and_between_files(files):
    one = build_plan(files[:1])
    assert plan_summary(one) == [
        "10 trials need 10 pretrainings, 10 finetunings and 10 evaluations; 0 of 30 stages are finished"
    ]
    both = build_plan(files)
    assert plan_summary(both) == [
        "16 trials need 10 pretrainings, 14 finetunings and 14 evaluations; 0 of 38 stages are finished"
    ]


def test_one_of_a_thing_is_not_several(files):
    plan = build_plan(files[:1], ["sweep={}"])
    assert plan_summary(plan, finished=list(plan.graph.stages)[:1]) == [
        "1 trial needs 1 pretraining, 1 finetuning and 1 evaluation; 1 of 3 stages is finished"
    ]


def test_the_table_shows_trials_excluded_cells_with_reasons_and_stages(files):
    plan = build_plan(files)
    pretrain = plan.graph.chains["fig2/short=8 long=32"][0]
    text = printed(plan, width=140, finished={pretrain})
    assert "fig2: 10 trials" in text
    assert "38 unique stages" in text
    assert (
        "excluded: short=16 long=8 (pretrain.clips: short_stride (16) must not exceed long_stride (8)" in text
    )
    assert f"{pretrain[:10]} *" in text
    assert "* finished: will not run again" in text
    assert "1 of 38 stages is finished" in text
    row = next(line for line in text.splitlines() if "pretrain " in line and pretrain[:10] in line)
    assert [cell.strip() for cell in row.split("│")[3:7]] == ["-", "finished", "4", "fig2/short=8 long=32"]


def test_rendered_videos_are_counted_apart_from_a_study(files, tmp_path):
    toy = tmp_path / "toy.yaml"
    toy.write_text(FIG4.replace("fig4", "toy").replace("k400/val}", "k400/val, synthesize: {}}"))
    plan = build_plan([files[0], toy])
    assert [line.split(",")[0] for line in plan_summary(plan)] == [
        "real data: 10 trials need 10 pretrainings",
        "synthesized data: 6 trials need 2 pretrainings",
    ]
    assert set(plan_summary(plan)) <= set(printed(plan, width=80).splitlines())


def test_an_override_file_holds_for_every_study(files, tmp_path):
    (tmp_path / "small.yaml").write_text("replace: {finetune.stride: {8: 2}}\nmodel: {frames: 4}\n")
    arguments = [*map(str, files), "--override", str(tmp_path / "small.yaml"), "--format", "json"]
    shown = json.loads(CliRunner().invoke(app, ["plan", *arguments]).stdout)
    fig4 = shown["experiments"][1]
    assert {trial["cell"]["finetune.stride"] for trial in fig4["trials"]} == {4, 2, 16}
    plan = build_plan(files, override_files=[tmp_path / "small.yaml"])
    assert {stage.spec.model.frames for stage in plan.graph.stages.values()} == {4}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_keys_and_lines_for_grep_survive_a_narrow_terminal(files, width):
    plan = build_plan(files[:1])
    text = printed(plan, width=width)
    assert all(key[:10] in text for key in plan.graph.stages)
    assert set(plan_summary(plan)) <= set(text.splitlines())


def test_json_is_complete_and_alone_on_stdout(files):
    result = CliRunner().invoke(
        app, ["plan", *map(str, files), "--format", "json", "--set", "pretrain.seed=1"]
    )
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert [experiment["name"] for experiment in shown["experiments"]] == ["fig2", "fig4"]
    fig2 = shown["experiments"][0]
    assert len(fig2["trials"]) == 10
    assert len(fig2["excluded"]) == 6
    assert fig2["trials"][0]["cell"] == {"pretrain.clips.short_stride": 4, "pretrain.clips.long_stride": 4}
    stages = {stage["key"]: stage for stage in shown["stages"]}
    assert [stages[key]["kind"] for key in fig2["trials"][0]["stages"]] == [
        "pretrain",
        "finetune",
        "evaluate",
    ]
    assert len(stages) == 38
    assert shown["summary"]["total"] == shown["summary"]["real_data"]
    counts = shown["summary"]["total"]
    assert counts["trials"] == 16
    assert counts["all"] == {"needed": 48, "unique": 38, "shared": 6, "shared_between_experiments": 6}
    assert counts["pretrain"] == {"needed": 16, "unique": 10, "shared": 2, "shared_between_experiments": 2}
    assert fig2["counts"]["all"] == {"needed": 30, "unique": 30, "shared": 0, "shared_between_experiments": 0}
    assert not any(stage["finished"] for stage in stages.values())
    plain = CliRunner().invoke(app, ["plan", *map(str, files), "--format", "json"])
    assert not stages.keys() & {stage["key"] for stage in json.loads(plain.stdout)["stages"]}


def test_keys_are_final_once_all_data_is_indexed(files):
    asked = []

    def digest_of(path, spec):
        asked.append(path)
        return f"digest of {Path(path).name}"

    plan = build_plan(files, digest_of=digest_of)
    assert [Path(path).name for path in asked] == ["train", "val"]
    assert plan.unindexed == ()
    assert "not final" not in printed(plan, width=100)
    open_plan = build_plan(files)
    assert [Path(path).name for path in open_plan.unindexed] == ["train", "val"]
    assert "Keys are not final" in printed(open_plan, width=100)
    assert not plan.graph.stages.keys() & open_plan.graph.stages.keys()


def test_data_that_is_not_indexed_is_not_taken_for_the_same(files):
    files[1].write_text(FIG4.replace("k400/", "ssv2/"))
    assert plan_summary(build_plan(files))[0].startswith("16 trials need 12 pretrainings")


def test_two_files_of_one_name_are_refused(files):
    files[1].write_text(FIG4.replace("fig4", "fig2"))
    with pytest.raises(UserError, match="give each experiment a name of its own"):
        build_plan([files[0], files[0]])


def test_colour_is_used_on_a_terminal_unless_no_color_is_set(files, monkeypatch):
    plan = build_plan(files[:1])

    def on_terminal():
        console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=100)
        show_plan(plan, finished=plan.graph.stages.keys(), console=console)
        return console.file.getvalue()

    green = "\x1b[32m"
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert green in on_terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    assert green not in on_terminal()


def test_schema_prints_a_json_schema():
    result = CliRunner().invoke(app, ["schema"])
    jsonschema.Draft202012Validator.check_schema(json.loads(result.stdout))
    assert json.loads(result.stdout)["properties"]["pretrain"]["description"]


def test_large_videos_are_better_prepared(tmp_path):
    for split, side in (("train", 400), ("val", 64)):
        folder = make_labelled_folder(tmp_path / split, classes=1, videos=2, frames=2, side=side)
        index_videos(folder).save(tmp_path / f"{split}.parquet")
    spec = tmp_path / "study.yaml"
    spec.write_text(
        "name: study\ndata: {train: train.parquet, val: val.parquet}\npretrain: {batch_size: 2}\n"
        "finetune: {batch_size: 2}\n"
    )
    remark = f"{tmp_path / 'train.parquet'}: 2 of 2 videos much larger than clips need"
    assert remark in CliRunner().invoke(app, ["plan", str(spec)]).stdout
    remarks = json.loads(CliRunner().invoke(app, ["plan", str(spec), "--format", "json"]).stdout)["remarks"]
    assert len(remarks) == 1
    assert remarks[0].startswith(remark)


def test_a_narrow_terminal_keeps_names_readable(files):
    lines = printed(build_plan(files[:1]), width=60).splitlines()
    header = next(line for line in lines if "first trial" in line)
    assert len(header) <= 60
    assert "starts from" not in header
