"""What each way to speed a step up does to its loss and gradients, against the same step in float64."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lstcl_platform.frameworks import build_framework
from lstcl_platform.models import backbone_of
from lstcl_platform.specs.base import Precision
from lstcl_platform.specs.run import ResourcesSpec
from lstcl_platform.training.precision import autocast, grad_scaler
from lstcl_platform.training.speed_up import speed_up

if TYPE_CHECKING:
    from lstcl_platform.training.step_bench import StepSetup

PIECES = 2
"""Pieces of the trunk's batch in the row that says what accumulation does."""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Relative errors of one way to compute a step.

    Attributes:
        option: the way.
        loss: of the loss.
        gradient: L2 norm of the difference of all gradients by the norm of all gradients.
        worst: the same for the parameter where it is largest, among those whose gradient is not next to nothing.
    """

    option: str
    loss: float
    gradient: float
    worst: float


def step_numerics(setup: "StepSetup") -> list[Numerics]:
    """Measure every option that the device has; compilation only if `setup.resources` asks for it.

    Weights and videos are made up: random weights and noise. A trained model's values are larger or smaller, their
    relative errors of the same order.
    """
    exact = _step(setup, "fp32", ResourcesSpec(), dtype=torch.float64)
    return [
        _compare(option, exact, _step(setup, precision, resources, pieces=pieces))
        for option, precision, resources, pieces in _options(setup)
    ]


def _options(setup: "StepSetup") -> Iterator[tuple[str, Precision, ResourcesSpec, int]]:
    eager = ResourcesSpec()
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    if setup.device == "cuda":
        precisions = (*precisions, "fp16")
    for precision in precisions:
        yield precision, precision, eager, 1
        yield (
            f"{precision}, checkpoint_activations",
            precision,
            ResourcesSpec(checkpoint_activations=True),
            1,
        )
        if setup.batch % PIECES == 0:
            yield f"{precision}, accumulation_steps {PIECES}", precision, eager, PIECES
        if setup.resources.compile:
            yield f"{precision}, compile", precision, ResourcesSpec(compile=True), 1


_Step = tuple[float, dict[str, Tensor]]
"""Loss and gradients by name."""


def _step(
    setup: "StepSetup",
    precision: Precision,
    resources: ResourcesSpec,
    *,
    pieces: int = 1,
    dtype: torch.dtype = torch.float32,
) -> _Step:
    torch.manual_seed(0)
    device = torch.device(setup.device)
    framework = build_framework(setup.framework, backbone_of(setup.model, depth=setup.depth))
    framework = framework.to(device=device, dtype=dtype)
    framework.trunk_parts = pieces
    speed_up(framework, resources)
    size = setup.model.image_size
    clips = torch.randn(2, setup.batch, 3, setup.model.frames, size, size).to(device=device, dtype=dtype)
    scaler = grad_scaler(precision, device)
    with autocast(precision, device) if dtype is torch.float32 else nullcontext():
        loss: Tensor = framework(*clips)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    scale = scaler.get_scale()
    return loss.item(), {
        name: p.grad.double().cpu() / scale for name, p in framework.named_parameters() if p.grad is not None
    }


def _compare(option: str, exact: _Step, found: _Step) -> Numerics:
    total = float(torch.stack([g.square().sum() for g in exact[1].values()]).sum().sqrt())
    errors = {name: float((found[1][name] - gradient).norm()) for name, gradient in exact[1].items()}
    sizes = {name: float(gradient.norm()) for name, gradient in exact[1].items()}
    return Numerics(
        option=option,
        loss=abs(found[0] - exact[0]) / abs(exact[0]),
        gradient=sum(error**2 for error in errors.values()) ** 0.5 / total,
        worst=max(errors[name] / size for name, size in sizes.items() if size > 1e-4 * total),
    )
