"""What the doctor makes of what it saw: one finding a check, with the odd node out named."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from lstcl_platform.specs.wording import numbered

LAUNCHER = "this process"
"""Name of the process that asks, among those of the nodes."""
LIBRARIES_THAT_MUST_AGREE = frozenset({"python", "ray", "torch", "lstcl_platform", "our code"})
"""Nodes that differ here compute other results, or none; a difference elsewhere is a warning."""
CLOCK_WARN_SECONDS = 1.0
CLOCK_FAIL_SECONDS = 30.0
"""Leases and the signatures of object stores go by the clock."""
SLOW_GB_PER_SECOND = {"nccl": 2.0, "gloo": 0.05}
"""All-reduce slower than this holds training up; gloo over 1 GbE reaches about 0.1."""
SLOW_LINK_SHARE = 0.5
"""A link below this share of the median link is named."""

Value = TypeVar("Value", bound=Hashable)
Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Outcome of one check.

    Attributes:
        check: what was looked at.
        status: `warn` is worth a look, `fail` will spoil or stop training.
        detail: figures, and who is the odd one out.
    """

    check: str
    status: Status
    detail: str


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """What one node said; what was not asked or not reached is empty.

    Attributes:
        node: name.
        versions: library -> version.
        clock_offset: seconds its clock is ahead of this process's.
        clock_error: how far that may be off.
        storage_seconds: time to read, write and delete a small file.
        storage_error: why that did not work.
        frames: video -> digest of its first frame, or `error: ...`.
        step_error: relative difference of its training step from this process's.
        error: why the node could not answer at all.
    """

    node: str
    versions: Mapping[str, str] = field(default_factory=dict)
    clock_offset: float = 0.0
    clock_error: float = 0.0
    storage_seconds: float = 0.0
    storage_error: str = ""
    frames: Mapping[str, str] = field(default_factory=dict)
    step_error: float = 0.0
    error: str = ""


def odd_ones_out(values: Mapping[str, Value]) -> tuple[Value, dict[str, Value]]:
    """The value that most hold (of equals, the one that comes first), and who holds which other.

    Args:
        values: holder -> value; at least one.
    """
    usual, _ = Counter(values.values()).most_common(1)[0]
    return usual, {holder: value for holder, value in values.items() if value != usual}


def judge_nodes(reports: list[NodeReport]) -> Finding:
    """Every node runs our code."""
    silent = [f"{report.node}: {report.error}" for report in reports if report.error]
    if silent:
        return Finding(check="nodes", status="fail", detail="; ".join(silent))
    names = ", ".join(report.node for report in reports)
    return Finding(check="nodes", status="ok", detail=f"{len(reports)}: {names}")


def judge_versions(versions: Mapping[str, Mapping[str, str]]) -> Finding:
    """All hold the same versions; `versions` is holder -> library -> version."""
    status: Status = "ok"
    told: list[str] = []
    libraries = list(dict.fromkeys(name for held in versions.values() for name in held))
    for library in libraries:
        held = {holder: found.get(library, "missing") for holder, found in versions.items()}
        usual, odd = odd_ones_out(held)
        if odd:
            others = ", ".join(f"{holder} has {version}" for holder, version in odd.items())
            told.append(f"{library}: {others}; the others {usual}")
            status = "fail" if status == "fail" or library in LIBRARIES_THAT_MUST_AGREE else "warn"
    first = next(iter(versions.values()))
    same = ", ".join(f"{name} {first[name]}" for name in ("python", "torch", "ray", "lstcl_platform"))
    return Finding(check="versions", status=status, detail="; ".join(told) or same)


def judge_clocks(reports: list[NodeReport]) -> Finding:
    """Clocks agree with this process's, as far as the network lets one tell."""
    worst = max((_clock_difference(report) for report in reports), default=0.0)
    status: Status = "ok"
    if worst > CLOCK_WARN_SECONDS:
        status = "fail" if worst > CLOCK_FAIL_SECONDS else "warn"
    odd = [
        f"{report.node} is {abs(report.clock_offset):.1f} s {'ahead' if report.clock_offset > 0 else 'behind'}"
        for report in reports
        if _clock_difference(report) > CLOCK_WARN_SECONDS
    ]
    largest = max((abs(report.clock_offset) for report in reports), default=0.0)
    return Finding(check="clocks", status=status, detail="; ".join(odd) or f"within {largest * 1000:.0f} ms")


def _clock_difference(report: NodeReport) -> float:
    return max(0.0, abs(report.clock_offset) - report.clock_error)


def judge_storage(reports: list[NodeReport], *, location: str) -> Finding:
    """Every node reads what this process wrote, and writes, reads and deletes."""
    broken = [f"{report.node}: {report.storage_error}" for report in reports if report.storage_error]
    if broken:
        return Finding(check="storage", status="fail", detail=f"{location}: {'; '.join(broken)}")
    slowest = max(reports, key=lambda report: report.storage_seconds)
    return Finding(
        check="storage",
        status="ok",
        detail=f"{location}: read, written and deleted from every node, slowest {slowest.node} "
        f"({slowest.storage_seconds * 1000:.0f} ms)",
    )


def judge_data(frames: Mapping[str, Mapping[str, str]]) -> Finding:
    """Every node reads the same pictures; `frames` is holder -> video -> digest or `error: ...`."""
    told: list[str] = []
    videos = list(dict.fromkeys(video for held in frames.values() for video in held))
    for video in videos:
        held = {holder: found.get(video, "error: not read") for holder, found in frames.items()}
        broken = {holder: text for holder, text in held.items() if text.startswith("error: ")}
        if broken:
            text = next(iter(broken.values())).removeprefix("error: ")
            told.append(f"{video} on {', '.join(broken)}: {text}")
        elif odd := odd_ones_out(held)[1]:
            told.append(f"{video} decodes to other pictures on {', '.join(odd)}")
    if told:
        return Finding(check="data", status="fail", detail="; ".join(told))
    return Finding(check="data", status="ok", detail=f"alike on every node: {numbered(len(videos), 'video')}")


def judge_arithmetic(reports: list[NodeReport], *, tolerance: float) -> Finding:
    """A training step on every node comes to what it comes to here."""
    odd = [
        f"{report.node}: off by {report.step_error:.1e}"
        for report in reports
        if not report.step_error <= tolerance
    ]
    if odd:
        return Finding(check="arithmetic", status="fail", detail="; ".join(odd))
    worst = max((report.step_error for report in reports), default=0.0)
    return Finding(
        check="arithmetic", status="ok", detail=f"a step in float64 agrees on every node to {worst:.1e}"
    )


def judge_collective(
    *, backend: str, workers: int, megabytes: int, seconds: float, links: Mapping[str, float]
) -> Finding:
    """All-reduce is fast enough, and no link is much slower than the others.

    Args:
        backend: `nccl` or `gloo`.
        workers: number of them.
        megabytes: size of the reduced tensor.
        seconds: median time of an all-reduce.
        links: `a -> b` -> GB a second.
    """
    rate = 2 * (workers - 1) / workers * megabytes / 1e3 / seconds
    who = f"{numbered(workers, 'worker')} over {backend}"
    text = f"{who}: {megabytes} MB all-reduced in {seconds * 1e3:.0f} ms, {rate:.2f} GB/s"
    status: Status = "ok"
    if rate < SLOW_GB_PER_SECOND[backend]:
        status, text = "warn", f"{text} (slow: below {SLOW_GB_PER_SECOND[backend]:g})"
    median = sorted(links.values())[len(links) // 2] if links else 0.0
    slow = [f"{link} {speed:.2f} GB/s" for link, speed in links.items() if speed < SLOW_LINK_SHARE * median]
    if slow:
        status, text = "warn", f"{text}; slow links: {', '.join(slow)}, median {median:.2f} GB/s"
    return Finding(check="collectives", status=status, detail=text)


def judge_workers(*, workers: int, framework: str, error: float, tolerance: float, odd: list[str]) -> Finding:
    """N workers train as one."""
    text = f"{framework} step of {numbered(workers, 'worker')} against one, in float64: off by {error:.1e}"
    if odd:
        return Finding(
            check="N workers = one", status="fail", detail=f"{text}; {', '.join(odd)} hold other gradients"
        )
    status: Status = "ok" if error <= tolerance else "fail"
    return Finding(check="N workers = one", status=status, detail=f"{text} (allowed: {tolerance:g})")
