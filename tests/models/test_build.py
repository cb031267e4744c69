"""The table of backbones: sizes, shapes and refusals."""

import pytest
import torch

from lstcl_platform.models import build_backbone
from lstcl_platform.models.build import SPACE_TIME_SWIN
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec


def parameters(name, **sizes):
    with torch.device("meta"):
        return sum(p.numel() for p in build_backbone(name, **sizes).parameters())


def test_base_has_the_size_of_table_4():
    assert parameters("st_swin_base", frames=8, image_size=224) == 87_632_840
    assert parameters("st_swin_base", frames=16, image_size=224) == 87_632_840


def test_micro_is_small():
    assert 100_000 < parameters("st_swin_micro", frames=8, image_size=32) < 250_000


@pytest.mark.parametrize("name", SPACE_TIME_SWIN)
def test_every_size_answers_with_its_feature_dim(name):
    size = SPACE_TIME_SWIN[name]
    with torch.device("meta"):
        backbone = build_backbone(name, frames=8, image_size=112)
    assert ModelSpec(name=name).name == name
    assert backbone.feature_dim == size.dim * 2 ** (len(size.depths) - 1) == backbone.norm.weight.numel()
    assert backbone.patch_projection().weight.shape == (size.dim, 3, *size.patch)


def test_micro_runs_on_its_clip():
    backbone = build_backbone("st_swin_micro", frames=8, image_size=32)
    assert backbone(torch.randn(2, 3, 8, 32, 32)).shape == (2, backbone.feature_dim)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "st_swin_bse"}, "did you mean st_swin_base"),
        ({"name": "resnet50"}, "known: st_swin_base, st_swin_small, st_swin_tiny, st_swin_micro"),
        ({"image_size": 7}, "smaller than 1 frame of 8 x 8 pixels"),
        ({"drop_path": 1.0}, r"drop_path must be in \[0, 1\), not 1.0"),
    ],
)
def test_refuses_in_words(arguments, message):
    with pytest.raises(UserError, match=message):
        build_backbone(**({"name": "st_swin_micro", "frames": 8, "image_size": 32} | arguments))
