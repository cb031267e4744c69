"""Test a frozen backbone: one pass of features over training and test videos, then k-NN and linear probe."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from lstcl_platform.models import Backbone, backbone_of
from lstcl_platform.specs.base import Precision
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.training import EvaluateSpec
from lstcl_platform.training.context import StageContext, StageResult
from lstcl_platform.training.distributed import from_main, gather_on_main, use_device
from lstcl_platform.training.evaluate import Predictions, store_predictions
from lstcl_platform.training.fingerprint import numerics_fingerprint
from lstcl_platform.training.frozen import Labelled, knn_probabilities, linear_probabilities
from lstcl_platform.training.initial_weights import start_from_public
from lstcl_platform.training.precision import autocast
from lstcl_platform.training.seeding import repeatable
from lstcl_platform.training.trainee import fetch_weights
from lstcl_platform.training.transfer import HostBatch
from lstcl_platform.training.video_values import VideoValues, values_of_all
from lstcl_platform.video.augmentation import normalise_clips
from lstcl_platform.video.probe_samples import TEST_SPLIT


def probe(
    stage_spec: TrialSpec,
    context: StageContext,
    batches: Iterator[HostBatch],
    *,
    num_classes: int,
    videos: int,
) -> StageResult:
    """Run the frozen protocols of `stage_spec.evaluate` and write the predictions as Parquet.

    The feature of a video is the mean of the backbone's over its clips. A stopped probe starts anew.

    Args:
        stage_spec: settings of the trial.
        context: where the stage runs; without `parent_weights` the backbone is as finetuning from scratch
            would start it.
        batches: this rank's batches as `ProbeSamples` makes them.
        num_classes: classes of the training data.
        videos: training and test videos over all ranks.

    Returns:
        Result on all ranks: top1 and top5 of each protocol as `knn_top1`, `linear_top1`..., `linear_lr` (the
        chosen rate), and counts over the test videos.

    Raises:
        UserError: the weights do not fit, or the precision does not fit the device.
        RuntimeError: a video is missing or came twice, or no training video could be decoded.
        FloatingPointError: the features are not finite.
    """
    use_device(context)
    evaluate = stage_spec.evaluate
    with repeatable(context.device):
        backbone = _backbone(stage_spec, context).to(context.device).eval()
        with torch.inference_mode():
            features = partial(clip_features, backbone, precision=evaluate.precision)
            found = values_of_all(VideoValues, features, context, batches)
        fingerprint = numerics_fingerprint(context, micro_batch=stage_spec.resources.evaluate_batch_size)
        if found is None:
            return StageResult(status="stopped", steps=0, fingerprint=fingerprint)
        gathered = gather_on_main(found, context)
        result = None
        if context.is_main:
            whole = VideoValues.merged([part for rank in gathered for part in rank], videos=videos)
            result = _result(whole, evaluate, context, fingerprint, num_classes=num_classes)
    result = from_main(result, context)
    context.reporter.log([{"step": float(context.steps_per_epoch), "epoch": 1.0, **result.metrics}])
    return result


def clip_features(backbone: nn.Module, clips: Tensor, *, precision: Precision) -> Tensor:
    """Features of videos: uint8 clips (B, C, T, H, W, 3) -> mean over the C clips, float32 (B, D)."""
    count, per_video = clips.shape[:2]
    with autocast(precision, clips.device):
        features: Tensor = backbone(normalise_clips(clips.flatten(0, 1)))
    return features.float().view(count, per_video, -1).mean(1)


def _backbone(stage_spec: TrialSpec, context: StageContext) -> Backbone:
    torch.manual_seed(stage_spec.finetune.seed)
    backbone = backbone_of(stage_spec.model)
    if context.parent_weights is None:
        start_from_public(backbone, stage_spec.model.init, context)
    else:
        fetch_weights(backbone, context.parent_weights, sha256=context.parent_sha256)
    return backbone


def _result(
    whole: VideoValues,
    spec: EvaluateSpec,
    context: StageContext,
    fingerprint: Mapping[str, Any],
    *,
    num_classes: int,
) -> StageResult:
    test = whole.rows(whole.split == TEST_SPLIT)
    train = whole.rows((whole.split != TEST_SPLIT) & whole.decoded)
    if not len(train.video):
        raise RuntimeError("no training video could be decoded: there is nothing to compare features with")
    known = Labelled(
        features=torch.from_numpy(train.values).to(context.device),
        labels=torch.from_numpy(train.label).to(context.device),
    )
    asked = torch.from_numpy(test.values).to(context.device)
    metrics: dict[str, float] = {}
    table = None
    for protocol in spec.frozen_protocols:
        if protocol == "knn":
            scores = knn_probabilities(known, asked, num_classes=num_classes, spec=spec.knn)
        else:
            scores, rate = linear_probabilities(known, asked, num_classes=num_classes, spec=spec.linear)
            metrics["linear_lr"] = rate
        predictions = Predictions(**{**vars(test), "values": scores.detach().cpu().numpy()})
        measured = predictions.metrics()
        metrics |= {f"{protocol}_{name}": measured.pop(name) for name in ("top1", "top5")} | measured
        table = _with_columns(table, predictions.table(), protocol)
    assert table is not None
    location, digest = store_predictions(table, context)
    return StageResult(
        status="finished",
        steps=context.steps_per_epoch,
        metrics=metrics,
        predictions=location,
        predictions_digest=digest,
        fingerprint=dict(fingerprint),
    )


def _with_columns(table: pa.Table | None, more: pa.Table, protocol: str) -> pa.Table:
    """Columns video, path, label, and of each protocol `<protocol>_predicted` and `<protocol>_probabilities`."""
    table = more.select(["video", "path", "label"]) if table is None else table
    for name in ("predicted", "probabilities"):
        table = table.append_column(f"{protocol}_{name}", more.column(name))
    return table
