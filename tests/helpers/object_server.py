"""An object store on loopback that throttles when told to, and can go away and come back."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.serving import make_server

BUCKET = "study"


class ObjectServer:
    """A server in front of what `answer` does; it keeps its port while it is away.

    Attributes:
        throttle: this many of the next requests are answered with `refusal`.
        refusal: status line, content type and body.
        requests: (method, path, Range header) of every request so far.
        sent: bytes of objects sent so far.
        hold: while it is cleared, requests wait.
    """

    refusal = ("503 Slow Down", "text/plain", b"")

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._lock = threading.Lock()
        self.throttle = 0
        self.throttled = 0
        self.requests: list[tuple[str, str, str]] = []
        self.sent = 0
        self.hold = threading.Event()
        self.hold.set()
        self.port = 0
        self.come_back()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def go_away(self) -> None:
        """Stop listening; what is stored stays."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def stop(self) -> None:
        """End what runs."""
        if self._server.socket.fileno() >= 0:
            self.go_away()

    def come_back(self) -> None:
        """Listen, on the same port as before; nothing happens while it listens."""
        if self.port and self._server.socket.fileno() >= 0:
            return
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The store itself, as a WSGI application."""
        raise NotImplementedError

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.hold.wait()
        with self._lock:
            self.requests.append(
                (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", ""))
            )
            refused = self.throttle > 0
            self.throttle -= refused
            self.throttled += refused
        if refused:
            status, kind, refusal = self.refusal
            body_of(environ)
            start_response(status, [("Content-Type", kind)])
            return [refusal]
        body = b"".join(self.answer(environ, start_response))
        if environ["REQUEST_METHOD"] == "GET":
            self.sent += len(body)
        return [body]


def body_of(environ: dict[str, Any]) -> bytes:
    """The body of a request, sent in chunks or not."""
    chunked = environ.get("wsgi.input_terminated")
    length = -1 if chunked else int(environ.get("CONTENT_LENGTH") or 0)
    return bytes(environ["wsgi.input"].read(length))
