"""`plan` with a cluster, rates and --simulate, and the prediction that a launch keeps, as a person gets them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import typer
from typer.testing import CliRunner

from lstcl_platform.cli.launch import predicted
from lstcl_platform.cli.main import app
from lstcl_platform.orchestration.launch import Ahead
from lstcl_platform.planning.clusters import ClusterSpec, NodeGroupSpec
from lstcl_platform.specs import UserError
from lstcl_platform.specs.run import CheckpointSpec
from tests.planning.conftest import graph_of

STUDY = """\
name: study
data: {train: kinetics400/train, val: kinetics400/val}
resources: {workers: 4}
sweep: {grid: {finetune.stride: [4, 8]}}
"""
CLUSTER = """\
currency: EUR
nodes:
  gpu: {count: 2, cpus: 96, gpus: 4, device: Some GPU, peak_tflops: 500, price_per_hour: 20, start_up_minutes: 5}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    return tmp_path


def plan(*words: str) -> str:
    done = CliRunner().invoke(cast(typer.Typer, app), ["plan", "study.yaml", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_has_prediction_and_simulation(study):
    shown = json.loads(plan("--cluster", "cluster.yaml", "--simulate", "--seeds", "3", "--format", "json"))
    found, simulated = shown["prediction"], shown["simulation"]
    assert found["currency"] == "EUR"
    assert found["all"]["stages"] == len(found["stages"]) == 5
    assert found["all"]["rates"] == {"guess": 5}
    assert found["all"]["flops"] == pytest.approx(sum(each["flops"] for each in found["by_kind"].values()))
    assert found["cost"]["expected"] == pytest.approx(found["wall_seconds"]["expected"] / 3600 * 40)
    assert found["stages_at_once"] == 2
    assert simulated["seeds"] == 3
    low, expected, high = (simulated["makespan_seconds"][end] for end in ("low", "expected", "high"))
    assert low < expected < high
    assert 0.5 < expected / found["wall_seconds"]["expected"] < 2
    assert set(shown["assumed_videos"].values()) == {240_000, 20_000}


def test_the_table_names_bottleneck_balance_price_and_what_is_taken(study):
    text = plan("--cluster", "cluster.yaml", "--simulate", "--seeds", "2")
    assert "cost EUR" in text
    assert "Bottleneck: training" in text
    assert "decode cores a GPU would balance it; it has" in text
    assert "kinetics400/train has 240,000 videos (the size that the paper states)" in text
    assert "Rates of 5 stages are a guess" in text
    assert "Simulated with 2 seeds: makespan" in text


def test_rates_of_a_file_replace_the_guess(study):
    model = "model: st_swin_base, frames: 8, image_size: 224, device: Some GPU"
    (study / "rates.yaml").write_text(
        f"stages:\n- {{stage: pretrain, {model}, framework: moco_v3, samples_per_second: 100, decode_seconds: 0.1}}\n"
    )
    words = ("--cluster", "cluster.yaml", "--rates", "rates.yaml", "--format", "json")
    shown = json.loads(plan(*words))["prediction"]
    assert shown["all"]["rates"] == {"measured": 1, "scaled": 4}
    (pretrain,) = (each for each in shown["stages"].values() if each["kind"] == "pretrain")
    # 468 steps of 512 videos an epoch, 200 epochs, on four workers; starting and ending are assumed.
    assert pretrain["seconds"]["expected"] == pytest.approx(468 * 512 * 200 / 400, rel=0.001)


def test_a_study_that_does_not_fit_this_machine_is_planned_all_the_same(study):
    text = plan(
        "--set",
        "resources.workers=512",
        "--set",
        "pretrain.batch_size=512",
        "--set",
        "finetune.batch_size=1024",
    )
    assert "Not predicted: resources: a stage needs" in text
    assert "--cluster FILE" in text


def test_data_of_unknown_size_is_asked_for(study):
    (study / "study.yaml").write_text(STUDY.replace("kinetics400", "mine"))
    assert "size of their data is not known" in plan("--cluster", "cluster.yaml")
    with pytest.raises(UserError, match=r"--simulate: the size of this data is not known: .*mine/train"):
        plan("--cluster", "cluster.yaml", "--simulate")
    sizes = ("--videos", "mine/train=1000/10", "--videos", "mine/val=100")
    assert "Simulated with 20 seeds" in plan("--cluster", "cluster.yaml", "--simulate", *sizes)


def test_a_launch_predicts_from_what_the_store_has_measured():
    manifest = SimpleNamespace(usable=range(100), classes=["a", "b"])
    ahead = SimpleNamespace(
        tracker=SimpleNamespace(measured_stages=list),
        graph=graph_of(resources={"gpus_per_worker": 0.0}),
        finished={next(iter(graph_of().stages))},
        data=dict.fromkeys(("/d/train", "/d/val"), SimpleNamespace(manifest=manifest)),
        capacity=ClusterSpec(nodes={"here": NodeGroupSpec(cpus=2.0)}).capacity,
        checkpoint=CheckpointSpec(),
    )
    found = predicted(cast(Ahead, ahead))
    assert [(each["kind"], each["basis"]) for each in found.values()] == [
        ("finetune", "guess"),
        ("evaluate", "guess"),
    ]


def test_a_batch_that_its_videos_cannot_fill_is_refused_as_a_launch_refuses_it(study):
    (study / "study.yaml").write_text(STUDY.replace("kinetics400", "mine"))
    sizes = ("--videos", "mine/train=100/10", "--videos", "mine/val=100")
    with pytest.raises(
        UserError, match=r"pretrain\.batch_size is 512, but .*mine/train has only 100 videos for it"
    ):
        plan(*sizes)
    few = ("--set", "pretrain.batch_size=96", "--set", "finetune.labels_per_class=3")
    with pytest.raises(UserError, match=r"finetune\.batch_size is .* has only 30 videos for it: lower"):
        plan(*sizes, *few)
    assert "Predicted on" in plan(
        *sizes, *few, "--set", "finetune.batch_size=24", "--cluster", "cluster.yaml"
    )
