"""The counts that a plan looks up are those that torch makes."""

import pytest

from lstcl_platform.models.cost import model_cost
from lstcl_platform.planning.arithmetic import cost_of, counted_costs, sample_flops
from lstcl_platform.specs.frameworks import SimSiamSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.training.flops import pretraining_flops
from tests.planning.conftest import graph_of

QUICK = [model for model in counted_costs() if model[0].endswith("micro") or model[0] == "st_swin_tiny"]


@pytest.mark.parametrize("model", QUICK, ids=lambda model: " ".join(map(str, model)))
def test_what_is_looked_up_is_what_is_counted(model):
    name, attention, frames, size = model
    counted = model_cost(ModelSpec(name=name, attention=attention, frames=frames, image_size=size))
    known = counted_costs()[model]
    assert (known.macs, known.parameters, known.feature_dim) == (
        counted.macs("all"),
        counted.parameters,
        counted.feature_dim,
    )


def test_the_papers_models_have_the_published_sizes():
    """Table 4: 88.0 M parameters with 400 classes; 195.83 GMACs of TimeSformer with its attention."""
    swin = cost_of(ModelSpec())
    assert swin.parameters + 400 * (swin.feature_dim + 1) == 88_042_840
    assert round(cost_of(ModelSpec(name="timesformer_base")).macs / 1e9, 2) == 195.83


def test_a_size_that_is_not_known_is_counted():
    half = cost_of(ModelSpec(name="swin_micro", frames=4, image_size=32))
    assert 2 * half.macs == cost_of(ModelSpec(name="swin_micro", frames=8, image_size=32)).macs


@pytest.mark.parametrize("kind", ["moco_v3", "simsiam"])
def test_a_pretraining_step_is_counted_but_for_its_heads(kind):
    small = {"projector_hidden": 16, "predictor_hidden": 16, "output_dim": 8}
    framework = {"kind": kind, **small, "freeze_patch_embed": False}
    graph = graph_of(pretrain={"framework": framework, "epochs": 10, "warmup_epochs": 1, "batch_size": 10})
    stage = next(iter(graph.stages.values()))
    assert stage.spec.pretrain is not None
    framework = stage.spec.pretrain.framework
    assert isinstance(framework, SimSiamSpec) == (kind == "simsiam")
    assert sample_flops(stage) == pytest.approx(pretraining_flops(framework, stage.spec.model), rel=0.03)
