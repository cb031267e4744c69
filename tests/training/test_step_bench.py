"""The benchmark of a step: its parts, its memory, its peers, and the numerics of every option."""

import math
from importlib.util import find_spec

import pytest
import torch

from lstcl_platform.models import backbone_of
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.frameworks import BYOLSpec, MoCoV3Spec, SimSiamSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.run import ResourcesSpec
from lstcl_platform.training.step_bench import PARTS, BenchStep, StepSetup, bench_step
from lstcl_platform.training.step_memory import peak_memory
from lstcl_platform.training.step_numerics import step_numerics
from lstcl_platform.training.step_peers import build_peer, missing_peer
from tests.helpers.memory import hold

SIZES = {"projector_hidden": 16, "predictor_hidden": 16, "output_dim": 8}
SETUP = StepSetup(
    model=ModelSpec(name="st_swin_micro", frames=2, image_size=16), framework=MoCoV3Spec(**SIZES), batch=4
)


@pytest.mark.parametrize("framework", [MoCoV3Spec(**SIZES), BYOLSpec(**SIZES), SimSiamSpec(**SIZES)])
def test_every_part_of_a_step_takes_time(framework):
    step = BenchStep(StepSetup(model=SETUP.model, framework=framework, batch=4))
    before = {name: p.clone() for name, p in step.framework.backbone.named_parameters()}
    parts = step()
    assert tuple(parts) == PARTS
    without = {"momentum trunk", "momentum update"} if framework.kind == "simsiam" else set()
    assert {part for part, seconds in parts.items() if seconds > 0} == set(PARTS) - without
    assert any(not torch.equal(before[n], p) for n, p in step.framework.backbone.named_parameters())


def test_ours_and_the_peer_run_in_turn_and_are_compared():
    rates = bench_step(SETUP, peers=True, seconds=0.0)
    ours, peer = rates.figures
    assert (ours.setup.title, peer.setup.title) == ("ours, fp32", "torchvision's SwinTransformer3d, fp32")
    assert len(ours.seconds) == len(peer.seconds) >= 3
    assert sum(ours.parts.values()) == pytest.approx(sum(ours.seconds))
    assert rates.faster_than(peer) > 0
    assert 0 < ours.step_mib < ours.peak_mib
    assert rates.tflops(ours) == pytest.approx(ours.samples_per_second * rates.sample_flops / 1e12)


def test_the_peer_has_our_size():
    model = ModelSpec(name="st_swin_tiny", frames=2, image_size=32)
    with torch.device("meta"):
        sizes = [
            sorted(tuple(p.shape) for p in build(model, depth=(1, 1, 1, 1)).parameters())
            for build in (backbone_of, build_peer)
        ]
    assert sizes[0] == sizes[1]


def test_a_peer_that_is_not_there_is_named():
    model = ModelSpec(name="timesformer_micro", frames=2, image_size=16)
    if find_spec("transformers") is None:
        assert "transformers is not installed" in (missing_peer(model) or "")
    joint = model.model_copy(update={"attention": "joint"})
    assert missing_peer(joint) == "transformers has no attention: joint"
    with pytest.raises(UserError, match="attention: joint"):
        build_peer(joint)


def test_memory_counts_what_work_takes_and_no_more():
    whole, own = peak_memory(hold, 300, device="cpu")
    assert 300 <= own < 400
    assert whole > own + 100


def test_every_option_is_as_exact_as_its_precision():
    found = {row.option: row for row in step_numerics(SETUP)}
    for precision, limit in (("fp32", 1e-4), ("bf16", 0.3)):
        plain, recomputed = found[precision], found[f"{precision}, checkpoint_activations"]
        pieces = found[f"{precision}, accumulation_steps 2"]
        assert 0 < plain.gradient < limit
        assert (recomputed.loss, recomputed.gradient) == (plain.loss, plain.gradient)
        assert pieces.gradient < limit
    assert found["fp32"].gradient < found["bf16"].gradient / 100
    assert all(math.isfinite(row.worst) and row.worst >= 0 for row in found.values())
    assert not any("compile" in option for option in found)
    assert ResourcesSpec().compile is False
