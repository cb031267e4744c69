"""Is one way of training better than another on the same test videos? Paired tests on what each video scored.

All of them compare per video, so that a video that is easy or hard for both says nothing. Scores are correctness
(0 or 1), or anything else of which more is better, such as the probability of the true class. What they speak of is
the draw of the test videos: seeds are averaged before, so that the spread over seeds is to be shown beside them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_UNITS = 14
"""Up to so many differing units (videos, or groups of them) all flips of signs are counted, beyond they are drawn."""
_CHUNK = 4096
"""Resamples held at once."""


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Outcome of McNemar's exact test.

    Attributes:
        only_first: videos that only the first got right.
        only_second: videos that only the second got right.
        p_value: two-sided, in (0, 1]; 1 when no video tells them apart.
    """

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How much better the second is than the first.

    Attributes:
        mean: mean difference over videos, second less first.
        low: lower end of the bootstrap interval of `mean`.
        high: its upper end.
        level: coverage of the interval.
        p_value: of the sign-flip test, two-sided.
        videos: videos compared.
        units: what was flipped and resampled as one: videos, or groups of them.
    """

    mean: float
    low: float
    high: float
    level: float
    p_value: float
    videos: int
    units: int


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar's test of two classifiers, one training each, by the exact binomial distribution.

    Args:
        first: whether each video was right, bool (N,).
        second: the same videos in the same order, bool (N,).

    Raises:
        ValueError: the shapes differ.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"need two vectors of equal length, not {a.shape} and {b.shape}")
    only_first, only_second = int((a & ~b).sum()), int((~a & b).sum())
    told_apart, rarer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(told_apart, k) for k in range(rarer + 1)) / 2**told_apart
    return McNemar(only_first=only_first, only_second=only_second, p_value=min(1.0, 2 * tail))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    level: float = 0.95,
    resamples: int = 100_000,
    seed: int = 0,
) -> PairedDifference:
    """Mean difference of two ways of training over the same videos, its bootstrap interval and sign-flip test.

    Args:
        first: scores of one way, (S, N): S seeds, N videos; or (N,).
        second: of the other, (S', N) or (N,), videos in the same order.
        groups: what each video belongs to, N entries, such as the person in it. Videos of one group need not be
            independent of one another: groups are then flipped and resampled as a whole.
        level: coverage of the interval.
        resamples: flips (where they are drawn) and bootstrap samples.
        seed: of both.

    Raises:
        ValueError: the shapes do not agree, or there is no video.
    """
    a, b = _over_seeds(first), _over_seeds(second)
    if a.shape != b.shape or not a.size:
        raise ValueError(f"need scores of the same videos, at least one, not of {a.size} and {b.size}")
    differences = b - a
    sums, counts = _units(differences, groups)
    low, high = _bootstrap(sums, counts, level=level, resamples=resamples, seed=seed)
    return PairedDifference(
        mean=float(differences.mean()),
        low=low,
        high=high,
        level=level,
        p_value=sign_flip_p_value(sums, resamples=resamples, seed=seed),
        videos=len(differences),
        units=len(sums),
    )


def sign_flip_p_value(differences: ArrayLike, *, resamples: int = 100_000, seed: int = 0) -> float:
    """Two-sided p-value of a sum of differences, if each were as likely with the other sign.

    Exact where at most `EXACT_UNITS` differences are not 0; otherwise from random flips, the observed signs counted
    as one of them (so it is never 0).

    Args:
        differences: one a unit, (N,).
        resamples: random flips.
        seed: of the flips.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    # Sums of the same numbers in another order differ in the last bits, and must count as equal.
    least = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if len(values) <= EXACT_UNITS:
        flips = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        return float(np.mean(np.abs((1 - 2 * flips) @ values) >= least))
    rng = np.random.default_rng([seed, 0])
    extreme = 0
    for count in _chunks(resamples):
        signs = rng.integers(2, size=(count, len(values)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ values) >= least).sum())
    return (extreme + 1) / (resamples + 1)


def bootstrap_interval(
    values: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    level: float = 0.95,
    resamples: int = 100_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over videos (of a score as well as of a difference).

    Args:
        values: one a video, (N,), or (S, N) to be averaged over seeds.
        groups: as in `paired_difference`.
        level: coverage.
        resamples: samples drawn with replacement.
        seed: of the draws.

    Raises:
        ValueError: `groups` has another length.
    """
    sums, counts = _units(_over_seeds(values), groups)
    return _bootstrap(sums, counts, level=level, resamples=resamples, seed=seed)


def _over_seeds(scores: ArrayLike) -> NDArray[np.float64]:
    array = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if array.ndim != 2:
        raise ValueError(f"scores must be (seeds, videos), not {array.shape}")
    return np.asarray(array.mean(axis=0))


def _units(
    values: NDArray[np.float64], groups: Sequence[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of videos of each unit."""
    if groups is None:
        return values, np.ones(len(values))
    if len(groups) != len(values):
        raise ValueError(f"{len(groups)} groups for {len(values)} videos")
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(member, weights=values)
    return sums.astype(np.float64), np.bincount(member).astype(np.float64)


def _bootstrap(
    sums: NDArray[np.float64], counts: NDArray[np.float64], *, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng([seed, 1])
    means = []
    for count in _chunks(resamples):
        drawn = rng.integers(len(sums), size=(count, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _chunks(total: int) -> list[int]:
    full, rest = divmod(total, _CHUNK)
    return [_CHUNK] * full + [rest] * (rest > 0)
