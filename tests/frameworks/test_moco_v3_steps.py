"""Three training steps of the public MoCo v3 code around the public TimeSformer: every gradient and the final state."""

import numpy as np
import pytest
import torch

from lstcl_platform.frameworks import build_framework
from lstcl_platform.models.timesformer import TimeSformer
from lstcl_platform.specs.frameworks import MoCoV3Spec
from lstcl_platform.training.schedules import cosine_momentum, warmup_cosine
from tests.fixtures import arrays

ORACLE = arrays("moco_v3_three_steps")
OUR_NAMES = {
    "base_encoder.head": "projector",
    "base_encoder": "backbone",
    "momentum_encoder.head": "momentum_projector",
    "momentum_encoder": "momentum_backbone",
}
LR, MOMENTUM, WARMUP, EPOCHS = 0.0015, 0.9, 1, 4


def ours(name):
    head = next((head for head in OUR_NAMES if name.startswith(f"{head}.")), None)
    return name if head is None else OUR_NAMES[head] + name.removeprefix(head)


def probe(value):
    """Norm of a tensor and its product with a fixed wave: two numbers that tell its entries and their order."""
    flat = value.double().flatten()
    return [flat.norm().item(), (flat * torch.cos(torch.arange(len(flat), dtype=torch.float64))).sum().item()]


@pytest.fixture
def framework():
    backbone = TimeSformer(dim=32, depth=1, heads=2, frames=4, image_size=16, patch=8)
    spec = MoCoV3Spec(projector_hidden=48, predictor_hidden=48, output_dim=16, freeze_patch_embed=False)
    framework = build_framework(spec, backbone).double()
    state = {
        name.removeprefix("state/"): value for name, value in ORACLE.items() if name.startswith("state/")
    }
    framework.load_state_dict({ours(name): torch.from_numpy(value) for name, value in state.items()})
    return framework


def test_three_steps(framework):
    trained = {name: p for name, p in framework.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    names = [ours(name) for name in ORACLE["grad_names"]]
    assert set(names) == trained.keys()
    for step, clips in enumerate(ORACLE["views"]):
        epoch = ORACLE["epoch"][step]
        lr = warmup_cosine(epoch, total=EPOCHS, warmup=WARMUP, peak=LR)
        framework.momentum = cosine_momentum(epoch, total=EPOCHS, start=MOMENTUM)
        assert (lr, framework.momentum) == (ORACLE["lr"][step], ORACLE["momentum"][step])
        optimizer.param_groups[0]["lr"] = lr
        loss = framework(*torch.from_numpy(clips).double())
        optimizer.zero_grad()
        loss.backward()
        assert loss.item() == pytest.approx(ORACLE["loss"][step], rel=1e-9)
        norms = np.array([trained[name].grad.norm().item() for name in names])
        # One gradient is zero but for rounding: a BatchNorm cancels the bias of the last LayerNorm.
        np.testing.assert_allclose(norms, ORACLE["grad_norms"][step], rtol=1e-8, atol=1e-12)
        optimizer.step()
    state = framework.state_dict()
    final = dict(zip(ORACLE["final_names"], ORACLE["final_probes"], strict=True))
    assert {ours(name) for name in final} == state.keys()
    for name, (norm, wave) in final.items():
        # The reference's state was kept in float32.
        assert probe(state[ours(name)]) == pytest.approx([norm, wave], rel=1e-6, abs=1e-6 * norm), name
