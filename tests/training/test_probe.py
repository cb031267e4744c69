"""The probe stage: features of the frozen backbone, both protocols, damaged videos, what it starts from."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lstcl_platform.models import build_backbone, save_weights
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.probes import KnnSpec
from lstcl_platform.specs.training import EvaluateSpec
from lstcl_platform.training.frozen import Labelled, knn_probabilities
from lstcl_platform.training.probe import probe
from tests.training.stages import CLASSES, FRAMES, SIDE, HostBatch, Recorder, stage_context, trial

TRAIN, TEST, CLIPS = 12, 6, 2
VIDEOS = TRAIN + TEST


def backbone(seed: int):
    torch.manual_seed(seed)
    return build_backbone("st_swin_micro", frames=FRAMES, image_size=SIDE).eval()


def columns(*, bad: int = -1) -> HostBatch:
    """Videos whose brightness is their class, then two rows of padding."""
    rng = np.random.default_rng(0)
    label = np.arange(VIDEOS + 2) % CLASSES
    noise = rng.integers(0, 56, (VIDEOS + 2, CLIPS, FRAMES, SIDE, SIDE, 3))
    clips = (label[:, None, None, None, None, None] * 90 + noise).astype(np.uint8)
    problems = np.full(VIDEOS + 2, "", dtype=object)
    if bad >= 0:
        problems[bad] = "v.mp4: broken"
    return {
        "clips": clips,
        "label": label,
        "split": np.array([0] * TRAIN + [1] * (TEST + 2)),
        "video": np.array([*range(TRAIN), *range(TEST), -1, -1]),
        "path": np.array([f"{n}.mp4" for n in range(VIDEOS + 2)], dtype=object),
        "bad": problems,
        "clips_padded": np.zeros(VIDEOS + 2, dtype=np.int64),
    }


def batches(**options: int) -> Iterator[HostBatch]:
    whole = columns(**options)
    for start in range(0, VIDEOS + 2, 4):
        yield {name: column[start : start + 4] for name, column in whole.items()}


def spec(*protocols: str) -> TrialSpec:
    evaluate = EvaluateSpec(clips=CLIPS, protocols=protocols, knn=KnnSpec(neighbours=20))
    return trial().model_copy(update={"evaluate": evaluate})


def run(folder: Path, settings: TrialSpec, *, reporter: Recorder | None = None, parent=None, **options: int):
    context = stage_context(
        folder / "a1", reporter or Recorder(), steps_per_epoch=5, parent_weights=parent and str(parent)
    )
    return probe(settings, context, batches(**options), num_classes=CLASSES, videos=VIDEOS)


def features(model) -> torch.Tensor:
    clips = torch.tensor(columns()["clips"][:VIDEOS]).float().div(255).sub(0.45).div(0.225)
    with torch.no_grad():
        return torch.stack([model(video.permute(0, 4, 1, 2, 3)).mean(0) for video in clips])


def test_features_of_the_parent_are_compared(tmp_path: Path):
    parent = backbone(5)
    save_weights(parent, tmp_path / "parent.safetensors")
    reporter = Recorder()
    result = run(tmp_path, spec("knn"), reporter=reporter, parent=tmp_path / "parent.safetensors")
    found, label = features(parent), torch.tensor(columns()["label"][:VIDEOS])
    expected = knn_probabilities(
        Labelled(features=found[:TRAIN], labels=label[:TRAIN]),
        found[TRAIN:],
        num_classes=CLASSES,
        spec=KnnSpec(neighbours=20),
    )
    table = pq.read_table(result.predictions)
    assert table.column("video").to_pylist() == list(range(TEST))
    np.testing.assert_allclose(table.column("knn_probabilities").to_pylist(), expected.numpy(), atol=1e-4)
    top1 = (expected.argmax(1) == label[TRAIN:]).float().mean().item()
    assert result.metrics == {
        "knn_top1": pytest.approx(top1),
        "knn_top5": 1.0,
        "videos": TEST,
        "bad_videos": 0,
        "clips_padded": 0,
    }
    assert reporter.rows == [{"step": 5, "epoch": 1, **result.metrics}]
    assert result.predictions_digest is not None


def test_without_a_parent_it_tests_what_finetuning_from_scratch_would_start_from(tmp_path: Path):
    settings = spec("knn", "linear")
    random = run(tmp_path / "random", settings)
    save_weights(backbone(settings.finetune.seed), tmp_path / "same.safetensors")
    same = run(tmp_path / "same", settings, parent=tmp_path / "same.safetensors")
    assert random.predictions_digest == same.predictions_digest
    assert set(random.metrics) >= {"knn_top1", "knn_top5", "linear_top1", "linear_top5", "linear_lr"}
    assert random.metrics["linear_top1"] > 0.6  # brightness is easy
    columns = pq.read_table(random.predictions).column_names
    assert columns == [
        *("video", "path", "label", "knn_predicted", "knn_probabilities"),
        *("linear_predicted", "linear_probabilities"),
    ]


def test_a_damaged_test_video_is_wrong_and_a_damaged_training_video_has_no_vote(tmp_path: Path):
    test = run(tmp_path / "test", spec("knn", "linear"), bad=TRAIN + 2)
    assert test.metrics["bad_videos"] == 1
    table = pq.read_table(test.predictions)
    for protocol in ("knn", "linear"):
        predicted = table.column(f"{protocol}_predicted").to_numpy()
        assert predicted[2] == -1
        hits = predicted == table.column("label").to_numpy()
        assert test.metrics[f"{protocol}_top1"] == pytest.approx(hits.mean())
    reporter = Recorder()
    train = run(tmp_path / "train", spec("knn"), reporter=reporter, bad=0)
    assert train.metrics["bad_videos"] == 0
    assert reporter.problems == ["v.mp4: broken"]
    assert train.predictions_digest != run(tmp_path / "knn", spec("knn")).predictions_digest


def test_a_missing_video_is_an_error(tmp_path: Path):
    context = stage_context(tmp_path / "a1", Recorder(), steps_per_epoch=4)
    with pytest.raises(RuntimeError, match="18 videos were to be scored, but 16 came"):
        probe(spec("knn"), context, batches(), num_classes=CLASSES, videos=VIDEOS)


def test_it_stops_when_asked(tmp_path: Path):
    result = run(tmp_path, spec("knn"), reporter=Recorder(stop_after=2))
    assert (result.status, result.predictions) == ("stopped", None)
