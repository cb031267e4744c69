"""Finetuning starts from its parent, learns, and decays what it should."""

import hashlib
from pathlib import Path

import pytest
import torch

from lstcl_platform.models import Classifier, build_backbone, save_weights
from lstcl_platform.models.st_swin import SpaceTimeSwin
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.weights import NativeWeights
from lstcl_platform.training.checkpoints import load_checkpoint
from lstcl_platform.training.finetune import finetune
from lstcl_platform.training.mixing import PairMixer
from lstcl_platform.training.optimizer import finetune_optimizer, pretrain_optimizer, set_learning_rate
from lstcl_platform.training.pretrain import pretrain
from tests.training.stages import (
    CLASSES,
    FRAMES,
    SIDE,
    STEPS_PER_EPOCH,
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
    weights = tmp_path / "parent.safetensors"
    context = stage_context(
        tmp_path / "a1",
        Recorder(stop_after=1),
        parent_weights=weights.as_uri(),
        parent_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
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


def test_weights_that_changed_since_they_were_recorded_are_refused(tmp_path: Path):
    weights = tmp_path / "parent.safetensors"
    save_weights(backbone(seed=5), weights)
    recorded = hashlib.sha256(weights.read_bytes()).hexdigest()
    save_weights(backbone(seed=6), weights)
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    context = stage_context(tmp_path / "a1", Recorder(), parent_weights=str(weights), parent_sha256=recorded)
    with pytest.raises(UserError, match=rf"parent\.safetensors: .*SHA-256 {found}, recorded {recorded}"):
        finetune(trial(), context, finetune_batches(), num_classes=CLASSES)


def test_the_loss_has_label_smoothing_and_rows_their_columns(tmp_path: Path):
    fields = {"drop_path": 0.0, "head_dropout": 0.0, "label_smoothing": 0.4, "mixup": 0.0, "cutmix": 0.0}
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
        *("step", "epoch", "loss", "train_top1", "lr", "grad_norm", "clips_padded"),
        *("samples_per_second", "step_seconds", "data_wait", "data_wait_seconds"),
        *("bad_samples", "decode_seconds", "decode_cores", "frames_decoded_per_used"),
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


def layer_rates(model: Classifier, *, layer_decay: float) -> dict[str, float]:
    """Rate of each parameter when the head learns at 1."""
    optimizer = finetune_optimizer(model, weight_decay=0.05, layer_decay=layer_decay)
    set_learning_rate(optimizer, 1.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: rates[id(parameter)] for name, parameter in model.named_parameters()}


def test_layer_decay_slows_each_layer_below_the_head():
    rates = layer_rates(Classifier(backbone(), CLASSES), layer_decay=0.5)
    layers = {"patch_embed": 1 / 8, "layers.0.blocks.0": 1 / 4, "layers.0.blocks.1": 1 / 2, "norm": 1.0}
    for name, rate in rates.items():
        expected = next((r for part, r in layers.items() if name.startswith(f"backbone.{part}.")), 1.0)
        assert rate == expected, name
    assert rates["head.weight"] == rates["head.bias"] == 1.0


def test_a_merging_learns_as_the_block_before_it():
    torch.manual_seed(0)
    swin = SpaceTimeSwin(dim=8, depths=(2, 1), heads=(1, 2), window=(2, 2, 2))
    rates = layer_rates(Classifier(swin, CLASSES), layer_decay=0.5)
    assert rates["backbone.layers.0.downsample.reduction.weight"] == 1 / 4
    assert rates["backbone.layers.0.blocks.1.mlp.fc1.bias"] == 1 / 4
    assert rates["backbone.layers.1.blocks.0.mlp.fc1.bias"] == 1 / 2
    assert rates["backbone.patch_embed.proj.weight"] == 1 / 16


def test_a_timesformers_tables_and_cls_token_learn_as_its_embedding():
    timesformer = build_backbone("timesformer_micro", frames=FRAMES, image_size=SIDE)
    rates = layer_rates(Classifier(timesformer, CLASSES), layer_decay=0.5)
    stem = 0.5 ** (len(timesformer.blocks) + 1)
    for name in ("cls_token", "pos_embed", "time_embed", "patch_embed.proj.weight"):
        assert rates[f"backbone.{name}"] == stem
    assert rates["backbone.blocks.0.attn.qkv.weight"] == 2 * stem
    assert rates["backbone.norm.weight"] == rates["head.weight"] == 1.0


def test_layer_decay_changes_no_weight_decay():
    model = Classifier(backbone(), CLASSES)
    decays = [
        {
            id(parameter): group["weight_decay"]
            for group in finetune_optimizer(model, weight_decay=0.05, layer_decay=rate).param_groups
            for parameter in group["params"]
        }
        for rate in (1.0, 0.75)
    ]
    assert decays[0] == decays[1]


@pytest.mark.parametrize("pretrained", [True, False])
def test_layers_decay_from_pretrained_weights_only(tmp_path: Path, pretrained: bool):
    """Adam's first steps are as long as the rate, so how far a weight moves shows the rate it had."""
    parent = backbone(seed=0)
    save_weights(parent, tmp_path / "parent.safetensors")
    weights = str(tmp_path / "parent.safetensors") if pretrained else None
    spec = trial(finetuning={"layer_decay": 0.01, "drop_path": 0.0, "head_dropout": 0.0, "weight_decay": 0.0})
    if not pretrained:
        spec = spec.model_copy(update={"pretrain": None})
    context = stage_context(tmp_path / "a1", Recorder(stop_after=2), parent_weights=weights)
    state = load_checkpoint(finetune(spec, context, finetune_batches(), num_classes=CLASSES).checkpoint)
    name = "patch_embed.proj.bias"
    torch.manual_seed(spec.finetune.seed)
    start = backbone(spec.finetune.seed) if not pretrained else parent
    moved = (state["model"][f"backbone.{name}"] - start.state_dict()[name]).abs().max().item()
    rate = 0.5 * 4 / 512 / STEPS_PER_EPOCH
    assert moved == pytest.approx(rate * (0.01**3 if pretrained else 1.0), rel=0.02)


def test_mixing_trains_on_soft_targets(tmp_path: Path):
    """The first loss is that of the mixed clips under their mixed targets, before any step."""
    reporter = Recorder(stop_after=1)
    spec = trial(finetuning={"drop_path": 0.0, "head_dropout": 0.0})
    context = stage_context(tmp_path / "a1", reporter)
    finetune(spec, context, finetune_batches(), num_classes=CLASSES)
    torch.manual_seed(spec.finetune.seed)
    model = Classifier(build_backbone("st_swin_micro", frames=FRAMES, image_size=SIDE), CLASSES)
    batch = next(finetune_batches())
    clips = ((torch.tensor(batch["clip"]).float() / 255 - 0.45) / 0.225).permute(0, 4, 1, 2, 3).contiguous()
    mixer = PairMixer(spec.finetune, num_classes=CLASSES, context=context)
    targets = mixer(0, clips, torch.tensor(batch["label"]))
    log_p = model(clips).log_softmax(1)
    assert reporter.rows[0]["loss"] == pytest.approx(-(targets * log_p).sum(1).mean().item(), rel=1e-5)
    hits = (log_p.argmax(1) == targets.argmax(1)).float().mean()
    assert reporter.rows[0]["train_top1"] == pytest.approx(hits.item())


def test_pretraining_decays_everything_that_is_trained():
    model = backbone()
    model.patch_projection().requires_grad_(False)
    (group,) = pretrain_optimizer(model, weight_decay=0.1).param_groups
    assert group["weight_decay"] == 0.1
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters() if p.requires_grad}
