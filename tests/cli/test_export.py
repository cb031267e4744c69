"""`export` on a store as a launch leaves it: which run is meant, and what is written."""

from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from lstcl_platform.cli import export
from lstcl_platform.models import Classifier, backbone_of
from lstcl_platform.specs import Trial, UserError, build_graph
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.experiment import ExperimentSpec, TrialSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.tracking.tracker import Tracker
from lstcl_platform.training.trainee import store_weights

runner = CliRunner()
app = typer.Typer()
app.command()(export.export)

MODEL = ModelSpec(name="swin_micro", image_size=32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished trial, its pretraining, and a trial that has not begun; with the runs and keys by kind."""
    folder = tmp_path_factory.mktemp("runs")
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", artifact_location=str(folder / "artifacts"))
    data = DataSpec(train="/train", val="/val")
    spec = ExperimentSpec(name="study", data=data, model=MODEL)
    specs = {
        "one": TrialSpec(data=data, model=MODEL),
        "two": TrialSpec(data=data, model=MODEL, pretrain=None),
    }
    trials = [Trial(experiment="study", name=name, cell={}, spec=spec) for name, spec in specs.items()]
    graph = build_graph(trials, manifests={"/train": "a", "/val": "b"})
    launch = tracker.begin_launch(spec, requested={}, trials=trials, graph=graph)
    backbone = backbone_of(MODEL)
    modules = {"pretrain": backbone, "finetune": Classifier(backbone, 3)}
    stages = {}
    for key in launch.chains["one"]:
        stage = graph.stages[key]
        run = tracker.begin_stage(stage, attempt=1, attempt_dir="a1", fingerprint={})
        location, digest = str(folder / f"{stage.kind}.safetensors"), None
        if stage.kind in modules:
            digest = store_weights(modules[stage.kind], location)
        tracker.finish_stage(run, metrics={}, weights=location if digest else None, weights_digest=digest)
        stages[stage.kind] = run
    tracker.begin_stage(graph.stages[launch.chains["two"][0]], attempt=1, attempt_dir="a1", fingerprint={})
    tracker.finish_trial(launch, "one", status="finished")
    return folder, stages, modules


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def run(store, *arguments):
    done = runner.invoke(app, [*arguments, "--storage", str(store[0])])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "evaluate"])
@pytest.mark.parametrize("by", ["run id", "key", "first digits"])
def test_a_stage_is_found_by_its_run_or_key(store, tmp_path, kind, by):
    stage = store[1][kind]
    name = {"run id": stage.run_id, "key": stage.key, "first digits": stage.key[:10]}[by]
    text = run(store, name, "-o", str(tmp_path / "w.safetensors"))
    source = "pretrain" if kind == "pretrain" else "finetune"
    assert f"of {source} {store[1][source].key[:10]} (swin_micro), native names" in text
    expected = store[2][source].state_dict()
    found = load_file(tmp_path / "w.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[n]) for n, value in found.items())


def test_a_trial_stands_for_its_finetuned_model(store, tmp_path):
    run(store, "study/one", "-o", str(tmp_path / "w.safetensors"), "--format", "timm")
    found = load_file(tmp_path / "w.safetensors")
    assert torch.equal(found["head.fc.weight"], store[2]["finetune"].head.weight)
    assert found["patch_embed.proj.weight"].ndim == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("study/on", "study has no trial 'on'; did you mean study/one?"),
        ("study/two", "study/two: its finetune is not finished, so it has no weights yet"),
        ("stduy/one", "did you mean 'study'"),
        ("0123456789", "0123456789: no such stage has begun"),
        ("best", "best: neither the id of a stage's run, nor the first 6 or more digits"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_words(store, tmp_path, name, message):
    with pytest.raises(UserError) as caught:
        run(store, name, "-o", str(tmp_path / "w.safetensors"))
    assert message in str(caught.value)


def test_a_wrong_output_is_refused(store, tmp_path):
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        run(store, "study/one", "-o", str(tmp_path / "w.pt"))
    with pytest.raises(UserError, match="there is no folder"):
        run(store, "study/one", "-o", str(tmp_path / "absent" / "w.safetensors"))


def test_damaged_weights_are_refused(store, tmp_path):
    path = Path(store[0]) / "pretrain.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match="is damaged: its SHA-256 is not the recorded one"):
            run(store, store[1]["pretrain"].key, "-o", str(tmp_path / "w.safetensors"))
    finally:
        path.write_bytes(whole)
