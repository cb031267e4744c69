"""A trained model as a `torch.export` program, which runs without this package."""

import os
from pathlib import Path

import torch
from torch import Tensor

from lstcl_platform.models.trained import Trained

BATCHES = (1, 3)
"""Batch sizes that the written program is checked on; it is traced with another one."""
_TRACED = 2
_TOLERANCE = 1e-4


def export_program(trained: Trained, target: Path) -> float:
    """Write a model as `.pt2`: normalised clips (B, 3, T, H, W) float32 -> its output, for any batch size B.

    The file is read back and compared with the model before it gets its name.

    Args:
        trained: the model.
        target: file to write; its folder must exist.

    Returns:
        Largest difference between the program's output and the model's, over random clips.

    Raises:
        RuntimeError: they differ by more than 1e-4 of the largest output; nothing is written.
    """
    model = trained.spec.model
    generator = torch.Generator().manual_seed(0)

    def clips(batch: int) -> Tensor:
        return torch.randn(batch, 3, model.frames, model.image_size, model.image_size, generator=generator)

    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        # Window layouts are worked out once a size and kept: by this call from numbers, which tracing has none of.
        trained.module(clips(1))
        program = torch.export.export(trained.module, (clips(_TRACED),), dynamic_shapes=({0: batch},))
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial.pt2")
    try:
        torch.export.save(program, partial)
        worst = _difference(trained, partial, [clips(size) for size in BATCHES])
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return worst


def _difference(trained: Trained, path: Path, inputs: list[Tensor]) -> float:
    read_back = torch.export.load(path).module()
    worst = 0.0
    with torch.no_grad():
        for clips in inputs:
            expected, found = trained.module(clips), read_back(clips)
            difference = (found - expected).abs().max().item()
            if not difference <= _TOLERANCE * max(1.0, expected.abs().max().item()):
                raise RuntimeError(
                    f"the exported program's output differs from the model's by {difference:.3g}: nothing was written"
                )
            worst = max(worst, difference)
    return worst
