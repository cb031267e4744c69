"""Counted costs against the published ones and against a count by hand."""

import pytest

from lstcl_platform.models.cost import model_cost
from lstcl_platform.specs.model import ModelSpec


@pytest.mark.parametrize(
    ("model", "parameters", "total", "attention", "linear"),
    [
        (ModelSpec(name="timesformer_base"), 121_566_352, 195.83, 5.95, 189.88),
        (ModelSpec(name="swin_base"), 87_153_224, 123.44, 2.44, 121.00),
        (ModelSpec(name="st_swin_base"), 88_042_840, 140.51, 19.51, 121.00),
        (ModelSpec(name="st_swin_base", frames=16), 88_042_840, 281.02, 39.02, 242.00),
    ],
    ids=["timesformer", "swin", "st_swin", "st_swin 16"],
)
def test_base_models_cost_what_the_public_codes_do(model, parameters, total, attention, linear):
    """Measured on the reference codes with 400 classes, 224 x 224, in GMACs."""
    cost = model_cost(model)
    assert cost.parameters_with(400) == parameters
    assert round(cost.macs("all") / 1e9, 2) == total
    assert round(cost.attention / 1e9, 2) == attention
    assert round(cost.macs("linear+conv") / 1e9, 2) == linear


@pytest.mark.parametrize("attention", ["divided", "joint", "space_only"])
def test_a_small_timesformer_counted_by_hand(attention):
    """2 blocks of width 64 on 8 frames of 4 x 4 patches of 8 x 8 pixels."""
    frames, places, dim, blocks = 8, 16, 64, 2
    patches = frames * places
    embed = patches * 3 * 8 * 8 * dim
    rows = {
        "divided": (frames, places + 1),
        "joint": (1, patches + 1),
        "space_only": (frames, places + 1),
    }[attention]
    tokens = rows[0] * rows[1]
    mlp_tokens = patches + 1 if attention == "divided" else tokens
    linear = embed + blocks * (tokens * 4 * dim**2 + mlp_tokens * 8 * dim**2)
    products = blocks * 2 * rows[0] * rows[1] ** 2 * dim
    if attention == "divided":
        linear += blocks * patches * 5 * dim**2
        products += blocks * 2 * places * frames**2 * dim
    cost = model_cost(ModelSpec(name="timesformer_micro", image_size=32, attention=attention))
    assert (cost.linear, cost.attention) == (linear, products)
