"""Heads against the printed structure of the public MoCo v3, BYOL and SimSiam."""

import pytest
import torch

from lstcl_platform.frameworks.batch_norm import BatchNorm
from lstcl_platform.models.heads import mlp_head
from tests.fixtures import numbers

REFERENCE = numbers("heads")


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm1d, BatchNorm])
@pytest.mark.parametrize(
    ("widths", "last", "layers"),
    [
        ((1024, 4096, 4096, 256), "norm", "mocov3_vit_projector_from_1024"),
        ((256, 4096, 256), "norm", "mocov3_vit_predictor"),
        ((1024, 4096, 256), "linear", "byol_projection"),
        ((256, 4096, 256), "linear", "byol_prediction"),
        ((1024, 1024, 1024, 2048), "idle_bias_norm", "simsiam_projection_from_1024"),
        ((2048, 512, 2048), "linear", "simsiam_predictor"),
    ],
)
def test_structure_of_the_reference(widths, last, layers, norm):
    with torch.device("meta"):
        head = mlp_head(widths, last=last, norm=norm)
    found = [str(layer).replace("BatchNorm(", "BatchNorm1d(") for layer in head]
    # Whether a ReLU works in place is not seen from outside.
    expected = [layer.replace("ReLU()", "ReLU(inplace=True)") for layer in REFERENCE[layers]]
    assert found == expected


def test_parameter_counts_of_the_reference():
    counts = REFERENCE["mocov3_params"]
    for widths, name in (((1024, 4096, 4096, 256), "projector_1024"), ((256, 4096, 256), "predictor")):
        with torch.device("meta"):
            assert sum(p.numel() for p in mlp_head(widths).parameters()) == counts[name]


def test_an_idle_bias_is_not_trained():
    head = mlp_head((3, 4, 5), last="idle_bias_norm")
    assert [name for name, p in head.named_parameters() if not p.requires_grad] == ["3.bias"]


def test_refuses_a_single_width():
    with pytest.raises(ValueError, match="an input and an output width"):
        mlp_head([5])
