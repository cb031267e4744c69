"""Counted arithmetic against the published size of the models, and where it is logged."""

from pathlib import Path

import pytest
import torch

from lstcl_platform.specs.frameworks import MoCoV3Spec, SimSiamSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.run import ResourcesSpec
from lstcl_platform.training.flops import pretraining_flops
from lstcl_platform.training.pretrain import pretrain
from tests.training.stages import Recorder, pretrain_batches, stage_context, trial

BASE = ModelSpec(name="timesformer_base", frames=8, image_size=224)
FORWARD = 2 * 195.83e9
"""One clip: 195.83 multiply-accumulates of the public TimeSformer, attention counted."""


@pytest.mark.parametrize(("framework", "forwards"), [(MoCoV3Spec(), 8), (SimSiamSpec(), 6)])
def test_a_step_takes_eight_or_six_forward_passes_a_video(framework, forwards):
    before = torch.get_rng_state()
    # Heads add, and the frozen patch convolution's backward takes away, some tenths of a percent.
    assert pretraining_flops(framework, BASE) == pytest.approx(forwards * FORWARD, rel=0.005)
    assert torch.equal(torch.get_rng_state(), before)


def test_utilisation_is_logged_where_the_peak_is_known(tmp_path: Path):
    unknown, known = Recorder(), Recorder(stop_after=2)
    spec = trial()
    pretrain(spec, stage_context(tmp_path / "a1", unknown), pretrain_batches())
    assert "mfu" not in unknown.rows[0]
    spec = spec.model_copy(update={"resources": ResourcesSpec(peak_tflops=0.5)})
    pretrain(spec, stage_context(tmp_path / "a2", known), pretrain_batches())
    row = known.rows[-1]
    flops = pretraining_flops(spec.pretrain.framework, spec.model)
    assert row["tflops"] == pytest.approx(flops * row["samples_per_second"] / 1e12)
    assert row["mfu"] == pytest.approx(row["tflops"] / 0.5)
