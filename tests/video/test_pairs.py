"""Strides and starts of a pair: every legal outcome, and none else, with the probability it should have."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from lstcl_platform.specs.training import ClipPairSpec
from lstcl_platform.video.draws import uniforms
from lstcl_platform.video.pairs import Extent, draw_strides, place_pair, random_start


def lattice(count):
    """One number from the middle of each of `count` equal parts of [0, 1)."""
    return [(i + 0.5) / count for i in range(count)]


def starts(clips, *, strides, length, draws, frames=3):
    placed = Counter()
    for pair in draws:
        short, long = place_pair(clips, strides, pair, frames=frames, length=length)
        assert (short.stride, long.stride) == strides
        placed[short.start, long.start] += 1
    return placed


@pytest.mark.parametrize("length", [12, 13, 20])
def test_disjoint_starts_are_all_the_legal_ones_equally_often(length):
    # T = 3, strides (1, 4): spans 3 and 9.
    room = length - 12
    draws = [(a, b) for a in lattice(room + 2) for b in lattice(room + 1)]
    placed = starts(ClipPairSpec(sampling="random_disjoint"), strides=(1, 4), length=length, draws=draws)
    legal = {(x, y) for x in range(length - 3 + 1) for y in range(length - 9 + 1) if x + 3 <= y or y + 9 <= x}
    assert placed == dict.fromkeys(legal, 1)


def test_disjoint_pairs_of_equal_strides_come_in_both_orders():
    draws = [(a, b) for a in lattice(3) for b in lattice(2)]
    placed = starts(ClipPairSpec(sampling="random_disjoint"), strides=(1, 1), length=7, draws=draws)
    assert set(placed) == {(0, 3), (0, 4), (1, 4), (3, 0), (4, 0), (4, 1)}


def test_included_starts_are_uniform_inside_a_uniform_long_clip():
    # Spans 3 and 9 in 13: five places for the long clip, seven inside it for the short one.
    draws = [(a, b) for a in lattice(7) for b in lattice(5)]
    placed = starts(ClipPairSpec(sampling="random_included"), strides=(1, 4), length=13, draws=draws)
    assert placed == {(y + inside, y): 1 for y in range(5) for inside in range(7)}


def test_independent_starts_are_all_pairs_equally_often():
    draws = [(a, b) for a in lattice(11) for b in lattice(5)]
    placed = starts(ClipPairSpec(), strides=(1, 4), length=13, draws=draws)
    assert placed == {(x, y): 1 for x in range(11) for y in range(5)}


@pytest.mark.parametrize("indexing", ["exact", "linspace"])
@pytest.mark.parametrize("length", [300, 282, 320, 226, 120, 40, 1])
def test_relations_hold_at_every_length_with_the_papers_strides(indexing, length):
    draws = uniforms(400, seed=1, stream=99).reshape(-1, 2).tolist()
    spans = {"exact": (57, 225), "linspace": (64, 256)}[indexing]
    for sampling in ("random_included", "random_disjoint"):
        clips = ClipPairSpec(sampling=sampling, indexing=indexing)
        for pair in draws:
            short, long = place_pair(clips, (8, 32), pair, frames=8, length=length)
            assert (short.span, long.span) == spans
            for clip in (short, long):
                assert 0 <= clip.start <= max(0, length - clip.span)
            if sampling == "random_included":
                assert long.start <= short.start
                assert short.start + short.span <= max(long.start + long.span, short.span)
            else:
                assert short.overlaps(long) == (length < sum(spans))
                # Positions are rounded down: no frame is shown twice.
                frames = [set(range(int(clip.start), int(clip.start) + clip.span)) for clip in (short, long)]
                assert length < sum(spans) or not frames[0] & frames[1]


def test_continuous_disjoint_starts_fill_the_free_room_in_both_orders():
    draws = uniforms(8000, seed=1, stream=99).reshape(-1, 2).tolist()
    clips = ClipPairSpec(sampling="random_disjoint", indexing="linspace")
    placed = [place_pair(clips, (8, 32), pair, frames=8, length=420) for pair in draws]
    gaps = np.array(
        [
            (x.start, y.start - x.start - x.span)
            if x.start < y.start
            else (y.start, x.start - y.start - y.span)
            for x, y in placed
        ]
    )
    assert np.mean([x.start < y.start for x, y in placed]) == pytest.approx(0.5, abs=0.03)
    # Two uniform points on 100 positions: before the first and between them a third of it on average.
    assert gaps.mean(axis=0) == pytest.approx([100 / 3, 100 / 3], abs=1.5)
    assert gaps.min() >= 0


@pytest.mark.parametrize(("strides", "frames"), [((8, 32), 8), ((4, 16), 16)])
def test_a_video_too_short_for_both_gets_the_least_overlap_there_is(strides, frames):
    length = 250
    clips = ClipPairSpec(sampling="random_disjoint")
    spans = [(frames - 1) * stride + 1 for stride in strides]
    ends = {(0, length - spans[1]), (length - spans[0], 0)}
    draws = [(a, 0.3) for a in lattice(10)]
    placed = starts(clips, strides=strides, length=length, draws=draws, frames=frames)
    assert placed == dict.fromkeys(ends, 5)
    least = min(
        min(x + spans[0], y + spans[1]) - max(x, y)
        for x in range(length - spans[0] + 1)
        for y in range(length - spans[1] + 1)
    )
    assert sum(spans) - length == least


def test_or_falls_back_to_independent_draws():
    draws = uniforms(200, seed=1, stream=99).reshape(-1, 2).tolist()
    clips = ClipPairSpec(sampling="random_disjoint", if_not_disjoint="independent")
    same = [place_pair(c, (8, 32), d, frames=8, length=250) for d in draws for c in (clips, ClipPairSpec())]
    assert same[::2] == same[1::2]


def test_the_papers_infeasible_pair_is_known():
    clips = ClipPairSpec(short_stride=4, long_stride=16, sampling="random_disjoint")
    short, long = place_pair(clips, (4, 16), (0.1, 0.2), frames=16, length=300)
    assert (short.span, long.span, short.overlaps(long)) == (61, 241, True)  # 302 > 300 positions of 10 s


@pytest.mark.parametrize(
    ("short", "long", "pairs"),
    [
        (4, [8, 16, 32], [(4, 8), (4, 16), (4, 32)]),
        ([4, 8, 16], 32, [(4, 32), (8, 32), (16, 32)]),
        (
            [4, 8, 16, 32],
            [4, 8, 16, 32],
            [(x, y) for x in (4, 8, 16, 32) for y in (4, 8, 16, 32) if x <= y],
        ),
    ],
    ids=["row 1", "row 2", "row 3"],
)
def test_the_strides_of_table_1_are_drawn_equally_often(short, long, pairs):
    clips = ClipPairSpec(
        short_stride=short if isinstance(short, int) else tuple(short),
        long_stride=long if isinstance(long, int) else tuple(long),
    )
    count = 3000
    drawn = Counter(draw_strides(clips, seed=0, epoch=e, video=v) for e in range(30) for v in range(100))
    assert set(drawn) == set(pairs)
    expected = count / len(pairs)
    chi_square = sum((drawn[pair] - expected) ** 2 / expected for pair in pairs)
    # 99.9 % points of chi-square with 2 and 9 degrees of freedom.
    assert chi_square < {3: 13.8, 10: 27.9}[len(pairs)]


def test_strides_are_a_function_of_seed_epoch_and_video():
    clips = ClipPairSpec(short_stride=(4, 8, 16, 32), long_stride=(4, 8, 16, 32))

    def drawn(**changes):
        return [draw_strides(clips, **{"seed": 0, "epoch": e, "video": 3, **changes}) for e in range(50)]

    assert drawn() == drawn()
    assert drawn() != drawn(seed=1)
    assert drawn() != drawn(video=4)


def test_fixed_strides_take_no_draw():
    assert {draw_strides(ClipPairSpec(), seed=seed, epoch=0, video=0) for seed in range(20)} == {(8, 32)}


def test_starts_are_exactly_uniform_to_the_resolution_of_a_draw():
    edges = [Fraction(i, 76) for i in range(76)]
    assert [random_start(float(edge) + 1e-12, room=75, indexing="exact") for edge in edges] == list(range(76))
    assert random_start(1 - 2**-53, room=75, indexing="exact") == 75
    assert random_start(0.5, room=-3, indexing="linspace") == 0


def test_extents_that_touch_do_not_overlap():
    assert not Extent(0, 1, 3).overlaps(Extent(3, 1, 4))
    assert Extent(0, 1, 4).overlaps(Extent(3, 1, 4))
