"""Where the decode tasks of a stage run when there are several nodes, and in which order their chunks arrive."""

import json
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.helpers.study import environment

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(900)]


def test_decoding_takes_spare_cores_or_the_decode_nodes_and_keeps_its_order():
    with tempfile.TemporaryDirectory(prefix="lstcl-two-", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.helpers.two_nodes", folder],
            env=environment(RAY_TMPDIR=folder, RAY_AUTH_TOKEN=secrets.token_hex(32)),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    without, apart = found["without"], found["with"]
    assert without["decoded_on"] == ["plain", "plain"], "the spare cores of both nodes"
    assert without["trained_on"] == "plain"
    assert apart["decoded_on"] == ["data"], "the decode node, and nothing else"
    assert apart["trained_on"] == "plain"
    for stream in (without, apart):
        assert stream["decode_cpus"] == 2
        assert stream["positions"] == list(range(64))
