"""The table of backbones: sizes, shapes and refusals."""

from typing import get_args

import pytest
import torch

from lstcl_platform.models import backbone_of, build_backbone
from lstcl_platform.models.build import BACKBONES, SwinSize
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import BackboneName, ModelSpec


def parameters(name, **sizes):
    with torch.device("meta"):
        return sum(p.numel() for p in build_backbone(name, **sizes).parameters())


@pytest.mark.parametrize(
    ("name", "frames", "count"),
    [
        ("timesformer_base", 8, 121_258_752),
        ("timesformer_base", 16, 121_258_752 + 8 * 768),
        ("swin_base", 8, 86_743_224),
        ("st_swin_base", 8, 87_632_840),
        ("st_swin_base", 16, 87_632_840),
    ],
)
def test_base_sizes_are_those_of_the_paper(name, frames, count):
    """With 400 classes: 121,566,352, 87,153,224 and 88,042,840 (Table 4's 88.0 M)."""
    assert parameters(name, frames=frames, image_size=224) == count


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.endswith("micro")])
def test_micro_is_small_and_runs_on_its_clip(name):
    assert 100_000 < parameters(name, frames=8, image_size=32) < 250_000
    backbone = build_backbone(name, frames=8, image_size=32)
    assert backbone(torch.randn(2, 3, 8, 32, 32)).shape == (2, backbone.feature_dim)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.endswith("micro")])
@pytest.mark.parametrize(("frames", "side"), [(1, 32), (12, 36), (16, 49)], ids=str)
def test_any_clip_shape_is_taken_and_every_weight_is_used(name, frames, side):
    torch.manual_seed(0)
    backbone = build_backbone(name, frames=frames, image_size=side)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    features = backbone(torch.randn(2, 3, frames, side, side))
    features.square().sum().backward()
    unused = {n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()}
    assert not unused


@pytest.mark.parametrize("name", BACKBONES)
def test_every_size_answers_with_its_feature_dim(name):
    size = BACKBONES[name]
    with torch.device("meta"):
        backbone = backbone_of(ModelSpec(name=name, image_size=112))
    assert backbone.feature_dim == backbone.norm.weight.numel()
    deep = isinstance(size, SwinSize)
    assert backbone.feature_dim == (size.dim * 2 ** (len(size.depths) - 1) if deep else size.dim)
    patch = size.patch if deep else (size.patch, size.patch)
    assert backbone.patch_projection().weight.shape == (size.dim, 3, *patch)


def test_the_names_of_specs_are_those_of_the_table():
    assert get_args(BackboneName) == tuple(BACKBONES)


@pytest.mark.parametrize("attention", ["joint", "space_only"])
def test_the_kind_of_attention_is_a_timesformers_choice(attention):
    model = ModelSpec(name="timesformer_micro", image_size=32, attention=attention)
    assert backbone_of(model)(torch.randn(1, 3, 8, 32, 32)).shape == (1, 64)
    with pytest.raises(
        ValueError, match=f"attention: {attention} is for a timesformer; swin_tiny has windows"
    ):
        ModelSpec(name="swin_tiny", attention=attention)
    with pytest.raises(UserError, match="only a TimeSformer has attention"):
        build_backbone("swin_micro", frames=8, image_size=32, attention=attention)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "st_swin_bse"}, "did you mean st_swin_base"),
        ({"name": "resnet50"}, "known: timesformer_base, "),
        ({"image_size": 7}, "smaller than 1 frame of 8 x 8 pixels"),
        ({"drop_path": 1.0}, r"drop_path must be in \[0, 1\), not 1.0"),
    ],
)
def test_refuses_in_words(arguments, message):
    with pytest.raises(UserError, match=message):
        build_backbone(**({"name": "st_swin_micro", "frames": 8, "image_size": 32} | arguments))
