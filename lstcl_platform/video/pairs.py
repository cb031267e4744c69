"""Strides and start times of the two clips of a pair (paper, Section 4 and Tables 1 and 2)."""

import itertools
import math
from typing import NamedTuple

from lstcl_platform.specs.training import ClipPairSpec, Indexing, clip_span
from lstcl_platform.video.draws import STRIDE_STREAM, uniforms


class Extent(NamedTuple):
    """Where a clip lies on the time grid: `span` positions from `start`; only `linspace` starts in between."""

    start: float
    stride: int
    span: int

    def overlaps(self, other: "Extent") -> bool:
        """Whether a point in time lies in both."""
        return self.start < other.start + other.span and other.start < self.start + self.span


def draw_strides(clips: ClipPairSpec, *, seed: int, epoch: int, video: int) -> tuple[int, int]:
    """tau_S and tau_L of a sample: one of the pairs with tau_S <= tau_L, each equally likely."""
    pairs = [
        (short, long)
        for short, long in itertools.product(clips.short_strides, clips.long_strides)
        if short <= long
    ]
    if len(pairs) == 1:
        return pairs[0]
    draw = float(uniforms(1, seed=seed, stream=STRIDE_STREAM, epoch=epoch, video=video)[0])
    return pairs[math.floor(draw * len(pairs))]


def place_pair(
    clips: ClipPairSpec,
    strides: tuple[int, int],
    draws: tuple[float, float],
    *,
    frames: int,
    length: int,
) -> tuple[Extent, Extent]:
    """Lay the short and the long clip into a video, each from a number of [0, 1) of its own.

    Args:
        clips: How the two start times relate.
        strides: tau_S, tau_L.
        draws: The short clip's number and the long clip's.
        frames: T.
        length: Positions of the video.
    """
    indexing = clips.indexing
    short, long = (clip_span(frames=frames, stride=stride, indexing=indexing) for stride in strides)
    at_short = random_start(draws[0], room=length - short, indexing=indexing)
    at_long = random_start(draws[1], room=length - long, indexing=indexing)
    match clips.sampling:
        case "random_independent":
            pass
        case "random_included":
            at_short = at_long + random_start(draws[0], room=min(long, length) - short, indexing=indexing)
        case "random_disjoint" if short + long <= length:
            at_short, at_long = _disjoint_starts(
                draws, short=short, long=long, room=length - short - long, indexing=indexing
            )
        case "random_disjoint" if clips.if_not_disjoint == "least_overlap":
            at_short, at_long = 0, max(0, length - long)
            if draws[0] >= 0.5:
                at_short, at_long = max(0, length - short), 0
    return Extent(at_short, strides[0], short), Extent(at_long, strides[1], long)


def random_start(draw: float, *, room: int, indexing: Indexing) -> float:
    """Start between 0 and `room`, both included and, for `exact`, whole; 0 where there is no room."""
    room = max(0, room)
    return math.floor(draw * (room + 1)) if indexing == "exact" else draw * room


def _disjoint_starts(
    draws: tuple[float, float], *, short: int, long: int, room: int, indexing: Indexing
) -> tuple[float, float]:
    """Starts of clips that do not overlap and leave `room` positions free, every such pair equally likely.

    With each clip shrunk to a point these are the pairs of different points of `room` + 2 (for `linspace`, the
    points of a square of side `room`); which of the two comes first is the order of the clips.
    """
    if indexing == "exact":
        first, second = math.floor(draws[0] * (room + 2)), math.floor(draws[1] * (room + 1))
        second += second >= first
        return (first, second - 1 + short) if first < second else (first - 1 + long, second)
    first_at, second_at = draws[0] * room, draws[1] * room
    return (first_at, second_at + short) if first_at <= second_at else (first_at + long, second_at)
