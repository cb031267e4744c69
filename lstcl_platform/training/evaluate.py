"""Test a classifier: softmax scores averaged over the clips of each video (paper, Section 4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lstcl_platform.models import Classifier, backbone_of
from lstcl_platform.specs.base import Precision
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.training import storage
from lstcl_platform.training.context import StageContext, StageResult
from lstcl_platform.training.distributed import from_main, gather_on_main, use_device
from lstcl_platform.training.fingerprint import numerics_fingerprint
from lstcl_platform.training.precision import autocast
from lstcl_platform.training.seeding import repeatable
from lstcl_platform.training.trainee import fetch_weights
from lstcl_platform.training.transfer import Feed, HostBatch
from lstcl_platform.video.augmentation import normalise_clips

TOP = 5
UNDECODED = -1
"""`predicted` of a video that could not be decoded; it counts as wrong."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Scores of some videos; all arrays have one entry a video.

    Attributes:
        video: row of the manifest, int64 (N,).
        label: true class, int64 (N,).
        probabilities: mean softmax score over clips, float32 (N, K); zeros when the video could not be
            decoded.
        decoded: whether it could be decoded, bool (N,).
        clips_padded: clips that are longer than the video, int64 (N,).
        path: path of the video, or "" where the data plane gave none.
    """

    video: NDArray[np.int64]
    label: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    decoded: NDArray[np.bool_]
    clips_padded: NDArray[np.int64]
    path: NDArray[Any]

    @property
    def ranking(self) -> NDArray[np.int64]:
        """Classes from most to least probable, (N, K); of equal ones the lower number comes first."""
        return np.argsort(-self.probabilities, axis=1, kind="stable")

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
                "probabilities": pa.array(list(self.probabilities), pa.list_(pa.float32())),
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
        fetch_weights(classifier, context.parent_weights)
        classifier = classifier.to(context.device).eval()
        scored = _score_all(classifier, context, batches, precision=stage_spec.evaluate.precision)
        fingerprint = numerics_fingerprint(context, micro_batch=stage_spec.resources.evaluate_batch_size)
    if scored is None:
        return StageResult(status="stopped", steps=0, fingerprint=fingerprint)
    gathered = gather_on_main(scored, context)
    result = None
    if context.is_main:
        result = _result(_merge(gathered, videos=videos), context, fingerprint)
    result = from_main(result, context)
    row = {"step": float(context.steps_per_epoch), "epoch": 1.0, **result.metrics}
    context.reporter.log([row])
    return result


def _score_all(
    model: nn.Module, context: StageContext, batches: Iterator[HostBatch], *, precision: Precision
) -> list[Predictions] | None:
    total = context.steps_per_epoch
    feed = Feed(batches, device=context.device, columns=("clips",))
    scored = []
    for step in range(1, total + 1):
        batch = feed.take()
        probabilities = score_clips(model, batch.tensors["clips"], precision=precision)
        stop = context.reporter.should_stop(step) and step < total
        if stop:
            return None
        if step < total:
            feed.prefetch()
        for problem in batch.host["bad"]:
            if problem:
                context.reporter.bad_video(str(problem))
        scored.append(_predictions(batch.host, probabilities.cpu().numpy()))
        context.reporter.progress(step, total, {})
    return scored


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


def _predictions(host: Mapping[str, NDArray[Any]], probabilities: NDArray[np.float32]) -> Predictions:
    real = host["video"] >= 0
    decoded = np.array([not problem for problem in host["bad"]], dtype=bool)
    probabilities = np.where(decoded[:, None], probabilities, np.float32(0))
    path = host.get("path", np.full(len(real), "", dtype=object))
    if not np.isfinite(probabilities[real]).all():
        raise FloatingPointError("the classifier's scores are not finite: its training has diverged")
    return Predictions(
        video=host["video"][real],
        label=host["label"][real],
        probabilities=probabilities[real],
        decoded=decoded[real],
        clips_padded=host["clips_padded"][real],
        path=path[real],
    )


def _merge(gathered: list[list[Predictions]], *, videos: int) -> Predictions:
    parts = [part for rank in gathered for part in rank]
    video = np.concatenate([part.video for part in parts])
    order = np.argsort(video, kind="stable")
    if len(video) != videos or len(np.unique(video)) != videos:
        different = len(np.unique(video))
        raise RuntimeError(
            f"{videos} videos were to be scored, but {len(video)} came, {different} of them different"
        )
    return Predictions(
        video=video[order],
        label=np.concatenate([part.label for part in parts])[order],
        probabilities=np.concatenate([part.probabilities for part in parts])[order],
        decoded=np.concatenate([part.decoded for part in parts])[order],
        clips_padded=np.concatenate([part.clips_padded for part in parts])[order],
        path=np.concatenate([part.path for part in parts])[order],
    )


def _result(predictions: Predictions, context: StageContext, fingerprint: Mapping[str, Any]) -> StageResult:
    location = storage.join(context.attempt_dir, "final", "predictions.parquet")
    buffer = pa.BufferOutputStream()
    pq.write_table(predictions.table(), buffer)
    digest = storage.write_bytes(location, buffer.getvalue().to_pybytes())
    return StageResult(
        status="finished",
        steps=context.steps_per_epoch,
        metrics=predictions.metrics(),
        predictions=location,
        predictions_digest=digest,
        fingerprint=dict(fingerprint),
    )
