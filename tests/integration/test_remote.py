"""A study sent to a job server: watched, left alone, watched again, and sent once more."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.study import Launched, command, environment, run_cli, study_values, write_spec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

START = "from ray.scripts.scripts import main; main()"


@pytest.fixture(scope="module")
def job_server():
    """URL of the job server of a Ray node; all of it on the loopback."""
    with tempfile.TemporaryDirectory(prefix="lstcl-jobs-", ignore_cleanup_errors=True) as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        arguments = ["start", "--head", "--block", "--port=0", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
        # The usual port of the agent may be another cluster's of this machine.
        arguments += ["--dashboard-agent-listen-port=0"]
        arguments += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
        variables = environment(
            RAY_TMPDIR=folder,
            RAY_AUTH_MODE="token",
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # jobs run the `python` of the node
            PYTHONPATH="",  # nothing but what was sent may be the package
        )
        head = subprocess.Popen(
            [sys.executable, "-c", START, *arguments, f"--temp-dir={folder}/ray"],
            env=variables,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for_port(port, head)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(head.pid, signal.SIGTERM)
            try:
                head.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(head.pid, signal.SIGKILL)


def wait_for_port(port: int, head: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert head.poll() is None, "the Ray head ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise AssertionError("the job server did not come up")


def test_watched_left_alone_watched_again_and_sent_once_more(job_server, study_videos, tmp_path):
    values = study_values(study_videos, tmp_path / "runs", pretrain=None, finetune__epochs=60)
    spec = write_spec(tmp_path / "tiny.yaml", values)
    sent = Launched("launch", spec, "--address", job_server, log=tmp_path / "log")
    try:
        sent.wait_for(lambda: "finetune" in sent.log.read_text())
        sent.signal(signal.SIGINT)
        assert sent.finish() == 130
    finally:
        sent.close()
    assert f"lstcl-platform logs tiny --address {job_server}" in sent.log.read_text()
    assert "Traceback" not in sent.log.read_text()

    again = run_cli("logs", "tiny", "--address", job_server)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "2 stages ran, 0 were done before, 0 failed." in again.stdout
    assert "default" in again.stdout, "the comparison"

    more = run_cli("launch", spec, "--address", job_server)
    assert more.returncode == 0, more.stderr[-3000:]
    assert "0 stages ran, 2 were done before, 0 failed." in more.stdout


def test_what_cannot_be_sent_is_refused_in_words(job_server, study_videos, tmp_path):
    values = study_values(study_videos, tmp_path / "runs", data__train="train")
    spec = write_spec(tmp_path / "tiny.yaml", values)
    relative = run_cli("launch", spec, "--address", job_server)
    assert relative.returncode == 2
    assert "data.train: train counts from a folder of this machine" in relative.stderr
    unknown = run_cli("logs", "nowhere", "--address", job_server)
    assert unknown.returncode == 2
    assert "knows no launch of nowhere" in unknown.stderr
    stranger = subprocess.run(
        command("logs", "tiny", "--address", job_server),
        env=environment(RAY_AUTH_TOKEN="0" * 64),
        capture_output=True,
        text=True,
        check=False,
    )
    assert stranger.returncode == 2
    assert "does not take this machine's token" in stranger.stderr
    for ended in (relative, unknown, stranger):
        assert "Traceback" not in ended.stderr
