import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lstcl_platform.orchestration import cluster as cluster_module  # noqa: F401  (sets Ray's environment)
from tests.helpers.study import make_study_videos


@pytest.fixture(scope="session")
def ray_address():
    """Address of one Ray node shared by all cluster tests, ended with the test session."""
    with tempfile.TemporaryDirectory(prefix="lstcl-test-") as folder:
        start = "from ray.scripts.scripts import main; main()"
        head = ["start", "--head", "--block", "--port=0", "--num-cpus=2", "--include-dashboard=false"]
        environment = os.environ | {
            "RAY_TMPDIR": folder,
            "RAY_num_workers_soft_limit": "8",
            "RAY_worker_maximum_startup_concurrency": "8",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", start, *head, f"--temp-dir={folder}/ray"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield _address(Path(folder) / "ray" / "ray_current_cluster", process)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _address(pointer: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert process.poll() is None, "the Ray head ended"
        if pointer.exists() and pointer.read_text().strip():
            return pointer.read_text().strip()
        time.sleep(0.1)
    raise AssertionError("the Ray head did not come up")


@pytest.fixture(scope="session")
def study_videos(tmp_path_factory):
    return make_study_videos(tmp_path_factory.mktemp("videos"))
