"""Do N workers equal one? The same small training step, taken by one process or by several, in float64."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch.nn.parallel import DistributedDataParallel

from lstcl_platform.frameworks import build_framework
from lstcl_platform.models import build_backbone
from lstcl_platform.specs.frameworks import FrameworkSpec

TOLERANCE = 1e-9
"""Largest relative difference that float64 rounding explains."""

VIDEOS_A_WORKER = 6
_FRAMES, _SIDE = 2, 16
_SIZES = {"projector_hidden": 32, "predictor_hidden": 32, "output_dim": 16}


@dataclass(frozen=True, kw_only=True)
class StepFigures:
    """What a step came to.

    Attributes:
        loss: mean over workers.
        gradients: averaged over workers, by name of parameter.
    """

    loss: float
    gradients: Mapping[str, NDArray[np.float64]]


def reference_step(
    spec: FrameworkSpec, family: str, *, videos: int, device: torch.device | None = None
) -> StepFigures:
    """One pretraining step of the global batch, shared by the workers of the process group, if there is one.

    The framework is `spec` with narrow heads around the smallest backbone of `family`; weights and clips are the same
    in every process and on every machine.

    Args:
        spec: framework.
        family: `timesformer`, `swin` or `st_swin`.
        videos: global batch; divisible by the number of workers.
        device: where this worker computes; CPU by default.

    Returns:
        Equal on all workers, and for any number of them, up to rounding.
    """
    device = device or torch.device("cpu")
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    rank, workers = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = build_backbone(f"{family}_micro", frames=_FRAMES, image_size=_SIDE)
        framework = build_framework(spec.model_copy(update=_SIZES), backbone).double().to(device)
        shape = (2, videos, 3, _FRAMES, _SIDE, _SIDE)
        clips = torch.randn(shape, dtype=torch.float64)
    short, long = clips.chunk(workers, dim=1)[rank].to(device)
    model = DistributedDataParallel(framework, broadcast_buffers=False) if several else framework
    loss = model(short, long)
    loss.backward()
    mean = loss.detach().clone()
    if several:
        dist.all_reduce(mean)
        mean /= workers
    gradients = {name: p.grad.cpu().numpy() for name, p in framework.named_parameters() if p.grad is not None}
    return StepFigures(loss=mean.item(), gradients=gradients)


def disagreement(found: StepFigures, expected: StepFigures) -> float:
    """Largest relative difference of loss and gradients, infinite when other parameters have gradients.

    A gradient that is zero but for rounding (a BatchNorm cancels some biases) is measured against the largest one.
    """
    if found.gradients.keys() != expected.gradients.keys():
        return float("inf")
    errors = [abs(found.loss - expected.loss) / abs(expected.loss)]
    norms = {name: float(np.linalg.norm(value)) for name, value in expected.gradients.items()}
    floor = 1e-4 * max(norms.values())
    for name, value in expected.gradients.items():
        errors.append(float(np.linalg.norm(found.gradients[name] - value)) / max(norms[name], floor))
    return float(np.max(errors))  # max() would pass over NaN
