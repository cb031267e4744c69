"""`export` on a store as a launch leaves it: which run is meant, and what is written."""

from pathlib import Path

import mlflow.pyfunc
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from lstcl_platform.cli import export
from lstcl_platform.models import load_trained
from lstcl_platform.specs import UserError
from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.trained import CLASSES
from tests.helpers.videos import make_video

runner = CliRunner()
app = typer.Typer()
app.command()(export.export)


@pytest.fixture
def store(trained_study):
    """Folder of a study, the runs of its first trial and what they left, by kind of stage."""
    return trained_study.folder, trained_study.stages, trained_study.modules


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
    path = Path(store[0]) / "one-pretrain.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match="is damaged: its SHA-256 is not the recorded one"):
            run(store, store[1]["pretrain"].key, "-o", str(tmp_path / "w.safetensors"))
    finally:
        path.write_bytes(whole)


def test_the_best_trial_is_the_one_with_the_highest_top1(store, tmp_path):
    text = run(store, "study/best", "-o", str(tmp_path / "w.safetensors"))
    assert store[1]["finetune"].key[:10] in text


def test_a_native_file_is_loaded_in_three_lines(store, tmp_path):
    run(store, "study/one", "-o", str(tmp_path / "best.safetensors"))
    trained = load_trained(tmp_path / "best.safetensors")
    assert (trained.classes, trained.spec.views, trained.spec.stride) == (CLASSES, 6, 3)
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(trained.module(clips), store[2]["finetune"](clips))
        assert trained.backbone(clips).shape == (2, 64)


def test_a_file_without_a_note_is_refused(store):
    with pytest.raises(UserError, match="does not say which model it holds"):
        load_trained(store[0] / "one-finetune.safetensors")


def test_a_program_computes_what_the_model_computes(store, tmp_path):
    text = run(store, "study/one", "-o", str(tmp_path / "best.pt2"), "--format", "torch-export")
    assert "differs from the model's by at most" in text
    clips = torch.randn(5, 3, 8, 32, 32)
    with torch.no_grad():
        found = torch.export.load(tmp_path / "best.pt2").module()(clips)
        assert torch.allclose(found, store[2]["finetune"](clips), atol=1e-5)
    with pytest.raises(UserError, match=r"must end in \.pt2"):
        run(store, "study/one", "-o", str(tmp_path / "best.safetensors"), "--format", "torch-export")


def test_a_stage_is_registered_once_and_predicts_from_paths(store, tmp_path, monkeypatch):
    assert "registered as action-model, version 1" in run(store, "study/best", "--register", "action-model")
    assert "was registered before as action-model, version 1" in run(
        store, "study/one", "--register", "action-model"
    )
    tracker = Tracker(f"sqlite:///{store[0] / 'mlflow.db'}", artifact_location=None)
    (version,) = tracker._client.search_model_versions("name = 'action-model'")
    assert version.tags == {"lstcl.stage_key": store[1]["finetune"].key, "top1": "0.75"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    video = make_video(tmp_path / "v.mp4", side=48)
    (found,) = mlflow.pyfunc.load_model("models:/action-model/1").predict([str(video)])
    assert {name for name, _ in found["top"]} == set(CLASSES)
    with pytest.raises(UserError, match="this is a pretraining"):
        run(store, store[1]["pretrain"].key, "--register", "action-model")
