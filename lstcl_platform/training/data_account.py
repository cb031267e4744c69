"""What a step's data cost: how long training waited for them, and how much decoding they took."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.distributed as dist

from lstcl_platform.specs.wording import numbered
from lstcl_platform.training.context import StageContext
from lstcl_platform.training.transfer import HostBatch

STARVING = 0.1
"""Share of a step spent waiting for data from which on it is worth a word."""
MUCH_WORSE = 0.2
"""By how much the share must have grown for another one."""
START_UP_STEPS = 10
"""Steps of an attempt in which the stream is still filling up."""


class DataAccount:
    """Sums over the steps since the last row, of this rank."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._sums = np.zeros(2)

    def add(self, host: HostBatch) -> None:
        """Count a batch: its samples, and the seconds they took to decode."""
        seconds = host.get("seconds", np.zeros(0))
        self._sums += [len(seconds), float(seconds.sum())]

    def close(self, *, steps: int, seconds: float, waited: float) -> dict[str, float]:
        """Figures of the interval that ends now; all ranks call this at the same steps.

        Args:
            steps: of the interval.
            seconds: it took.
            waited: of them, how long this rank waited for data.

        Returns:
            `data_wait`, share of the interval that the rank which waited longest waited; `data_wait_seconds`, the
            same a step; and if the batches tell, `decode_seconds` of one core a sample, and `decode_cores` that were
            busy for the stage on average.
        """
        samples, decoding = self._over_ranks(self._sums, dist.ReduceOp.SUM)
        (longest,) = self._over_ranks([waited], dist.ReduceOp.MAX)
        self._sums[:] = 0
        figures = {"data_wait": min(1.0, longest / seconds), "data_wait_seconds": longest / steps}
        if samples and decoding:
            figures |= {"decode_seconds": decoding / samples, "decode_cores": decoding / seconds}
        return figures

    def _over_ranks(
        self, values: Sequence[float] | np.ndarray, operation: dist.ReduceOp.RedOpType
    ) -> list[float]:
        if self._context.world_size == 1:
            return [float(value) for value in values]
        table = torch.tensor(values, dtype=torch.float64, device=self._context.device)
        dist.all_reduce(table, operation)
        found: list[float] = table.tolist()
        return found


class StarvationWatch:
    """Says when training waits for data, by how much, and what would end it: once, and again if much worse.

    Args:
        context: Of the stage; its reporter is warned.
        start: Steps done before this attempt.
        rows: Of earlier attempts, which have warned already.
    """

    def __init__(self, context: StageContext, *, start: int, rows: Sequence[Mapping[str, float]]) -> None:
        self._context = context
        self._start = start
        self._starved = False
        self._told = 0.0
        for row in rows:
            self._judge(row)

    def see(self, row: Mapping[str, float]) -> None:
        """Look at a row of metrics."""
        if row["step"] - self._start > START_UP_STEPS and self._judge(row):
            self._context.reporter.warning(self._advice(row))

    def _judge(self, row: Mapping[str, float]) -> bool:
        """Whether to speak: the second row in turn that shows it, so that a single hiccup is none."""
        share = row["data_wait"]
        before, self._starved = self._starved, share >= STARVING
        if not (before and self._starved) or (self._told and share < self._told + MUCH_WORSE):
            return False
        self._told = share
        return True

    def _advice(self, row: Mapping[str, float]) -> str:
        """In the end decoding must be faster by as much as a step would be shorter without waiting."""
        share, device = row["data_wait"], "GPU" if self._context.device.type == "cuda" else "worker"
        text = f"waits {100 * share:.0f} % of each step for data"
        if "decode_cores" not in row:
            return f"{text}: give decoding more cores, or run data prepare"
        more = row["decode_cores"] / self._context.world_size * share / max(1 - share, 0.01)
        cores = max(1, round(more))
        now = f"a sample takes one core {1000 * row['decode_seconds']:.0f} ms"
        if "frames_decoded_per_used" in row:
            now += f" with {row['frames_decoded_per_used']:.1f} frames decoded for each that is used"
        now += f", and {row['decode_cores']:.1f} cores decode"
        return f"{text}: add {numbered(cores, 'decode core')} per {device} or run data prepare ({now})"
