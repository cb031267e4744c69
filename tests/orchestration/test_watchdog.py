import threading
from pathlib import Path

import pytest

from lstcl_platform.orchestration.ingest import started
from lstcl_platform.orchestration.watchdog import Watchdog

LIMIT = 0.4
"""Seconds, in which a busy machine may do a check or none: the tests wait for what happens, never for how long."""


class Watched:
    """A watchdog of the test's own thread, and what it says and does."""

    def __init__(self, log: Path | None = None, *, seconds: float = LIMIT) -> None:
        self.told: list = []
        self.spoken, self.given_up = threading.Event(), threading.Event()
        self.dog = Watchdog(seconds=seconds, tell=self._tell, log=log, give_up=self.given_up.set, step=5)

    def _tell(self, place) -> None:
        self.told.append(place)
        self.spoken.set()


def stand_still(event: threading.Event) -> None:
    assert event.wait(60)


def test_a_loop_that_stands_still_is_told_once_with_its_stack_and_then_given_up(tmp_path: Path):
    log = tmp_path / "rank0.log"
    watched = Watched(log)
    watched.dog.beat(7)
    stand_still(watched.spoken)
    assert not watched.given_up.is_set(), "first its stacks, after half of the limit"
    stand_still(watched.given_up)
    (place,) = watched.told
    assert (place["step"], place["waits"]) == (7, False)
    assert "threading.py" in place["where"]
    assert "stand_still" in log.read_text()


def test_a_loop_that_never_does_its_first_step_is_given_up_later():
    first, later = Watched(), Watched()
    later.dog.beat(6)
    stand_still(later.given_up)
    assert not first.spoken.is_set(), "start-up has six times as long"
    stand_still(first.given_up)
    assert first.told[0]["step"] == 5


def test_waits_for_data_do_not_count():
    waiting, data = Watched(), threading.Event()

    def late():
        stand_still(data)
        yield {}

    def other() -> None:  # a rank that waits for no data
        reference = Watched(seconds=4 * LIMIT)
        reference.dog.beat(7)
        stand_still(reference.given_up)
        data.set()

    batches = started(late(), on_first=lambda: None)
    waiting.dog.beat(7)
    threading.Thread(target=other).start()
    next(batches)
    assert not waiting.spoken.is_set()
    stand_still(waiting.given_up)


def test_steps_as_slow_as_those_before_are_none():
    watched = Watched()
    watched.dog.beat(1)
    stand_still(watched.spoken)
    watched.dog.beat(2)
    reference = Watched()
    reference.dog.beat(1)
    stand_still(reference.given_up)
    assert not watched.given_up.is_set(), "a step of half the limit makes that two and a half limits"
    stand_still(watched.given_up)


@pytest.mark.parametrize("end", ["closed", "several workers"])
def test_nobody_is_given_up_who_has_ended_or_is_waited_for(end):
    ended = Watched()
    if end == "closed":
        ended.dog.close()
    else:
        ended.dog._give_up = None
    ended.dog.beat(7)
    reference = Watched(seconds=3 * LIMIT)
    reference.dog.beat(7)
    stand_still(reference.given_up)
    assert not ended.given_up.is_set()
    assert ended.spoken.is_set() == (end == "several workers")
