"""Rows of metrics: gathered step by step on the device, read once an interval, kept through every restart."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lstcl_platform.training.context import StageContext
from lstcl_platform.training.distributed import mean_over_ranks

Row = dict[str, float]

COUNTERS = ("clips_padded", "pairs_not_disjoint", "bad_samples")
"""What is counted in the batches: a row has the sum over all ranks and all steps so far. `bad_samples` are those that
a stand-in replaces."""
FRAMES = ("frames_decoded", "frames_used")
"""What is counted in the batches of an interval: a row has their ratio, `frames_decoded_per_used`."""


class History:
    """All rows so far, and the steps since the last row.

    A row holds the mean over its interval and over the ranks of what each step measured, so it is the same
    whether or not the interval was interrupted; with `log_every_steps: 1` it is the step's own value. Only
    `COUNTERS` are sums since the first step, and `FRAMES` become a ratio.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self.rows: list[Row] = []
        self._settled: list[Row] = []
        self._fresh: list[Mapping[str, Tensor]] = []

    def add(self, measured: Mapping[str, Tensor]) -> None:
        """Note one step's scalar tensors, the same names every step, without waiting for the device."""
        self._fresh.append({name: value.detach() for name, value in measured.items()})

    def settle(self, step: int) -> None:
        """Bring what was noted to the host; all ranks call this at the same steps.

        Raises:
            FloatingPointError: a loss since the last call was not finite: `step` steps were done by now.
        """
        if not self._fresh:
            return
        names = sorted(self._fresh[0])
        table = torch.stack([torch.stack([m[n].float() for n in names]) for m in self._fresh])
        self._fresh.clear()
        for values in mean_over_ranks(table, self._context).tolist():
            self._settled.append(dict(zip(names, values, strict=True)))
        if not all(math.isfinite(row["loss"]) for row in self._settled):
            raise FloatingPointError(
                f"the loss was not finite within the last {len(self._settled)} steps before step {step}: "
                "training has diverged (a lower lr_base, a longer warm-up or precision fp32 may help)"
            )

    def close_row(self, step: int, extra: Mapping[str, float]) -> Row:
        """End the interval at `step` with a row of its means, the counts so far and `extra`; returns it."""
        self.settle(step)
        sums = {name: math.fsum(m[name] for m in self._settled) for name in self._settled[0]}
        row = {"step": float(step), "epoch": step / self._context.steps_per_epoch, **extra}
        for name, value in sums.items():
            if name in COUNTERS:
                before = self.rows[-1].get(name, 0.0) if self.rows else 0.0
                row[name] = before + round(value * self._context.world_size)
            elif name not in FRAMES:
                row[name] = value / len(self._settled)
        decoded, used = (sums.get(name, 0.0) for name in FRAMES)
        if used:
            row["frames_decoded_per_used"] = decoded / used
        self.rows.append(row)
        self._settled.clear()
        return row

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint after `step` steps keeps."""
        self.settle(step)
        return {"rows": self.rows, "interval": self._settled}

    def restore(self, state: Mapping[str, Sequence[Row]]) -> None:
        """Take over what `state` returned."""
        self.rows = [dict(row) for row in state["rows"]]
        self._settled = [dict(row) for row in state["interval"]]
