"""Heads against the printed structure of the public MoCo v3."""

import pytest
import torch

from lstcl_platform.frameworks.batch_norm import BatchNorm
from lstcl_platform.models.heads import mlp_head
from tests.fixtures import numbers

REFERENCE = numbers("moco_v3_heads")


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm1d, BatchNorm])
@pytest.mark.parametrize(
    ("widths", "layers", "count"),
    [
        ((1024, 4096, 4096, 256), "mocov3_vit_projector_from_1024", "projector_1024"),
        ((256, 4096, 256), "mocov3_vit_predictor", "predictor"),
    ],
)
def test_structure_of_the_reference(widths, layers, count, norm):
    with torch.device("meta"):
        head = mlp_head(widths, norm=norm)
    found = [str(layer).replace("BatchNorm(", "BatchNorm1d(") for layer in head]
    assert found == REFERENCE[layers]
    assert sum(p.numel() for p in head.parameters()) == REFERENCE["mocov3_params"][count]


def test_refuses_a_single_width():
    with pytest.raises(ValueError, match="an input and an output width"):
        mlp_head([5])
