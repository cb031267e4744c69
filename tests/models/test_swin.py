"""Swin frame by frame (windows of one frame) against the public Swin's numbers and against timm's Swin."""

import re

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer

from lstcl_platform.models.st_swin import SpaceTimeSwin
from tests.fixtures import arrays

SIZES = {"dim": 24, "depths": (2, 2), "heads": (3, 6), "window": (1, 7, 7)}


def relative(found, expected):
    return ((found - expected).abs().max() / expected.square().mean().sqrt()).item()


def test_output_and_every_gradient_equal_the_reference():
    reference = {name: torch.from_numpy(value) for name, value in arrays("swin_2x112").items()}
    weights = {n.removeprefix("weight/"): v.double() for n, v in reference.items() if n.startswith("weight/")}
    head, bias = weights.pop("head.weight"), weights.pop("head.bias")
    weights["patch_embed.proj.weight"] = weights["patch_embed.proj.weight"].unsqueeze(2)
    model = SpaceTimeSwin(**SIZES).double().eval()
    model.load_state_dict(weights)
    clip = reference["input"].double().requires_grad_()
    features = model(clip)
    logits = features @ head.T + bias
    (logits * reference["cotangent"].double()).sum().backward()
    assert relative(features.detach(), reference["features"]) < 1e-9
    assert relative(logits.detach(), reference["logits"]) < 1e-9
    for name, parameter in model.named_parameters():
        expected = reference[f"grad_norm/{name}"].item()
        assert parameter.grad.norm().item() == pytest.approx(expected, rel=1e-8), name
    assert clip.grad.norm().item() == pytest.approx(reference["input_grad_norm"].item(), rel=1e-8)
    # The reference's gradient is stored in float32.
    assert relative(clip.grad[..., ::4, ::4], reference["input_grad_every_4th"].double()) < 2e-6


def timm_twin(model, side):
    """timm's Swin with the same weights.

    Its merging stands at the head of the next stage, and its bias table is that of the window as it is after it
    has shrunk to the input: the middle of the full one.
    """
    twin = SwinTransformer(img_size=side, embed_dim=24, depths=(2, 2), num_heads=(3, 6), num_classes=0)
    shapes = {name: value.shape for name, value in twin.state_dict().items()}
    weights = {}
    for name, value in model.state_dict().items():
        name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
        if name == "patch_embed.proj.weight":
            value = value.squeeze(2)
        elif name.endswith("bias_table"):
            cut = (13 - int(shapes[name][0] ** 0.5)) // 2
            value = value.view(13, 13, -1)[cut : 13 - cut, cut : 13 - cut].flatten(0, 1)
        weights[name] = value
    twin.double().load_state_dict(weights)
    return twin.eval()


@pytest.mark.parametrize("side", [28, 56, 112], ids=["odd merge, small window", "whole", "shifts"])
def test_equals_timm(side):
    """Sizes that need no padding: timm shifts before it pads, the reference after."""
    generator = torch.Generator().manual_seed(side)
    model = SpaceTimeSwin(**SIZES, init_std=0.2).double().eval()
    clip = torch.randn(2, 3, 3, side, side, dtype=torch.float64, generator=generator)
    frames = clip.transpose(1, 2).flatten(0, 1)
    expected = timm_twin(model, side)(frames).unflatten(0, (2, 3)).mean(1)
    assert relative(model(clip).detach(), expected.detach()) < 1e-9
