"""What a pretraining step does: augmentation, accumulation, schedules, initialisation, rows."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lstcl_platform import storage
from lstcl_platform.frameworks import Framework, build_framework
from lstcl_platform.models import build_backbone, load_weights
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.frameworks import BYOLSpec, FrameworkSpec, MoCoV3Spec, SimSiamSpec
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.training.checkpoints import load_checkpoint
from lstcl_platform.training.pretrain import pretrain
from lstcl_platform.video.augmentation import augment_clips
from tests.training.stages import (
    DECODE_SECONDS,
    FRAMES,
    SIDE,
    STEPS_PER_EPOCH,
    TOTAL,
    HostBatch,
    Recorder,
    pretrain_batches,
    stage_context,
    trial,
)


def plain_framework(spec: TrialSpec) -> Framework:
    """The framework as a reader of the documentation would build it."""
    assert spec.pretrain is not None
    torch.manual_seed(spec.pretrain.seed)
    backbone = build_backbone(
        spec.model.name, frames=FRAMES, image_size=SIDE, drop_path=spec.pretrain.drop_path
    )
    return build_framework(spec.pretrain.framework, backbone)


def views(batch: HostBatch, spec: TrialSpec) -> tuple[Tensor, Tensor]:
    assert spec.pretrain is not None
    parameters = torch.tensor(batch["augment"])
    short = augment_clips(torch.tensor(batch["short"]), parameters[:, 0], spec.pretrain.augment)
    long = augment_clips(torch.tensor(batch["long"]), parameters[:, 1], spec.pretrain.augment)
    return short, long


def plain_steps(spec: TrialSpec, batches: Iterator[HostBatch]) -> tuple[Framework, list[float], list[float]]:
    """The recipe written down once more, in the plainest way: no loop, no classes, no accumulation tricks."""
    assert spec.pretrain is not None
    framework = plain_framework(spec)
    trained = [p for p in framework.parameters() if p.requires_grad]
    heads = {id(p) for p in framework.predictor.parameters()}
    groups = [[p for p in trained if (id(p) in heads) is part] for part in (False, True)]
    optimizers = [torch.optim.AdamW(group, weight_decay=spec.pretrain.weight_decay) for group in groups]
    momentum = getattr(spec.pretrain.framework, "momentum", None)
    losses, norms = [], []
    for step, batch in enumerate(batches):
        warmup = STEPS_PER_EPOCH * spec.pretrain.warmup_epochs
        peak = spec.pretrain.lr_base * spec.pretrain.batch_size / 256
        after = (step - warmup) / (TOTAL - warmup)
        lr = peak * (step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * after)))
        optimizers[0].param_groups[0]["lr"] = lr
        optimizers[1].param_groups[0]["lr"] = peak if momentum is None else lr
        parts = spec.pretrain.accumulation_steps
        gradients = [torch.zeros_like(p) for p in trained]
        mean = 0.0
        pieces = [torch.chunk(view, parts) for view in views(batch, spec)]
        for part, (short, long) in enumerate(zip(*pieces, strict=True)):
            if momentum is not None:
                now = 1 - 0.5 * (1 + math.cos(math.pi * step / TOTAL)) * (1 - momentum)
                framework.momentum = now if part == 0 else 1.0
            loss = framework(short, long)
            for total, gradient in zip(gradients, torch.autograd.grad(loss, trained), strict=True):
                total += gradient / parts
            mean += loss.item() / parts
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
        losses.append(mean)
        norms.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))
    return framework, losses, norms


SIZES = {"projector_hidden": 16, "predictor_hidden": 16, "output_dim": 8}
FRAMEWORKS = [MoCoV3Spec(**SIZES), BYOLSpec(**SIZES), SimSiamSpec(**SIZES)]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda spec: spec.kind)
def test_the_loop_is_the_recipe(tmp_path: Path, framework: FrameworkSpec, parts: int):
    """Losses and both encoders agree with the recipe written out by hand, with accumulation too."""
    fields = {
        "framework": framework,
        "accumulation_steps": parts,
        "contrast_batch": 8 // parts,
        "drop_path": 0.0,
        "lr_base": 0.02,
    }
    spec = trial(pretraining=fields)
    plain, losses, norms = plain_steps(spec, pretrain_batches())
    reporter = Recorder()
    result = pretrain(spec, stage_context(tmp_path / "a1", reporter), pretrain_batches())
    assert [row["loss"] for row in reporter.rows] == pytest.approx(losses, rel=1e-4)
    assert [row["grad_norm"] for row in reporter.rows] == pytest.approx(norms, rel=1e-3)
    assert len({round(loss, 4) for loss in losses}) == TOTAL
    state = load_checkpoint(result.checkpoint)["model"]
    for name, value in plain.state_dict().items():
        if name.startswith(("momentum_backbone", "predictor.3.weight")):
            torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS[1:], ids=lambda spec: spec.kind)
def test_the_other_frameworks_resume_exactly(tmp_path: Path, framework: FrameworkSpec):
    spec, reporter = trial(pretraining={"framework": framework}), Recorder()
    whole = pretrain(spec, stage_context(tmp_path / "whole" / "a1", reporter), pretrain_batches())
    first = pretrain(spec, stage_context(tmp_path / "two" / "a1", Recorder(stop_after=3)), pretrain_batches())
    context = stage_context(tmp_path / "two" / "a2", Recorder(), resume_from=first.checkpoint)
    second = pretrain(spec, context, pretrain_batches(3))
    assert second.state_digest == whole.state_digest
    assert ("momentum" in reporter.rows[0]) is (framework.kind == "byol")


def test_a_scheduled_predictor_is_another_run(tmp_path: Path):
    runs = [
        pretrain(
            trial(pretraining={"framework": SimSiamSpec(**SIZES, predictor_lr=rule)}),
            stage_context(tmp_path / rule / "a1", Recorder(stop_after=1)),
            pretrain_batches(),
        )
        for rule in ("constant", "scheduled")
    ]
    before, after = (load_checkpoint(run.checkpoint)["model"] for run in reversed(runs))
    # The first step is taken at the schedule's rate of 0: only a predictor at the peak rate moves.
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"predictor"}


def test_rows_tell_what_happened(tmp_path: Path):
    reporter = Recorder()
    pretrain(trial(), stage_context(tmp_path / "a1", reporter), pretrain_batches())
    first, last = reporter.rows[0], reporter.rows[-1]
    names = {"step", "epoch", "loss", "lr", "momentum", "grad_norm", "retrieval_top1", "tflops"}
    names |= {"feature_std", "effective_rank", "embedding_std", "embedding_rank", "collapsed"}
    names |= {"samples_per_second", "step_seconds", "data_wait", "data_wait_seconds", "clips_padded"}
    names |= {"bad_samples", "decode_seconds", "decode_cores", "frames_decoded_per_used"}
    assert set(first) == names
    assert (first["decode_seconds"], first["frames_decoded_per_used"]) == (DECODE_SECONDS, 7.5)
    assert first["decode_cores"] == pytest.approx(8 * DECODE_SECONDS / first["step_seconds"])
    assert first["data_wait_seconds"] == pytest.approx(first["data_wait"] * first["step_seconds"])
    assert (first["step"], first["epoch"], last["step"], last["epoch"]) == (1, 1 / 3, TOTAL, 2)
    assert (first["lr"], first["momentum"]) == (0.0, pytest.approx(0.99))
    assert reporter.rows[STEPS_PER_EPOCH]["lr"] == pytest.approx(0.05 * 8 / 256)
    assert first["grad_norm"] > 0
    assert 0 <= first["retrieval_top1"] <= 1
    assert first["samples_per_second"] == pytest.approx(8 / first["step_seconds"])
    assert reporter.steps == list(range(1, TOTAL + 1))


def test_waiting_for_data_shows_but_not_that_for_the_first_batch(tmp_path: Path):
    def slow(batches: Iterator[HostBatch]) -> Iterator[HostBatch]:
        import time

        for number, batch in enumerate(batches):
            time.sleep(0.3 if number else 5.0)
            yield batch

    rows = {}
    for name, batches in (("fast", pretrain_batches()), ("slow", slow(pretrain_batches()))):
        reporter = Recorder()
        pretrain(trial(), stage_context(tmp_path / name / "a1", reporter, log_every_steps=TOTAL), batches)
        (rows[name],) = reporter.rows
    waited = rows["slow"]["data_wait"] * rows["slow"]["step_seconds"] * TOTAL
    assert 0.3 * (TOTAL - 1) <= waited < 5.0
    assert rows["slow"]["data_wait"] > rows["fast"]["data_wait"]


def test_the_weights_are_the_query_encoder(tmp_path: Path):
    result = pretrain(trial(), stage_context(tmp_path / "a1", Recorder()), pretrain_batches())
    backbone = build_backbone("st_swin_micro", frames=FRAMES, image_size=SIDE)
    load_weights(backbone, result.weights)
    state = load_checkpoint(result.checkpoint)["model"]
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[f"backbone.{name}"])
    assert any(not torch.equal(v, state[f"momentum_backbone.{n}"]) for n, v in backbone.named_parameters())
    assert storage.list_names(str(tmp_path / "a1" / "final")) == ["weights.safetensors"]


def test_the_seed_decides(tmp_path: Path):
    digests = [
        pretrain(
            trial(pretraining={"seed": seed}),
            stage_context(tmp_path / str(number) / "a1", Recorder()),
            pretrain_batches(),
        ).state_digest
        for number, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_bad_videos_are_named(tmp_path: Path):
    def with_bad(batches: Iterator[HostBatch]) -> Iterator[HostBatch]:
        for number, batch in enumerate(batches):
            bad = batch["bad"].copy()
            if number == 1:
                bad[3] = "clip.mp4: moov atom not found"
            yield {**batch, "bad": bad}

    reporter = Recorder()
    pretrain(trial(), stage_context(tmp_path / "a1", reporter), with_bad(pretrain_batches()))
    assert reporter.problems == ["clip.mp4: moov atom not found"]


def test_counters_add_up_over_steps(tmp_path: Path):
    counts = [int(batch["clips_padded"].sum()) for batch in pretrain_batches()]
    reporter = Recorder()
    context = stage_context(tmp_path / "a1", reporter, log_every_steps=4)
    result = pretrain(trial(), context, pretrain_batches())
    assert [row["clips_padded"] for row in reporter.rows] == [sum(counts[:4]), sum(counts)]
    assert result.metrics["clips_padded"] == sum(counts) > 0
    assert "pairs_not_disjoint" not in result.metrics


def test_divergence_ends_the_stage_before_it_is_saved(tmp_path: Path):
    def poisoned(batches: Iterator[HostBatch]) -> Iterator[HostBatch]:
        for number, batch in enumerate(batches):
            augment = batch["augment"].copy()
            if number == 3:
                augment[0, 0, 0] = float("nan")
            yield {**batch, "augment": augment}

    context = stage_context(
        tmp_path / "a1", Recorder(), log_every_steps=100, checkpoint=CheckpointSpec(every_steps=2, keep=5)
    )
    with pytest.raises(FloatingPointError, match="not finite within the last 4 steps before step 4"):
        pretrain(trial(), context, poisoned(pretrain_batches()))
    assert storage.list_names(str(tmp_path / "a1")) == ["step-00000002"]


def test_too_few_batches_are_an_error(tmp_path: Path):
    context = stage_context(tmp_path / "a1", Recorder())
    with pytest.raises(RuntimeError, match="ended before the last step"):
        pretrain(trial(), context, pretrain_batches(start=1))


def test_bf16_trains_and_fp16_asks_for_a_gpu(tmp_path: Path):
    losses = {}
    for precision in ("fp32", "bf16"):
        reporter = Recorder()
        spec = trial(pretraining={"precision": precision})
        pretrain(spec, stage_context(tmp_path / precision / "a1", reporter), pretrain_batches())
        losses[precision] = reporter.rows[0]["loss"]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        pretrain(
            trial(pretraining={"precision": "fp16"}),
            stage_context(tmp_path / "fp16" / "a1", Recorder()),
            pretrain_batches(),
        )


def test_pieces_with_the_whole_contrast_batch_train_as_one_batch(tmp_path: Path):
    rows = []
    for parts in (1, 4):
        spec, reporter = trial(pretraining={"accumulation_steps": parts, "drop_path": 0.0}), Recorder()
        pretrain(spec, stage_context(tmp_path / str(parts) / "a1", reporter), pretrain_batches())
        rows.append(reporter.rows)
    for name in ("loss", "grad_norm"):
        whole, pieces = ([row[name] for row in each] for each in rows)
        assert pieces == pytest.approx(whole, rel=1e-3)
    assert [row["retrieval_top1"] for row in rows[0]] == [row["retrieval_top1"] for row in rows[1]]
