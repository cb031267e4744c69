"""Self-supervised pretraining: augment both views on the device, contrast them, step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lstcl_platform.frameworks import Framework, build_framework
from lstcl_platform.models import backbone_of
from lstcl_platform.models.stochastic import BatchShare, share_batch
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.frameworks import FrameworkSpec, SimSiamSpec
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.training.context import StageContext, StageResult
from lstcl_platform.training.distributed import distribute, use_device, without_sync
from lstcl_platform.training.fingerprint import numerics_fingerprint
from lstcl_platform.training.flops import pretraining_flops
from lstcl_platform.training.initial_weights import start_from_public
from lstcl_platform.training.loop import Course, Loop, Measured
from lstcl_platform.training.optimizer import pretrain_optimizer, set_learning_rate
from lstcl_platform.training.precision import autocast, grad_scaler
from lstcl_platform.training.schedules import cosine_momentum, warmup_cosine
from lstcl_platform.training.seeding import repeatable
from lstcl_platform.training.speed_up import speed_up
from lstcl_platform.training.trainee import Trainee
from lstcl_platform.training.transfer import HostBatch
from lstcl_platform.training.watch import CollapseWatch
from lstcl_platform.video.augmentation import augment_clips

LR_BATCH = 256
"""Batch size at which `lr_base` is the peak learning rate (main_moco.py:190)."""


def pretrain(stage_spec: TrialSpec, context: StageContext, batches: Iterator[HostBatch]) -> StageResult:
    """Train the framework of `stage_spec.pretrain` to its last epoch, to `context.end_step`, or until asked to stop.

    Rows hold loss, lr, momentum (where there is a momentum encoder), grad_norm, retrieval_top1, the figures of
    `CollapseWatch` at the row's last step (its last micro-batch), and timing: samples_per_second,
    step_seconds, what the data cost (`DataAccount.close`), tflops (of all ranks) and, if `resources.peak_tflops`
    is set, mfu.

    Args:
        stage_spec: settings of the trial; `pretrain` must be set.
        context: where the stage runs.
        batches: this rank's share of each step from the resumed step on: `short` and `long` uint8 (B, T, H,
            W, 3), `augment` float32 (B, 2, P), `bad` (B,). With accumulation, B / accumulation_steps rows a
            piece.

    Returns:
        Result on all ranks; its weights are the backbone's (the query encoder).

    Raises:
        UserError: the initial weights do not fit, the precision does not fit the device, or the checkpoint was
            computed in another way.
        FloatingPointError: training diverged.
    """
    spec = stage_spec.pretrain
    if spec is None:
        raise ValueError("the trial has no pretraining")
    use_device(context)
    with repeatable(context.device):
        framework = _framework(stage_spec, spec, context)
        trainee = Trainee(
            model=framework,
            optimizer=pretrain_optimizer(
                framework,
                weight_decay=spec.weight_decay,
                at_peak=framework.predictor if _predictor_at_peak(spec.framework) else None,
            ),
            scaler=grad_scaler(spec.precision, context.device),
            device=context.device,
        )
        course = _course(stage_spec, spec, context)
        loop = Loop(trainee, context, course)
        step = _Step(
            spec=spec,
            framework=framework,
            first_momentum=framework.momentum,
            distributed=distribute(framework, context),
            trainee=trainee,
            total=course.total_steps,
            warmup=spec.warmup_epochs * context.steps_per_epoch,
            watch=CollapseWatch(context),
            watch_every=context.log_every_steps,
        )
        status = loop.run(batches, step)
        return loop.result(status, weights_of=framework.backbone)


def _framework(stage_spec: TrialSpec, spec: PretrainSpec, context: StageContext) -> Framework:
    """The framework as it starts, on its device; draws from torch's generator, which it seeds."""
    torch.manual_seed(spec.seed)
    backbone = backbone_of(stage_spec.model, drop_path=spec.drop_path)
    start_from_public(backbone, stage_spec.model.init, context)
    framework = build_framework(spec.framework, backbone).to(context.device)
    share_batch(framework, BatchShare(rank=context.rank, world_size=context.world_size, views=2))
    framework.trunk_parts = spec.accumulation_steps // spec.contrasts
    speed_up(framework, stage_spec.resources)
    return framework


def _course(stage_spec: TrialSpec, spec: PretrainSpec, context: StageContext) -> Course:
    resources = stage_spec.resources
    micro_batch = spec.batch_size // spec.accumulation_steps // context.world_size
    peak = resources.peak_tflops
    return Course(
        total_steps=spec.epochs * context.steps_per_epoch,
        end_step=context.end_step,
        global_batch=spec.batch_size,
        seed=spec.seed,
        columns=("short", "long", "augment"),
        fingerprint=numerics_fingerprint(context, micro_batch=micro_batch, compiled=resources.compile),
        sample_flops=pretraining_flops(spec.framework, stage_spec.model),
        peak_flops=None if peak is None else peak * 1e12 * context.world_size,
    )


def _predictor_at_peak(spec: FrameworkSpec) -> bool:
    return isinstance(spec, SimSiamSpec) and spec.predictor_lr == "constant"


@dataclass(frozen=True, kw_only=True)
class _Step:
    spec: PretrainSpec
    framework: Framework
    first_momentum: float | None
    distributed: nn.Module
    trainee: Trainee
    total: int
    warmup: float
    watch: CollapseWatch
    watch_every: int

    def __call__(self, step: int, columns: Mapping[str, Tensor]) -> Measured:
        spec, parts = self.spec, self.spec.contrasts
        peak = spec.lr_base * spec.batch_size / LR_BATCH
        lr = warmup_cosine(step, total=self.total, warmup=self.warmup, peak=peak)
        settings = {"lr": lr}
        if self.first_momentum is not None:
            settings["momentum"] = cosine_momentum(step, total=self.total, start=self.first_momentum)
        set_learning_rate(self.trainee.optimizer, lr, peak=peak)
        split = {name: column.chunk(parts) for name, column in columns.items()}
        measured = []
        for part in range(parts):
            if self.first_momentum is not None:
                # The momentum encoder moves once a step: at momentum 1 it stays.
                self.framework.momentum = settings["momentum"] if part == 0 else 1.0
            with without_sync(self.distributed, when=part < parts - 1):
                loss = self._loss({name: pieces[part] for name, pieces in split.items()})
                self.trainee.backward(loss / parts)
            measured.append({"loss": loss.detach(), **self.framework.stats})
        tensors = {name: torch.stack([m[name] for m in measured]).mean() for name in measured[0]}
        tensors["grad_norm"] = self.trainee.apply_gradients()
        done = step + 1
        if done % self.watch_every == 0 or done == self.total:
            settings |= self.watch.figures(done, self.framework.observed)
        return Measured(tensors=tensors, settings=settings)

    def _loss(self, columns: Mapping[str, Tensor]) -> Tensor:
        short, long = (
            augment_clips(columns[view], columns["augment"][:, number], self.spec.augment)
            for number, view in enumerate(("short", "long"))
        )
        with autocast(self.spec.precision, short.device):
            loss: Tensor = self.distributed(short, long)
        return loss
