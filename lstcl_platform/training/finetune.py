"""Supervised training of backbone and classifier, from a pretraining or from scratch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn

from lstcl_platform.models import Classifier, backbone_of
from lstcl_platform.models.stochastic import BatchShare, share_batch
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.training import FinetuneSpec
from lstcl_platform.training.context import StageContext, StageResult
from lstcl_platform.training.distributed import distribute, use_device
from lstcl_platform.training.fingerprint import numerics_fingerprint
from lstcl_platform.training.initial_weights import start_from_public
from lstcl_platform.training.loop import Course, Loop, Measured
from lstcl_platform.training.mixing import PairMixer
from lstcl_platform.training.optimizer import finetune_optimizer, set_learning_rate
from lstcl_platform.training.precision import autocast, grad_scaler
from lstcl_platform.training.schedules import warmup_cosine
from lstcl_platform.training.seeding import repeatable
from lstcl_platform.training.speed_up import speed_up
from lstcl_platform.training.trainee import Trainee, fetch_weights
from lstcl_platform.training.transfer import HostBatch
from lstcl_platform.video.augmentation import normalise_clips

LR_BATCH = 512
"""Batch size at which `lr_base` is the peak learning rate (DeiT, VideoMAE)."""

soft_target_cross_entropy = SoftTargetCrossEntropy()


def finetune(
    stage_spec: TrialSpec, context: StageContext, batches: Iterator[HostBatch], *, num_classes: int
) -> StageResult:
    """Train a classifier to the last epoch, to `context.end_step`, or until the reporter asks to stop.

    The backbone starts from `context.parent_weights`, or as pretraining with the same seed would start: from
    `model.init`, or at random. Rows hold loss, train_top1 (against the class that makes up most of a clip), lr
    (of the head), grad_norm, and timing as in pretraining.

    Args:
        stage_spec: settings of the trial.
        context: where the stage runs.
        batches: this rank's share of each step from the resumed step on: `clip` uint8 (B, T, H, W, 3),
            already cropped, flipped and augmented, `label` int64 (B,), `bad` (B,).
        num_classes: classes of the training data.

    Returns:
        Result on all ranks; its weights are those of the whole classifier.

    Raises:
        UserError: the parent's weights do not fit, the precision does not fit the device, or the checkpoint
            was computed in another way.
        FloatingPointError: training diverged.
    """
    spec = stage_spec.finetune
    use_device(context)
    with repeatable(context.device):
        classifier = _classifier(stage_spec, context, num_classes=num_classes)
        trainee = Trainee(
            model=classifier,
            optimizer=finetune_optimizer(
                classifier, weight_decay=spec.weight_decay, layer_decay=stage_spec.finetune_layer_decay
            ),
            scaler=grad_scaler(spec.precision, context.device),
            device=context.device,
        )
        total = spec.epochs * context.steps_per_epoch
        course = Course(
            total_steps=total,
            end_step=context.end_step,
            global_batch=spec.batch_size,
            seed=spec.seed,
            columns=("clip", "label"),
            fingerprint=numerics_fingerprint(
                context,
                micro_batch=spec.batch_size // context.world_size,
                compiled=stage_spec.resources.compile,
            ),
        )
        loop = Loop(trainee, context, course)
        step = _Step(
            spec=spec,
            distributed=distribute(classifier, context),
            trainee=trainee,
            mixer=PairMixer(spec, num_classes=num_classes, context=context) if spec.mixes else None,
            total=total,
            warmup=spec.warmup_epochs * context.steps_per_epoch,
        )
        status = loop.run(batches, step)
        return loop.result(status, weights_of=classifier)


def _classifier(stage_spec: TrialSpec, context: StageContext, *, num_classes: int) -> Classifier:
    """The classifier as it starts, on its device; draws from torch's generator, which it seeds."""
    spec = stage_spec.finetune
    torch.manual_seed(spec.seed)
    backbone = backbone_of(stage_spec.model, drop_path=stage_spec.finetune_drop_path)
    if context.parent_weights is None:
        start_from_public(backbone, stage_spec.model.init, context)
    elif context.resume_from is None:
        fetch_weights(backbone, context.parent_weights, sha256=context.parent_sha256)
    classifier = Classifier(backbone, num_classes, dropout=spec.head_dropout).to(context.device)
    share_batch(classifier, BatchShare(rank=context.rank, world_size=context.world_size))
    speed_up(classifier, stage_spec.resources)
    return classifier


@dataclass(frozen=True, kw_only=True)
class _Step:
    spec: FinetuneSpec
    distributed: nn.Module
    trainee: Trainee
    mixer: PairMixer | None
    total: int
    warmup: float

    def __call__(self, step: int, columns: Mapping[str, Tensor]) -> Measured:
        spec, labels = self.spec, columns["label"]
        peak = spec.lr_base * spec.batch_size / LR_BATCH
        lr = warmup_cosine(step, total=self.total, warmup=self.warmup, peak=peak)
        set_learning_rate(self.trainee.optimizer, lr)
        clips = normalise_clips(columns["clip"])
        targets = self.mixer(step, clips, labels) if self.mixer is not None else None
        with autocast(spec.precision, clips.device):
            logits = self.distributed(clips)
        logits = logits.float()
        if targets is None:
            loss = F.cross_entropy(logits, labels, label_smoothing=spec.label_smoothing)
        else:
            loss = soft_target_cross_entropy(logits, targets)
            labels = targets.argmax(1)  # the class that makes up most of a mixed clip
        self.trainee.backward(loss)
        measured = {
            "loss": loss.detach(),
            "train_top1": (logits.argmax(1) == labels).float().mean(),
            "grad_norm": self.trainee.apply_gradients(),
        }
        return Measured(tensors=measured, settings={"lr": lr})
