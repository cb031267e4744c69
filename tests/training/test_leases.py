"""Leases: one holder at a time, given up by release, by the death of its process, or by silence."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lstcl_platform.training.leases import Leases, current_holder, this_launch
from tests.helpers.damage import files_of_at_most

LONG = 1000.0
"""Lifetime that does not end within a test."""


@contextmanager
def launch_of(machine: str = "", *, seconds: float = LONG) -> Iterator[Leases]:
    """Leases of a launch; with `machine`, one whose processes cannot be seen from here."""
    holder = this_launch()
    leases = Leases(replace(holder, machine=machine, host=machine) if machine else holder, seconds=seconds)
    try:
        yield leases
    finally:
        leases.close()


@pytest.fixture
def stage(tmp_path: Path) -> str:
    return str(tmp_path / "stage")


def test_one_of_many_has_it_and_the_others_learn_who(stage: str):
    winners, start = [], threading.Barrier(6)

    def ask(leases: Leases) -> None:
        start.wait()
        if leases.take(stage) is None:
            winners.append(leases)

    with launch_of("a") as a, launch_of("b") as b, launch_of("c") as c:
        threads = [threading.Thread(target=ask, args=(one,)) for one in (a, b, c) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = winners
        loser = a if winner is not a else b
        holder = loser.take(stage)
        assert holder is not None
        assert holder.host in ("a", "b", "c")
        assert winner.holds(stage)
        assert not loser.holds(stage)
        winner.release(stage)
        assert not winner.holds(stage)
        assert loser.take(stage) is None


def test_a_launch_that_was_killed_has_nothing(stage: str):
    code = (
        "import os, signal, sys\n"
        "from lstcl_platform.training.leases import Leases\n"
        "assert Leases().take(sys.argv[1]) is None\n"
        "print('taken', flush=True)\n"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, stage], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process, launch_of() as ours:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        holder = ours.take(stage)
        assert holder is not None
        assert (holder.process, current_holder(stage)) == (process.pid, holder)
        process.kill()  # not waited for: a zombie runs nothing either
        deadline = time.monotonic() + 30
        while ours.take(stage) is not None:
            assert time.monotonic() < deadline
        assert ours.holds(stage)


def test_silence_ends_a_lease_of_a_machine_that_cannot_be_seen(stage: str):
    with launch_of("far away", seconds=LONG) as silent, launch_of(seconds=0.3) as patient:
        assert silent.take(stage) is None
        assert patient.take(stage) is not None
        deadline = time.monotonic() + 30
        while patient.take(stage) is not None:
            assert time.monotonic() < deadline
        assert not silent._held[stage].renew(), "who was taken over from learns it"
        assert not silent.holds(stage)
        assert patient.holds(stage)


def test_renewing_keeps_it_whatever_the_clocks_say(stage: str):
    with launch_of("far away") as busy, launch_of(seconds=0.2) as patient:
        assert busy.take(stage) is None
        for _ in range(5):
            assert busy._held[stage].renew()
            assert patient.take(stage) is not None
            time.sleep(0.1)
        assert busy.holds(stage)


def test_a_lease_from_long_ago_is_not_waited_for(stage: str):
    with launch_of("far away") as gone, launch_of() as ours:
        gone.take(stage)
        path = Path(stage) / "leases" / "1.json"
        fields = json.loads(path.read_text())
        path.write_text(json.dumps(fields | {"renewed_at": fields["renewed_at"] - 11 * LONG}))
        assert ours.take(stage) is None


def test_a_full_disk_does_not_keep_a_launch_from_giving_back(stage: str):
    with launch_of("a") as holder, launch_of("b", seconds=0.3) as other:
        assert holder.take(stage) is None
        with files_of_at_most(10):
            holder.release(stage)
            assert not holder.holds(stage)
        deadline = time.monotonic() + 30
        while other.take(stage) is not None:
            assert time.monotonic() < deadline
