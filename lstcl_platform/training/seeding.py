"""Random draws of training: a function of (seed, step), so that step k draws the same after any restart.

All ranks draw the same numbers. Layers that drop (`models.stochastic`) draw for the joined batch and keep
their own rows; samples are augmented and mixed by their position in the plan. So no draw depends on the
number of ranks.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def reseed(seed: int, step: int) -> None:
    """Seed torch on CPU and GPUs for step `step` (0-based), alike on all ranks."""
    digest = hashlib.sha256(f"step {seed} {step}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators, by device type."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what `rng_state` returned; a generator that this machine lacks is left out."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Use deterministic algorithms inside the block where that is free: on CPU.

    On CPU every operation then gives the same bits for the same inputs, thread count and machine type, or
    raises. On CUDA it is left off: attention backward and index gathers would slow down, so a GPU run
    repeats to rounding only.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
