"""Compiled and recomputed blocks: what is switched on, what it computes, and that a stage runs with it."""

from pathlib import Path

import pytest
import torch

from lstcl_platform.models import build_backbone
from lstcl_platform.models.block import blocks_of
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.run import ResourcesSpec
from lstcl_platform.training.pretrain import pretrain
from lstcl_platform.training.speed_up import speed_up
from tests.training.stages import Recorder, pretrain_batches, stage_context, trial


def with_resources(**fields):
    return trial().model_copy(update={"resources": ResourcesSpec(**fields)})


def test_a_pretraining_that_recomputes_ends_in_the_same_bits(tmp_path: Path):
    runs = [
        pretrain(
            with_resources(checkpoint_activations=on),
            stage_context(tmp_path / str(on) / "a1", Recorder()),
            pretrain_batches(),
        )
        for on in (False, True)
    ]
    assert runs[0].state_digest == runs[1].state_digest
    assert runs[0].fingerprint == runs[1].fingerprint


@pytest.mark.parametrize("name", ["st_swin_micro", "timesformer_micro"])
def test_compiled_blocks_compute_the_same(name):
    torch.manual_seed(0)
    backbone = build_backbone(name, frames=2, image_size=16)
    clip = torch.randn(2, 3, 2, 16, 16)
    gradients = []
    for compiled in (False, True):
        # dynamo's tracing with eager kernels: what inductor makes of it is for `bench step --numerics --compile`.
        for block in blocks_of(backbone) if compiled else ():
            block.compile(backend="eager")
        backbone.zero_grad()
        backbone(clip).square().sum().backward()
        gradients.append([p.grad.clone() for p in backbone.parameters() if p.grad is not None])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_without_a_compiler_compilation_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    backbone = build_backbone("st_swin_micro", frames=2, image_size=16)
    with pytest.raises(UserError, match="no C\\+\\+ compiler was found"):
        speed_up(backbone, ResourcesSpec(compile=True))
