"""Three training steps of the public SimSiam around the public TimeSformer, and of lightly's BYOL around Video-Swin."""

from math import sqrt

import numpy as np
import pytest
import torch

from lstcl_platform.frameworks import build_framework
from lstcl_platform.models.st_swin import SpaceTimeSwin
from lstcl_platform.models.timesformer import TimeSformer
from lstcl_platform.specs.frameworks import BYOLSpec, SimSiamSpec
from lstcl_platform.training.optimizer import pretrain_optimizer, set_learning_rate
from tests.fixtures import numbers

ORACLE = numbers("byol_simsiam_three_steps")
ROUNDING = 1e-12
"""Below, a norm is that of a tensor whose true value is zero."""
PEAK, VIDEOS = 1.5e-3, 6


def simsiam():
    spec = SimSiamSpec(predictor_hidden=10, output_dim=16, freeze_patch_embed=False, loss_scale=0.25)
    return build_framework(spec, TimeSformer(dim=24, depth=2, heads=2, frames=2, image_size=16, patch=8))


def byol():
    spec = BYOLSpec(
        projector_hidden=20, predictor_hidden=20, output_dim=12, freeze_patch_embed=False, loss_scale=0.25
    )
    # 26 pixels: an odd merge, and windows that are padded.
    return build_framework(spec, SpaceTimeSwin(dim=24, depths=(2, 2), heads=(2, 4), window=(2, 3, 3)))


def fill(framework):
    """Weights of the reference run: drawn in the order of our names."""
    draw = np.random.RandomState(0)
    for name, value in sorted(framework.state_dict().items()):
        if not value.is_floating_point() or "running" in name:
            continue
        noise = torch.from_numpy(draw.standard_normal(tuple(value.shape)))
        if name.endswith("table"):
            value.copy_(0.7 * noise)
        elif value.ndim > 1:
            value.copy_(1.3 / sqrt(value[0].numel()) * noise)
        else:
            value.copy_(name.endswith("weight") + 0.3 * noise)


def probe(value):
    """Norm of a tensor and its product with a fixed wave: two numbers that tell its entries and their order."""
    flat = value.double().flatten()
    return flat.norm().item(), (flat * torch.cos(torch.arange(len(flat), dtype=torch.float64))).sum().item()


@pytest.mark.parametrize(("make", "frames", "size"), [(simsiam, 2, 16), (byol, 5, 26)])
def test_three_steps(make, frames, size):
    oracle, framework = ORACLE[make.__name__], make().double().train()
    fill(framework)
    fixed_rate = framework.predictor if make is simsiam else None
    optimizer = pretrain_optimizer(framework, weight_decay=0.1, at_peak=fixed_rate)
    draw = np.random.RandomState(1)
    for step in range(3):
        views = torch.from_numpy(draw.standard_normal((2, VIDEOS, 3, frames, size, size)))
        set_learning_rate(optimizer, oracle["lr"][step], peak=PEAK)
        framework.momentum = oracle["momentum"][step]
        loss = framework(*views)
        optimizer.zero_grad()
        loss.backward()
        # The public losses lack the constant of ours.
        assert loss.item() - 1 == pytest.approx(oracle["loss"][step], rel=1e-9)
        expected = oracle["grad_norms"][step]
        trained = {name: p for name, p in framework.named_parameters() if p.requires_grad}
        assert trained.keys() == expected.keys()
        for name, norm in expected.items():
            if norm > ROUNDING:
                assert trained[name].grad.norm().item() == pytest.approx(norm, rel=1e-8), name
        optimizer.step()
    state = framework.state_dict()
    assert state.keys() == oracle["final"].keys()
    for name, (norm, wave) in oracle["final"].items():
        if norm > ROUNDING:
            assert probe(state[name]) == pytest.approx((norm, wave), rel=1e-8, abs=1e-8 * norm), name
