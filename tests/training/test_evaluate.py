"""Evaluation: averaging over clips, top-k, damaged videos, padding, the Parquet file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from lstcl_platform.models import Classifier, build_backbone, save_weights
from lstcl_platform.training.evaluate import Predictions, evaluate, score_clips
from tests.training.stages import FRAMES, SIDE, HostBatch, Recorder, stage_context, trial

CLASSES, CLIPS, VIDEOS, BATCH = 7, 2, 5, 2


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    torch.manual_seed(3)
    backbone = build_backbone("st_swin_micro", frames=FRAMES, image_size=SIDE)
    model = Classifier(backbone, CLASSES).eval()
    nn.init.normal_(model.head.weight, std=2.0)  # scores that differ clearly
    save_weights(model, tmp_path / "classifier.safetensors")
    return model


def batches(*, bad: int = -1) -> Iterator[HostBatch]:
    """Five videos in batches of two: the last row is padding. Manifest rows are not contiguous."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (6, CLIPS, FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
    problems = np.full(6, "", dtype=object)
    if bad >= 0:
        clips[bad] = 0
        problems[bad] = "v.mp4: broken"
    columns = {
        "clips": clips,
        "label": np.array([0, 1, 2, 3, 4, 0]),
        "video": np.array([10, 2, 4, 6, 8, -1]),
        "bad": problems,
        "clips_padded": np.array([0, 2, 0, 1, 0, 0]),
        "path": np.array([f"{n}.mp4" for n in range(6)], dtype=object),
    }
    for start in range(0, 6, BATCH):
        yield {name: column[start : start + BATCH] for name, column in columns.items()}


def run(tmp_path: Path, source: Iterator[HostBatch], *, reporter: Recorder, videos: int = VIDEOS):
    context = stage_context(
        tmp_path / "a1",
        reporter,
        steps_per_epoch=3,
        parent_weights=str(tmp_path / "classifier.safetensors"),
    )
    return evaluate(trial(), context, source, num_classes=CLASSES, videos=videos)


def by_hand(model: Classifier) -> dict[int, Tensor]:
    """Manifest row -> mean over clips of the softmax, one clip at a time."""
    scores = {}
    for batch in batches():
        for row, clips in zip(batch["video"], batch["clips"], strict=True):
            each = []
            for clip in clips:
                pixels = (torch.tensor(clip).float() / 255 - 0.45) / 0.225
                with torch.no_grad():
                    each.append(model(pixels.permute(3, 0, 1, 2)[None])[0].exp())
            scores[int(row)] = sum(e / e.sum() for e in each) / len(each)
    return scores


def test_scores_are_softmax_averaged_over_clips(tmp_path: Path, classifier: Classifier):
    reporter = Recorder()
    result = run(tmp_path, batches(), reporter=reporter)
    table = pq.read_table(result.predictions)
    expected = by_hand(classifier)
    assert table.column("video").to_pylist() == [2, 4, 6, 8, 10]
    assert table.column("path").to_pylist() == ["1.mp4", "2.mp4", "3.mp4", "4.mp4", "0.mp4"]
    assert table.column("label").to_pylist() == [1, 2, 3, 4, 0]
    hits1 = hits5 = 0
    for row in table.to_pylist():
        scores = expected[row["video"]]
        np.testing.assert_allclose(row["probabilities"], scores.numpy(), atol=1e-5)
        assert row["predicted"] == scores.argmax()
        hits1 += int(scores.argmax()) == row["label"]
        hits5 += row["label"] in scores.topk(5).indices
    assert result.metrics == {
        "top1": hits1 / 5,
        "top5": hits5 / 5,
        "videos": 5,
        "bad_videos": 0,
        "clips_padded": 3,
    }
    assert 0 < hits5 < 5  # or the test could not tell top-5 from all or nothing
    assert reporter.rows == [{"step": 3, "epoch": 1, **result.metrics}]
    assert reporter.steps == [1, 2, 3]
    assert result.predictions_digest is not None


def test_averaging_scores_is_not_averaging_logits():
    class Fixed(nn.Module):
        def forward(self, clips: Tensor) -> Tensor:
            return torch.tensor([[4.0, 0.0, 3.0], [-9.0, 1.0, 0.9]])

    clips = torch.zeros((1, 2, 1, 4, 4, 3), dtype=torch.uint8)
    (scores,) = score_clips(Fixed(), clips, precision="fp32").tolist()
    first, second = np.exp([4.0, 0.0, 3.0]), np.exp([-9.0, 1.0, 0.9])
    assert scores == pytest.approx(list((first / first.sum() + second / second.sum()) / 2), rel=1e-5)


def test_a_video_that_cannot_be_decoded_is_wrong_and_named(tmp_path: Path, classifier: Classifier):
    reporter = Recorder()
    result = run(tmp_path, batches(bad=3), reporter=reporter)
    (row,) = [r for r in pq.read_table(result.predictions).to_pylist() if r["video"] == 6]
    assert (row["predicted"], row["probabilities"]) == (-1, [0.0] * CLASSES)
    assert result.metrics["videos"] == 5
    assert result.metrics["bad_videos"] == 1
    assert reporter.problems == ["v.mp4: broken"]


def test_an_undecoded_video_of_class_0_does_not_hit_by_its_zeros():
    predictions = Predictions(
        video=np.arange(2),
        label=np.array([0, 1]),
        split=np.zeros(2, dtype=np.int64),
        values=np.array([[0, 0, 0], [0.2, 0.7, 0.1]], dtype=np.float32),
        decoded=np.array([False, True]),
        clips_padded=np.array([0, 0]),
        path=np.array(["", ""], dtype=object),
    )
    assert predictions.metrics() == {
        "top1": 0.5,
        "top5": 0.5,
        "videos": 2,
        "bad_videos": 1,
        "clips_padded": 0,
    }


@pytest.mark.parametrize(("videos", "drop"), [(6, 0), (4, 0), (5, 1)])
def test_missing_or_repeated_videos_are_an_error(tmp_path: Path, classifier, videos: int, drop: int):
    def source() -> Iterator[HostBatch]:
        for batch in batches():
            yield {**batch, "video": np.where(batch["video"] == 4, 2, batch["video"])} if drop else batch

    with pytest.raises(RuntimeError, match=f"{videos} videos were to be scored, but 5 came"):
        run(tmp_path, source(), reporter=Recorder(), videos=videos)


def test_it_stops_when_asked(tmp_path: Path, classifier: Classifier):
    result = run(tmp_path, batches(), reporter=Recorder(stop_after=1))
    assert (result.status, result.predictions) == ("stopped", None)
