"""What the doctor says of what it saw: figures, thresholds, and who is the odd one out."""

import pytest

from lstcl_platform.orchestration import findings
from lstcl_platform.orchestration.findings import LAUNCHER, NodeReport, odd_ones_out

VERSIONS = {
    "python": "3.11.7",
    "torch": "2.7",
    "ray": "2.51",
    "lstcl_platform": "0.1",
    "our code": "abc",
    "av": "14",
}


def test_the_odd_one_out_is_the_minority_and_of_two_the_second():
    assert odd_ones_out({"a": 1, "b": 2, "c": 1}) == (1, {"b": 2})
    assert odd_ones_out({"a": 2, "b": 1, "c": 1}) == (1, {"a": 2})
    assert odd_ones_out({"a": 1, "b": 2}) == (1, {"b": 2})
    assert odd_ones_out({"a": 1}) == (1, {})


def versions_of(**changes):
    return {LAUNCHER: VERSIONS, "n1": VERSIONS, "n2": VERSIONS | changes}


def test_versions():
    assert findings.judge_versions(versions_of()).status == "ok"
    found = findings.judge_versions(versions_of(torch="2.6"))
    assert (found.status, found.detail) == ("fail", "torch: n2 has 2.6; the others 2.7")
    found = findings.judge_versions(versions_of(av="13"))
    assert (found.status, found.detail) == ("warn", "av: n2 has 13; the others 14")
    found = findings.judge_versions(versions_of(av="13", **{"our code": "xyz"}))
    assert found.status == "fail"
    assert "our code: n2 has xyz" in found.detail
    lacking = {LAUNCHER: VERSIONS, "n1": {k: v for k, v in VERSIONS.items() if k != "av"}}
    assert findings.judge_versions(lacking).detail == "av: n1 has missing; the others 14"


@pytest.mark.parametrize(
    ("offset", "error", "status", "text"),
    [
        (0.02, 0.01, "ok", "within 20 ms"),
        (-0.9, 0.0, "ok", "within 900 ms"),
        (1.5, 0.6, "ok", "within 1500 ms"),
        (1.5, 0.1, "warn", "n1 is 1.5 s ahead"),
        (-100.0, 0.1, "fail", "n1 is 100.0 s behind"),
    ],
)
def test_clocks(offset, error, status, text):
    reports = [NodeReport(node="n0"), NodeReport(node="n1", clock_offset=offset, clock_error=error)]
    found = findings.judge_clocks(reports)
    assert (found.status, found.detail) == (status, text)


def test_storage_and_nodes():
    good, bad = (
        NodeReport(node="n0", storage_seconds=0.5),
        NodeReport(node="n1", storage_error="cannot write"),
    )
    found = findings.judge_storage([good, bad], location="/runs")
    assert (found.status, found.detail) == ("fail", "/runs: n1: cannot write")
    found = findings.judge_storage([good, NodeReport(node="n2", storage_seconds=0.1)], location="/runs")
    assert found.status == "ok"
    assert "slowest n0 (500 ms)" in found.detail
    assert findings.judge_nodes([good]).detail == "1: n0"
    assert findings.judge_nodes([good, NodeReport(node="n3", error="dead")]).detail == "n3: dead"


def test_data():
    one, other = {"a.mp4": "d1", "b.mp4": "d2"}, {"a.mp4": "d1", "b.mp4": "d3"}
    assert findings.judge_data({LAUNCHER: one, "n1": one}).status == "ok"
    found = findings.judge_data({LAUNCHER: one, "n1": one, "n2": other})
    assert (found.status, found.detail) == ("fail", "b.mp4 decodes to other pictures on n2")
    found = findings.judge_data({LAUNCHER: one, "n1": one | {"a.mp4": "error: no such file"}, "n2": {}})
    assert found.detail.startswith("a.mp4 on n1, n2: no such file; b.mp4 on n2: not read")


def test_arithmetic_and_workers():
    reports = [NodeReport(node="n0", step_error=1e-12), NodeReport(node="n1", step_error=float("nan"))]
    assert findings.judge_arithmetic(reports[:1], tolerance=1e-9).status == "ok"
    found = findings.judge_arithmetic(reports, tolerance=1e-9)
    assert (found.status, found.detail) == ("fail", "n1: off by nan")
    figures = {"workers": 3, "framework": "byol", "tolerance": 1e-9}
    assert findings.judge_workers(error=1e-13, odd=[], **figures).status == "ok"
    assert findings.judge_workers(error=1e-5, odd=[], **figures).status == "fail"
    assert findings.judge_workers(error=float("nan"), odd=[], **figures).status == "fail"
    assert "rank 2 on n2 hold" in findings.judge_workers(error=1e-13, odd=["rank 2 on n2"], **figures).detail


def test_collectives():
    job = {"backend": "gloo", "workers": 3, "megabytes": 60}
    links = {"a -> b": 1.0, "b -> c": 1.2, "c -> a": 1.1}
    found = findings.judge_collective(seconds=0.1, links=links, **job)
    assert found.status == "ok"
    assert "0.80 GB/s" in found.detail
    assert findings.judge_collective(seconds=10, links=links, **job).status == "warn"
    found = findings.judge_collective(seconds=0.1, links=links | {"b -> c": 0.2}, **job)
    assert found.status == "warn"
    assert found.detail.endswith("slow links: b -> c 0.20 GB/s, median 1.00 GB/s")
