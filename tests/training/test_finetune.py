"""Finetuning starts from its parent, learns, and decays what it should."""

import hashlib
from pathlib import Path

import pytest
import torch

from lstcl_platform.models import Classifier, build_backbone, save_weights
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.weights import NativeWeights
from lstcl_platform.training.checkpoints import load_checkpoint
from lstcl_platform.training.finetune import finetune
from lstcl_platform.training.optimizer import finetune_optimizer, pretrain_optimizer
from lstcl_platform.training.pretrain import pretrain
from tests.training.stages import (
    CLASSES,
    FRAMES,
    SIDE,
    TOTAL,
    Recorder,
    finetune_batches,
    pretrain_batches,
    stage_context,
    trial,
)


def backbone(seed: int = 5):
    torch.manual_seed(seed)
    return build_backbone("st_swin_micro", frames=FRAMES, image_size=SIDE)


def test_it_starts_from_the_parent(tmp_path: Path):
    """At learning rate 0 (the first step of the warm-up) the weights are still the parent's."""
    parent = backbone()
    save_weights(parent, tmp_path / "parent.safetensors")
    context = stage_context(
        tmp_path / "a1", Recorder(stop_after=1), parent_weights=(tmp_path / "parent.safetensors").as_uri()
    )
    result = finetune(trial(), context, finetune_batches(), num_classes=CLASSES)
    state = load_checkpoint(result.checkpoint)["model"]
    for name, value in parent.state_dict().items():
        assert torch.equal(state[f"backbone.{name}"], value)


def public_start(folder: Path) -> tuple[TrialSpec, torch.nn.Module]:
    """A trial whose `model.init` is a backbone in a file, and that backbone."""
    source = backbone(seed=9)
    save_weights(source, folder / "public.safetensors")
    init = NativeWeights(file=(folder / "public.safetensors").as_uri(), sha256=file_digest(folder))
    spec = trial()
    return spec.model_copy(update={"model": spec.model.model_copy(update={"init": init})}), source


def file_digest(folder: Path) -> str:
    return hashlib.sha256((folder / "public.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_first_stage_starts_from_public_weights_and_says_so(tmp_path: Path, stage: str):
    spec, source = public_start(tmp_path)
    context = stage_context(tmp_path / "a1", Recorder(stop_after=1))
    if stage == "pretrain":
        result = pretrain(spec, context, pretrain_batches())
    else:
        result = finetune(spec, context, finetune_batches(), num_classes=CLASSES)
    state = load_checkpoint(result.checkpoint)["model"]
    for name, value in source.state_dict().items():
        assert torch.equal(state[f"backbone.{name}"], value)
        if stage == "pretrain":
            assert torch.equal(state[f"momentum_backbone.{name}"], value)
    report = (tmp_path / "a1" / "initial_weights.txt").read_text()
    assert report.startswith(
        f"initial weights from {spec.model.init.file}: {len(source.state_dict())} loaded"
    )


def test_a_parent_s_weights_outweigh_public_ones(tmp_path: Path):
    spec, _ = public_start(tmp_path)
    save_weights(backbone(), tmp_path / "parent.safetensors")
    context = stage_context(
        tmp_path / "a1", Recorder(stop_after=1), parent_weights=str(tmp_path / "parent.safetensors")
    )
    result = finetune(spec, context, finetune_batches(), num_classes=CLASSES)
    state = load_checkpoint(result.checkpoint)["model"]
    assert torch.equal(state["backbone.norm.weight"], backbone().state_dict()["norm.weight"])
    assert torch.equal(state["backbone.patch_embed.proj.weight"], backbone().patch_embed.proj.weight)
    assert not (tmp_path / "a1" / "initial_weights.txt").exists()


def test_another_model_s_weights_are_refused(tmp_path: Path):
    save_weights(torch.nn.Linear(2, 2), tmp_path / "parent.safetensors")
    context = stage_context(tmp_path / "a1", Recorder(), parent_weights=str(tmp_path / "parent.safetensors"))
    with pytest.raises(UserError, match="do not fit"):
        finetune(trial(), context, finetune_batches(), num_classes=CLASSES)


def test_the_loss_has_label_smoothing_and_rows_their_columns(tmp_path: Path):
    fields = {"drop_path": 0.0, "head_dropout": 0.0, "label_smoothing": 0.4}
    reporter = Recorder()
    spec = trial(finetuning=fields)
    finetune(spec, stage_context(tmp_path / "a1", reporter), finetune_batches(), num_classes=CLASSES)
    torch.manual_seed(spec.finetune.seed)
    model = Classifier(build_backbone("st_swin_micro", frames=FRAMES, image_size=SIDE), CLASSES)
    batch = next(finetune_batches())
    clips = (torch.tensor(batch["clip"]).float() / 255 - 0.45) / 0.225
    log_p = model(clips.permute(0, 4, 1, 2, 3)).log_softmax(1)
    label = torch.tensor(batch["label"])
    own = -log_p[torch.arange(4), label]
    expected = (0.6 * own + 0.4 * -log_p.mean(1)).mean()
    row = reporter.rows[0]
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert row["train_top1"] == (log_p.argmax(1) == label).float().mean()
    assert set(row) == {
        *("step", "epoch", "loss", "train_top1", "lr", "grad_norm"),
        *("samples_per_second", "step_seconds", "data_wait"),
    }
    assert reporter.rows[3]["lr"] == pytest.approx(0.5 * 4 / 512)
    assert len(reporter.rows) == TOTAL


def test_weight_decay_spares_biases_norms_and_position_tables():
    model = Classifier(backbone(), CLASSES)
    decay = {
        id(parameter): group["weight_decay"]
        for group in finetune_optimizer(model, weight_decay=0.05).param_groups
        for parameter in group["params"]
    }
    spared = {name for name, p in model.named_parameters() if decay[id(p)] == 0}
    tables = {name for name, _ in model.named_parameters() if name.endswith("relative_position_bias_table")}
    assert tables
    assert spared == tables | {name for name, p in model.named_parameters() if p.ndim == 1}
    assert set(decay.values()) == {0.0, 0.05}


def test_pretraining_decays_everything_that_is_trained():
    model = backbone()
    model.patch_projection().requires_grad_(False)
    (group,) = pretrain_optimizer(model, weight_decay=0.1).param_groups
    assert group["weight_decay"] == 0.1
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters() if p.requires_grad}
