"""What a launch on a cluster of its own opens to others: nothing."""

import ipaddress
import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.helpers.study import Launched, checkpoints, study_values, write_spec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


class Witness:
    """Sees which sockets of a launch and its cluster wait for connections, and whether Ray asks for a token."""

    def __init__(self, launched: Launched) -> None:
        self._launch = launched.process.pid
        self.listening: set[tuple[str, str]] = set()
        self.auth_modes: set[str | None] = set()

    def look(self) -> None:
        """The cluster's processes are known by the temp folder that they were all given."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                ours = f"lstcl-ray-{self._launch}" in environment.get("RAY_TMPDIR", "")
                if ours:
                    self.auth_modes.add(environment.get("RAY_AUTH_MODE"))
                if ours or process.pid == self._launch:
                    for connection in process.net_connections(kind="inet"):
                        if connection.status == psutil.CONN_LISTEN:
                            self.listening.add((process.name(), connection.laddr.ip))


def test_nothing_listens_beyond_the_loopback_and_a_token_is_asked(study_videos, tmp_path):
    values = study_values(
        study_videos,
        tmp_path / "runs",
        pretrain__epochs=400,
        resources__workers=2,
        resources__max_failures=0,
    )
    spec = write_spec(tmp_path / "tiny.yaml", values)
    launched = Launched("launch", spec, log=tmp_path / "log")
    witness = Witness(launched)

    def training() -> bool:
        witness.look()
        return bool(checkpoints(tmp_path / "runs"))

    try:
        launched.wait_for(training, poll=0.5)
        witness.look()
        launched.signal(signal.SIGTERM)
        assert launched.finish() == 130
    finally:
        launched.close()
    assert len(witness.listening) >= 4, "the head, the node and the workers are to be heard of"
    assert not {place for place in witness.listening if not is_loopback(place[1])}
    assert witness.auth_modes == {"token"}
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    assert not stat.S_IMODE(token.stat().st_mode) & 0o077, "others may read the token"
