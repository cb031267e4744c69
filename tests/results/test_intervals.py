import pytest
from scipy import stats

from lstcl_platform.results.compare import summarise
from lstcl_platform.results.intervals import interval_of


def test_several_seeds_have_students_interval():
    values = [0.70, 0.72, 0.75]
    found = interval_of(summarise(values), videos=100)
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert (found.low, found.high, found.over) == (pytest.approx(low), pytest.approx(high), "seeds")


def test_the_interval_of_a_share_stays_between_nothing_and_all():
    few = summarise([0.317, 0.667, 0.933])
    found = interval_of(few, videos=180)
    assert (found.low, found.high, found.over) == (0, 1, "seeds")
    assert interval_of(few).high > 1


def test_a_single_seed_has_wilsons_over_the_videos():
    found = interval_of(summarise([0.9]), videos=50)
    wilson = stats.binomtest(45, 50).proportion_ci(method="wilson")
    assert (found.low, found.high) == (pytest.approx(wilson.low), pytest.approx(wilson.high))
    assert found.over == "videos"


@pytest.mark.parametrize(("values", "videos"), [([0.9], None), ([1.7], 50)])
def test_nothing_is_made_up(values, videos):
    assert interval_of(summarise(values), videos=videos) is None
