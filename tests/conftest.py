"""Groups of tests: which there are, the order they run in, and what was left out and why.

A group is a marker; a test without one of them is a unit test. Fast groups run first. Plain ``pytest`` runs what pip
alone allows; with LSTCL_ALL_GROUPS=1, as in `.ci/run`, a group of which no test ran fails the session.
"""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import pytest

# One thread a process, before anything imports torch: on few cores more threads only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

UNIT = "unit"
GROUPS = (UNIT, "postgresql", "cluster", "autoscaling", "kills", "browser", "long")
"""In the order in which they run."""
ON_REQUEST = {"long": "takes minutes to hours"}
"""Groups that run only when asked for, also with LSTCL_ALL_GROUPS."""
TOOLS = {
    "browser": (("chromium", "chromedriver"), "install Chromium and its driver"),
    "postgresql": (("initdb", "pg_ctl", "postgres"), "install PostgreSQL and put its bin folder on PATH"),
}
"""Programs that a group needs beside what pip installs, and what to do when they are missing."""

_POLICY = os.sched_getscheduler(0)

collected: Counter[str] = Counter()
ran: defaultdict[str, set[str]] = defaultdict(set)


def group_of(item: pytest.Item) -> str:
    """The last group that marks `item`: a test that kills launches and takes long is a long one."""
    return next((group for group in reversed(GROUPS) if item.get_closest_marker(group)), UNIT)


def missing_tools(group: str) -> list[str]:
    programs, _ = TOOLS.get(group, ((), ""))
    return [program for program in programs if shutil.which(program) is None]


def required() -> list[str]:
    return [group for group in GROUPS if group not in ON_REQUEST]


def is_strict() -> bool:
    return os.environ.get("LSTCL_ALL_GROUPS", "0") not in ("", "0")


def left_out(groups: Sequence[str]) -> dict[str, str]:
    """Those of `groups` of which no test ran, each with the reason and what to do."""
    reasons = {}
    for group in groups:
        if ran[group]:
            continue
        if missing := missing_tools(group):
            reasons[group] = f"no {' and no '.join(missing)} here: {TOOLS[group][1]}, then: pytest -m {group}"
        elif group in ON_REQUEST:
            reasons[group] = f"{ON_REQUEST[group]}; run with: pytest -m {group}"
        else:
            reasons[group] = "no test of it was selected" if collected[group] else "it has no test here"
    return reasons


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """Fails a test that leaves this process with real-time priority, as encoders do for root.

    Every later child would inherit it, and a Ray executor that polls with it starves the whole machine.
    """
    yield
    assert os.sched_getscheduler(0) == _POLICY


@pytest.hookimpl(tryfirst=True)  # before `-m` and `-k` take tests out, so that what they take out is counted
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: GROUPS.index(group_of(item)))
    for item in items:
        group = group_of(item)
        collected[group] += 1
        if missing := missing_tools(group):
            item.add_marker(pytest.mark.skip(reason=f"no {' and no '.join(missing)} here"))


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
    if not skipped and (call.when == "call" or call.excinfo is not None):
        ran[group_of(item)].add(item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if is_strict() and session.exitstatus == pytest.ExitCode.OK and left_out(required()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = left_out([group for group in GROUPS if collected[group] or is_strict()])
    terminalreporter.section("test groups")
    for group in GROUPS:
        if group in reasons:
            failed = is_strict() and group in required()
            terminalreporter.line(f"{group:11} LEFT OUT: {reasons[group]}", red=failed, yellow=not failed)
        elif ran[group]:
            terminalreporter.line(f"{group:11} {len(ran[group])} of {collected[group]} ran")
