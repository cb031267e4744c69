"""What the bits of a result can depend on beside its stage key: recorded, and compared on resume."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lstcl_platform import __version__
from lstcl_platform.training.context import StageContext

LIBRARIES = ("torch", "torchvision", "timm", "kornia", "pillow", "av", "numpy")


def numerics_fingerprint(
    context: StageContext, *, micro_batch: int, compiled: bool = False
) -> dict[str, Any]:
    """How this process computes, as JSON values.

    Two runs of a stage on CPU with equal fingerprints give equal bits; on a GPU they agree to rounding.

    Args:
        context: of the stage.
        micro_batch: samples a rank passes through the model at once.
        compiled: whether torch.compile makes the code of its blocks.
    """
    cuda = context.device.type == "cuda"
    return {
        "world_size": context.world_size,
        "micro_batch": micro_batch,
        "threads": torch.get_num_threads(),
        "device": context.device.type,
        "device_name": torch.cuda.get_device_name(context.device) if cuda else _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul": torch.get_float32_matmul_precision(),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]  # torch's own
        "compiler": "inductor" if compiled else None,
        "python": platform.python_version(),
        "lstcl_platform": __version__,
        **{name: _version(name) for name in LIBRARIES},
    }


def fingerprint_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differing entries as `name: before -> now`, sorted by name; empty when the two are equal."""
    names = sorted({*before, *now})
    return [f"{n}: {before.get(n)} -> {now.get(n)}" for n in names if before.get(n) != now.get(n)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
