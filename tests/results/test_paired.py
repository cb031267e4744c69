import numpy as np
import pytest

from lstcl_platform.results.paired import (
    EXACT_UNITS,
    bootstrap_interval,
    mcnemar,
    paired_difference,
    sign_flip_p_value,
)


def _correct(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (0, 5, 2 / 32),
        (5, 0, 2 / 32),
        (3, 3, 1.0),
        (2, 8, 0.109375),  # scipy.stats.binomtest(2, 10).pvalue
        (25, 11, 0.028816719655878845),  # scipy.stats.binomtest(11, 36).pvalue
    ],
)
def test_mcnemar_is_the_binomial_test_of_the_videos_that_differ(only_first, only_second, p_value):
    found = mcnemar(*_correct(20, only_first, only_second, 9))
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p_value == pytest.approx(p_value, rel=1e-12)


def test_mcnemar_refuses_different_videos():
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        mcnemar([True, False, True], [True, False])


def test_few_differences_are_flipped_in_all_ways():
    # Sums of +-1 +-2 +-3 are 6, 4, 2, 0, 0, -2, -4, -6.
    assert sign_flip_p_value([1, 2, 3]) == 2 / 8
    assert sign_flip_p_value([-1, 2, 3]) == 4 / 8
    assert sign_flip_p_value([0, 1, 0]) == 1.0
    assert sign_flip_p_value([0, 0]) == 1.0


def test_equal_sums_count_as_equal_whatever_their_last_bits_say():
    thirds = np.array([-3, -3, -2, 2, 1, 3]) / 3
    # 58 of the 64 flips of the numerators reach a sum of 2; without a tolerance rounding loses 6 of them.
    assert sign_flip_p_value(thirds) == 58 / 64


def test_many_differences_of_one_size_give_mcnemars_p_value():
    differences = [1] * 25 + [-1] * 11 + [0] * 50
    assert len(differences) - 50 > EXACT_UNITS
    assert sign_flip_p_value(differences, resamples=40_000) == pytest.approx(0.0288167, abs=0.004)


def test_random_flips_are_the_same_each_time_and_never_impossible():
    differences = np.ones(60)
    assert sign_flip_p_value(differences, resamples=999) == 1 / 1000
    mixed = np.linspace(-1, 1.2, 40)
    assert sign_flip_p_value(mixed, resamples=5000, seed=3) == sign_flip_p_value(
        mixed, resamples=5000, seed=3
    )


def test_difference_is_of_means_over_seeds_video_by_video():
    first = [[1, 0, 0, 1], [1, 0, 1, 1]]
    second = [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 1]]
    found = paired_difference(first, second, resamples=2000)
    # By video: 0, 3/4, 1/2, -1/4.
    assert found.mean == pytest.approx(0.25)
    # Of the 8 signs of (3, 2, -1): |sum| is at least 4 for +-(3, 2, -1), +-(3, 2, 1).
    assert found.p_value == 4 / 8
    assert (found.videos, found.units, found.level) == (4, 4, 0.95)
    assert -0.25 <= found.low < found.mean < found.high <= 0.75


def test_videos_of_a_group_count_as_one_unit():
    first, second = np.zeros(12), np.ones(12)
    alone = paired_difference(first, second, resamples=500)
    grouped = paired_difference(first, second, groups=["a"] * 6 + ["b"] * 4 + ["c"] * 2, resamples=500)
    assert alone.p_value == 2 / 2**12
    assert (grouped.p_value, grouped.units, grouped.videos) == (2 / 2**3, 3, 12)
    assert (grouped.low, grouped.high) == (1.0, 1.0)


def test_groups_widen_the_interval_of_videos_that_go_together():
    scores = np.repeat([0.0, 1.0, 0.0, 1.0, 1.0], 10)
    narrow = bootstrap_interval(scores, resamples=4000)
    wide = bootstrap_interval(scores, groups=np.repeat(np.arange(5), 10).tolist(), resamples=4000)
    assert wide[0] < narrow[0] < 0.6 < narrow[1] < wide[1]


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    # Percentile intervals of a binomial share; the exact quantiles of Binomial(100, 0.6) / 100 are 0.50 and 0.69.
    scores = np.repeat([1.0, 0.0], [60, 40])
    assert bootstrap_interval(scores, resamples=20_000) == pytest.approx((0.50, 0.69), abs=0.011)
    low, high = bootstrap_interval(scores, level=0.5, resamples=20_000)
    # Exact: 0.57 and 0.63.
    assert (low, high) == pytest.approx((0.57, 0.63), abs=0.011)


@pytest.mark.parametrize(
    ("first", "second", "groups", "text"),
    [
        ([1, 0], [1, 0, 1], None, "not of 2 and 3"),
        ([], [], None, "at least one"),
        ([1, 0], [0, 1], ["a"], "1 groups for 2 videos"),
        ([[[1]]], [[[1]]], None, r"\(seeds, videos\)"),
    ],
)
def test_scores_of_different_videos_are_refused(first, second, groups, text):
    with pytest.raises(ValueError, match=text):
        paired_difference(first, second, groups=groups)
