"""Where the decode tasks of a stage run when there are several nodes."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.helpers.study import environment


@pytest.mark.cluster
def test_decoding_takes_spare_cores_or_the_decode_nodes_and_keeps_its_order():
    with tempfile.TemporaryDirectory(prefix="lstcl-two-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.helpers.two_nodes", folder],
            env=environment(RAY_TMPDIR=folder),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    without, apart = found["without"], found["with"]
    assert without["positions"] == apart["positions"] == list(range(64))
    assert without["decoded_on"] == ["other node", "other node"][: len(without["decoded_on"])]
    assert apart["decoded_on"] == ["decode node"]
    assert apart["trained_on"] == "other node"
    assert (without["decode_cpus"], apart["decode_cpus"]) == (1.0, 1.0)
