"""The doctor's training step: alike for one, two and three processes, and its comparison sees what it should."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lstcl_platform.specs.frameworks import BYOLSpec, MoCoV3Spec, SimSiamSpec
from lstcl_platform.training.agreement import TOLERANCE, StepFigures, disagreement, reference_step

VIDEOS = 12
SPECS = [MoCoV3Spec(), BYOLSpec(), SimSiamSpec()]
FAMILIES = ["timesformer", "swin", "st_swin"]


def work(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meet{workers}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    steps = {spec.kind: reference_step(spec, "timesformer", videos=VIDEOS) for spec in SPECS}
    if rank == workers - 1:
        saved = {
            kind: (step.loss, {n: torch.from_numpy(g) for n, g in step.gradients.items()})
            for kind, step in steps.items()
        }
        torch.save(saved, f"{folder}/steps{workers}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 3])
def several(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    mp.spawn(work, args=(request.param, str(folder)), nprocs=request.param)
    return torch.load(Path(folder) / f"steps{request.param}.pt")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_workers_agree_with_one(several, spec):
    loss, gradients = several[spec.kind]
    found = StepFigures(loss=loss, gradients={name: value.numpy() for name, value in gradients.items()})
    assert disagreement(found, reference_step(spec, "timesformer", videos=VIDEOS)) < TOLERANCE / 100


@pytest.mark.parametrize("family", FAMILIES)
def test_the_step_repeats_and_leaves_the_random_state_alone(family):
    before = torch.get_rng_state()
    steps = [reference_step(SPECS[0], family, videos=4) for _ in range(2)]
    assert disagreement(*steps) == 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_difference_in_loss_or_in_any_gradient_shows():
    step = reference_step(SPECS[0], "swin", videos=4)
    assert disagreement(replace(step, loss=step.loss * (1 + 1e-6)), step) == pytest.approx(1e-6, rel=1e-3)
    name = "predictor.0.weight"
    off = {**step.gradients, name: step.gradients[name] * (1 + 1e-5)}
    assert disagreement(replace(step, gradients=off), step) == pytest.approx(1e-5, rel=1e-3)
    assert disagreement(replace(step, gradients={name: step.gradients[name]}), step) == np.inf
    broken = {**step.gradients, name: step.gradients[name] * np.nan}
    assert not disagreement(replace(step, gradients=broken), step) <= TOLERANCE
