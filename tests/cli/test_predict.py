"""`predict` on a study as a launch leaves it: the numbers of its test, and every way to print them."""

import csv
import io
import json

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from lstcl_platform.cli import predict
from lstcl_platform.specs import UserError
from lstcl_platform.training.evaluate import score_clips
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.samples import EvaluateSamples
from tests.helpers.trained import CLASSES
from tests.helpers.videos import make_video

runner = CliRunner()
app = typer.Typer()
app.command()(predict.predict)


@pytest.fixture
def study(trained_study):
    return trained_study


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One folder a class, two videos each of another length and rate; the shortest is shorter than a clip."""
    folder = tmp_path_factory.mktemp("videos")
    for number, (label, frames, fps) in enumerate((("a", 60, 30), ("a", 20, 25), ("b", 90, 30))):
        make_video(folder / label / f"{number}.mp4", frames=frames, fps=fps, width=80, side=48, seed=number)
    return folder


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def run(study, *arguments, code=0):
    done = runner.invoke(app, [*map(str, arguments), "--storage", str(study.folder)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def test_a_video_gets_the_probabilities_that_the_test_gives_it(study, videos, tmp_path):
    index_videos(videos).save(tmp_path / "m.parquet")
    spec = study.spec
    tested = EvaluateSamples(
        manifest=tmp_path / "m.parquet",
        data=spec.data,
        model=spec.model,
        evaluate=spec.evaluate,
        stride=spec.finetune.stride,
        indexing=spec.finetune.indexing,
    )(np.arange(3))
    with torch.inference_mode():
        expected = score_clips(study.modules["finetune"], torch.from_numpy(tested["clips"]), precision="fp32")
    found = json.loads(run(study, "study/best", videos, "--format", "json").stdout)["videos"]
    assert [video["path"] for video in found] == [str(path) for path in sorted(videos.rglob("*.mp4"))]
    for row, video in zip(expected, found, strict=True):
        shares = {answer["class"]: answer["probability"] for answer in video["top"]}
        assert [shares[name] for name in CLASSES] == pytest.approx(row.tolist(), abs=1e-6)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert len({video["top"][0]["probability"] for video in found}) == 3


def test_a_video_that_cannot_be_read_is_named_and_the_rest_goes_on(study, videos, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    done = run(
        study,
        "study/one",
        bad,
        tmp_path / "absent.mp4",
        videos / "b",
        "--format",
        "csv",
        "--top",
        "2",
        code=1,
    )
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["path"].rpartition("/")[2] for row in rows] == ["bad.mp4", "absent.mp4", "2.mp4", "2.mp4"]
    assert [bool(row["problem"]) for row in rows] == [True, True, False, False]
    assert f"cannot be read: {bad}: " in done.stderr
    assert "no such file" in done.stderr


def test_the_table_keeps_to_the_width_and_says_what_the_numbers_depend_on(study, videos, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    done = run(study, "study/one", videos, "--clips", "3", "--crops", "1", "--stride", "2")
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert all(name in done.stdout for name in CLASSES)
    assert "3 clips a video, centre crop, stride 2" in done.stderr


def test_a_pretraining_has_no_classes(study, videos):
    with pytest.raises(UserError, match="it gives features, not classes"):
        run(study, study.stages["pretrain"].key, videos)


def test_a_folder_without_a_video_is_refused(study, tmp_path):
    with pytest.raises(UserError, match="no video found"):
        run(study, "study/one", tmp_path)
