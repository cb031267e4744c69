"""`doctor` as a user types it, on the shared cluster."""

import json

import pytest

from tests.helpers.study import run_cli, study_values, write_spec

pytestmark = pytest.mark.cluster

CHECKS = [
    "tracking",
    "nodes",
    "versions",
    "clocks",
    "storage",
    "data",
    "arithmetic",
    "resources",
    "collectives",
    "N workers = one",
]


def test_a_cluster_that_is_fit_and_data_that_is_not(tmp_path, study_videos, ray_address):
    storage = tmp_path / "runs"
    framework = {"kind": "byol"}
    spec = write_spec(
        tmp_path / "tiny.yaml", study_values(study_videos, storage, pretrain__framework=framework)
    )
    done = run_cli("doctor", spec, "--address", ray_address, "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert list(found) == CHECKS
    assert {finding["status"] for finding in found.values()} <= {"ok", "warn"}
    assert "12 videos" in found["data"]["detail"] or "8 videos" in found["data"]["detail"]
    assert "2 workers over gloo: 64 MB all-reduced" in found["collectives"]["detail"]
    assert found["N workers = one"]["detail"].startswith("byol step of 2 workers against one")
    assert not list(storage.iterdir()), "nothing is left behind"

    missing = ("--set", f"data.val={tmp_path / 'elsewhere'}", "--set", "resources.workers=400")
    done = run_cli("doctor", spec, "--address", ray_address, *missing)
    assert done.returncode == 2, "400 workers do not divide the batch: the spec itself is wrong"
    done = run_cli("doctor", spec, "--address", ray_address, *missing[:2])
    assert done.returncode == 1, done.stderr[-3000:]
    assert "elsewhere: no such file or folder" in done.stdout
    assert "N workers = one" in done.stdout
