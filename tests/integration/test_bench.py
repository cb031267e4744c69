"""`bench ingest` as a user types it, on the shared cluster."""

import json
import re

import pytest

from tests.helpers.study import run_cli, study_values, write_spec

pytestmark = pytest.mark.cluster


@pytest.fixture
def spec(tmp_path, study_videos):
    return write_spec(tmp_path / "tiny.yaml", study_values(study_videos, tmp_path / "runs"))


def test_rates_are_measured_also_past_the_end_of_a_short_study(spec, ray_address):
    done = run_cli("bench", "ingest", spec, "--seconds", "1.5", "--address", ray_address, "--format", "json")
    assert done.returncode == 0, done.stderr[-3000:]
    rates = json.loads(done.stdout)
    assert (rates["stage"], rates["workers"], rates["decode_cpus"]) == ("pretrain", 1, 1.0)
    assert rates["stream_samples"] > 24  # the study takes 6 steps of 4
    assert rates["alone_samples"] > 24
    assert rates["stream_per_cpu"] == pytest.approx(rates["stream"] / rates["decode_cpus"])
    assert rates["alone_cpu"] > 0.8 * rates["alone"]
    assert rates["first_batch_seconds"] > 0
    pixels = 2 * 4 * 32 * 32 * 3
    assert pixels < rates["sample_bytes"] < pixels + 200
    assert 0 < rates["added_cpu_ms"] < 1000
    assert not (spec.parent / "runs" / "mlflow.db").exists()


def test_the_table_counts_the_videos_of_an_evaluation_without_padding(spec, ray_address):
    done = run_cli("bench", "ingest", spec, "--stage", "evaluate", "--seconds", "1", "--address", ray_address)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Ingest of evaluate, tiny/" in done.stdout
    assert re.search(r"decode alone, one thread, wall time.* 4 │", done.stdout)
    # One batch holds all four videos, so there is no rate after the first.
    assert re.search(r"through Ray Data \(CPUs for decoding: 1, workers: 1\) │ +- │ +- │ +0 │", done.stdout)
