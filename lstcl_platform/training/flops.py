"""Arithmetic of a pretraining step, counted without doing it."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from lstcl_platform.frameworks import build_framework
from lstcl_platform.frameworks.momentum import MomentumFramework
from lstcl_platform.models import backbone_of
from lstcl_platform.specs.frameworks import FrameworkSpec
from lstcl_platform.specs.model import ModelSpec


def pretraining_flops(
    framework: FrameworkSpec, model: ModelSpec, *, depth: tuple[int, ...] | None = None
) -> float:
    """Floating-point operations that one video takes in a pretraining step, forward and backward.

    Matrix products and convolutions, two operations a multiply-accumulate, of both views through trunk and heads;
    not the loss, normalisations and the optimizer (together below 1 %), nor what is computed a second time to save
    memory. `depth` is as in `build_backbone`. Runs on torch's meta device, which holds no numbers.
    """
    with torch.device("meta"):
        whole = build_framework(framework, backbone_of(model, depth=depth)).eval()
        clips = torch.empty(2, 3, model.frames, model.image_size, model.image_size)
        with FlopCounterMode(display=False) as counter:
            whole.predictor(whole.projector(whole.backbone(clips))).sum().backward()
            if isinstance(whole, MomentumFramework):
                with torch.no_grad():
                    whole.momentum_projector(whole.momentum_backbone(clips))
    return float(counter.get_total_flops())
