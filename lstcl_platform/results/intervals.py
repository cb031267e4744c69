"""How far a mean accuracy may be off: 95 % intervals."""

import math
from dataclasses import dataclass
from typing import Literal

from lstcl_platform.results.compare import Summary

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval.

    Attributes:
        low: lower end.
        high: upper end.
        over: what it is drawn over: ``seeds`` (another training) or ``videos`` (other test videos, same training).
    """

    low: float
    high: float
    over: Literal["seeds", "videos"]


def interval_of(summary: Summary, *, videos: int | None = None) -> Interval | None:
    """The 95 % interval of a mean.

    Several seeds: Student's t over them, cut to what a share can be. A single seed: Wilson's interval of a share over
    `videos`, which says nothing of how another training would end. None where neither is known.

    Args:
        summary: the metric over seeds.
        videos: test videos of a seed, where the metric is a share of them, 0 to 1.
    """
    from scipy.special import stdtrit

    count = len(summary.values)
    if summary.sd is not None:
        half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * summary.sd / math.sqrt(count)
        least, most = (0.0, 1.0) if videos else (-math.inf, math.inf)
        return Interval(
            low=max(least, summary.mean - half), high=min(most, summary.mean + half), over="seeds"
        )
    if not videos or count != 1 or not 0 <= summary.mean <= 1:
        return None
    z = 1.959964
    middle = summary.mean + z * z / (2 * videos)
    half = z * math.sqrt(summary.mean * (1 - summary.mean) / videos + (z / (2 * videos)) ** 2)
    scale = 1 + z * z / videos
    return Interval(low=(middle - half) / scale, high=(middle + half) / scale, over="videos")
