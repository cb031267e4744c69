"""What holds for every framework: the order of a step, separate statistics, what is trained."""

import copy

import pytest
import torch
from torch import nn

from tests.frameworks.small import SPECS, Plain, small, views


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("name", SPECS)
def test_three_steps_equal_the_plain_order(name, freeze):
    framework = small(name, freeze_patch_embed=freeze)
    plain = Plain(framework, name)
    ours = {n: p for n, p in framework.named_parameters() if p.requires_grad}
    theirs = {n: p for n, p in plain.named_parameters() if p.requires_grad}
    assert ours.keys() == theirs.keys()
    optimizers = [torch.optim.AdamW(group.values(), 1e-3, weight_decay=0.1) for group in (ours, theirs)]
    for step, momentum in enumerate([0.9, 0.95, 0.99]):
        short, long = views(step)
        if framework.momentum is not None:
            framework.momentum = momentum
        losses = [framework(short, long), plain(short, long, momentum)]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-10)
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
        # Gradients that are zero but for rounding exist: a BatchNorm cancels the bias of the last LayerNorm.
        largest = max(p.grad.norm().item() for p in theirs.values())
        for parameter in ours:
            torch.testing.assert_close(
                ours[parameter].grad, theirs[parameter].grad, rtol=1e-8, atol=1e-11 * largest
            )
        for optimizer in optimizers:
            optimizer.step()
    # The average of BatchNorm buffers would not show in the losses, so the final state is compared too.
    expected = plain.state_dict()
    assert framework.state_dict().keys() == expected.keys()
    for key, value in framework.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-7, atol=1e-9, msg=key)


@pytest.mark.parametrize("name", ["moco_v3", "byol"])
def test_the_momentum_encoder_gets_no_gradient_and_starts_as_a_copy(name):
    framework = small(name)
    for key, value in framework.backbone.state_dict().items():
        assert torch.equal(value, framework.momentum_backbone.state_dict()[key])
    framework(*views()).backward()
    for module in (framework.momentum_backbone, framework.momentum_projector):
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("name", SPECS)
def test_freezing_stops_the_patch_convolution_but_not_its_norm(name):
    framework = small(name, freeze_patch_embed=True)
    assert not any(p.requires_grad for p in framework.backbone.patch_embed.proj.parameters())
    assert all(p.requires_grad for p in framework.backbone.patch_embed.norm.parameters())
    framework(*views()).backward()
    assert framework.backbone.patch_embed.proj.weight.grad is None
    assert framework.backbone.patch_embed.norm.weight.grad.norm() > 0


@pytest.mark.parametrize("name", SPECS)
def test_loss_scale_multiplies_the_mean(name):
    one, three = small(name, loss_scale=1.0), small(name, loss_scale=3.0)
    assert three(*views()).item() == pytest.approx(3 * one(*views()).item(), rel=1e-12)


@pytest.mark.parametrize("name", ["moco_v3", "byol"])
def test_retrieval_of_a_perfect_match_and_of_equal_clips(name):
    framework = small(name)
    clips = views()[0]
    framework.momentum = 1.0
    framework.predictor = nn.Identity()
    framework(clips, clips)
    assert framework.stats["retrieval_top1"].item() == 1.0
    framework(clips[:1].expand_as(clips), clips[:1].expand_as(clips))
    assert framework.stats["retrieval_top1"].item() < 0.5


@pytest.mark.parametrize("name", SPECS)
def test_what_is_observed_are_the_short_clips_rows(name):
    framework = small(name)
    short, long = views()
    framework(short, long)
    feature, embedding = framework.observed["feature"], framework.observed["embedding"]
    torch.testing.assert_close(feature, framework.backbone(short))
    torch.testing.assert_close(embedding, framework.projector(feature))
    assert not feature.requires_grad
    assert not embedding.requires_grad


@pytest.mark.parametrize("name", SPECS)
def test_bf16_autocast_keeps_the_loss_in_float32(name):
    framework = small(name).float()
    short, long = views().float()
    exact = copy.deepcopy(framework)(short, long)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = framework(short, long)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)
