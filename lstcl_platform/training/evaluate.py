"""Test a classifier: softmax scores averaged over the clips of each video (paper, Section 4)."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lstcl_platform import storage
from lstcl_platform.models import Classifier, backbone_of
from lstcl_platform.specs.base import Precision
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.training.context import StageContext, StageResult
from lstcl_platform.training.distributed import from_main, gather_on_main, use_device
from lstcl_platform.training.fingerprint import numerics_fingerprint
from lstcl_platform.training.precision import autocast
from lstcl_platform.training.seeding import repeatable
from lstcl_platform.training.trainee import fetch_weights
from lstcl_platform.training.transfer import HostBatch
from lstcl_platform.training.video_values import VideoValues, values_of_all
from lstcl_platform.video.augmentation import normalise_clips

TOP = 5
UNDECODED = -1
"""`predicted` of a video that could not be decoded; it counts as wrong."""


class Predictions(VideoValues):
    """Class probabilities of some videos: `values` is the mean softmax score over clips, (N, K)."""

    @property
    def ranking(self) -> NDArray[np.int64]:
        """Classes from most to least probable, (N, K); of equal ones the lower number comes first."""
        return np.argsort(-self.values, axis=1, kind="stable")

    def metrics(self) -> dict[str, float]:
        """Top-1 and top-5 (top-K if K < 5) accuracy in [0, 1] over all videos, and counts."""
        hits = (self.ranking[:, :TOP] == self.label[:, None]) & self.decoded[:, None]
        return {
            "top1": float(hits[:, 0].mean()),
            "top5": float(hits.any(axis=1).mean()),
            "videos": float(len(self.video)),
            "bad_videos": float((~self.decoded).sum()),
            "clips_padded": float(self.clips_padded.sum()),
        }

    def table(self) -> pa.Table:
        """Columns video, path, label, predicted, probabilities."""
        predicted = np.where(self.decoded, self.ranking[:, 0], UNDECODED)
        return pa.table(
            {
                "video": self.video,
                "path": pa.array(self.path.tolist(), pa.string()),
                "label": self.label,
                "predicted": predicted,
                "probabilities": pa.array(list(self.values), pa.list_(pa.float32())),
            }
        )


def evaluate(
    stage_spec: TrialSpec,
    context: StageContext,
    batches: Iterator[HostBatch],
    *,
    num_classes: int,
    videos: int,
) -> StageResult:
    """Score every video once and write the predictions as Parquet. A stopped evaluation starts anew.

    Args:
        stage_spec: settings of the trial.
        context: where the stage runs; `parent_weights` are the classifier's, `steps_per_epoch` is the
            number of batches, equal on all ranks (the caller fills up with padding).
        batches: this rank's batches: `clips` uint8 (B, C, T, H, W, 3), `label` (B,), `video` int64 (B,)
            with -1 for padding, `bad` (B,), `clips_padded` int64 (B,) and, if known, `path` (B,).
        num_classes: classes of the training data.
        videos: videos to be scored over all ranks.

    Returns:
        Result on all ranks: top1, top5, videos, bad_videos, clips_padded.

    Raises:
        UserError: the weights do not fit, or the precision does not fit the device.
        RuntimeError: a video is missing or came twice.
        FloatingPointError: the model's scores are not finite.
    """
    if context.parent_weights is None:
        raise ValueError("evaluation needs the weights of a finetuned classifier")
    use_device(context)
    with repeatable(context.device), torch.inference_mode():
        backbone = backbone_of(stage_spec.model)
        classifier = Classifier(backbone, num_classes)
        fetch_weights(classifier, context.parent_weights, sha256=context.parent_sha256)
        classifier = classifier.to(context.device).eval()
        score = partial(score_clips, classifier, precision=stage_spec.evaluate.precision)
        scored = values_of_all(Predictions, score, context, batches)
        fingerprint = numerics_fingerprint(context, micro_batch=stage_spec.resources.evaluate_batch_size)
    if scored is None:
        return StageResult(status="stopped", steps=0, fingerprint=fingerprint)
    gathered = gather_on_main(scored, context)
    result = None
    if context.is_main:
        parts = [part for rank in gathered for part in rank]
        result = _result(Predictions.merged(parts, videos=videos), context, fingerprint)
    result = from_main(result, context)
    row = {"step": float(context.steps_per_epoch), "epoch": 1.0, **result.metrics}
    context.reporter.log([row])
    return result


def score_clips(model: nn.Module, clips: Tensor, *, precision: Precision) -> Tensor:
    """Class probabilities of videos: the softmax of each clip, averaged over clips.

    Args:
        model: (N, 3, T, H, W) -> logits (N, K), in eval mode.
        clips: uint8 (B, C, T, H, W, 3), C clips a video.
        precision: arithmetic of the forward pass; softmax and mean are float32.

    Returns:
        float32 (B, K).
    """
    count, per_video = clips.shape[:2]
    with autocast(precision, clips.device):
        logits = model(normalise_clips(clips.flatten(0, 1)))
    probabilities: Tensor = logits.float().softmax(1)
    return probabilities.view(count, per_video, -1).mean(1)


def _result(predictions: Predictions, context: StageContext, fingerprint: Mapping[str, Any]) -> StageResult:
    location, digest = store_predictions(predictions.table(), context)
    return StageResult(
        status="finished",
        steps=context.steps_per_epoch,
        metrics=predictions.metrics(),
        predictions=location,
        predictions_digest=digest,
        fingerprint=dict(fingerprint),
    )


def store_predictions(table: pa.Table, context: StageContext) -> tuple[str, str]:
    """Write the predictions of an attempt as Parquet; returns where and the file's SHA-256."""
    location = storage.join(context.attempt_dir, "final", "predictions.parquet")
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return location, storage.write_bytes(location, buffer.getvalue().to_pybytes())
