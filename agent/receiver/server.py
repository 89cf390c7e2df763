"""The reference endpoint over HTTP(S): what an integrator's server has to do, in the smallest form that is right.

`Validator` judges, `serve` puts it behind a real server. For how to write one's own see docs/writing-an-endpoint.md.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agent import __version__
from agent.receiver.validator import MAX_BODY, Validator, Verdict

__all__ = ["MAX_BODY", "Validator", "Verdict", "serve", "serving"]

Report = Callable[[Verdict, Mapping[str, str]], None]
"""Called for each POST with its verdict and its headers (by lower-case name), one at a time."""

# A sender keeps its connection alive between two pushes; half a request for a minute is an attack or a dead link.
_IDLE_S = 600.0
_REQUEST_S = 60.0


@contextlib.contextmanager
def serving(
    desk: Validator, host: str, port: int, report: Report, tls: ssl.SSLContext | None = None
) -> Iterator[ThreadingHTTPServer]:
    """A server that runs in a thread of its own until the block ends."""
    server = serve(desk, host, port, report, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def serve(
    desk: Validator, host: str, port: int, report: Report, tls: ssl.SSLContext | None = None
) -> ThreadingHTTPServer:
    """A bound server; run its `serve_forever` in a thread."""
    return _Server((host, port), desk, report, tls)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], desk: Validator, report: Report, tls: ssl.SSLContext | None) -> None:
        super().__init__(address, _Handler)
        self._desk = desk
        self._report = report
        self._lock = threading.Lock()
        self.tls = tls

    def judge(self, headers: Mapping[str, str], body: bytes) -> Verdict:
        with self._lock:
            verdict = self._desk.judge(headers, body)
            self._report(verdict, headers)
        return verdict

    def refuse(self, verdict: Verdict, headers: Mapping[str, str]) -> None:
        """Count and report what was not even read."""
        with self._lock:
            self._desk.counts["refused"] += 1
            self._report(verdict, headers)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # connections break; that is the sender's to notice
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"telemetry-agent/{__version__}"
    sys_version = ""
    timeout = _IDLE_S
    server: _Server

    def setup(self) -> None:
        # Here and not around the listening socket: a slow handshake holds up nobody else.
        if self.server.tls is not None:
            self.request.settimeout(_REQUEST_S)
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        if self.server.tls is not None:
            self.request.close()  # the server knows only the socket below it

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if (refused := _unreadable(headers)) is not None:
            self.close_connection = True
            self.server.refuse(refused, headers)
            self._answer(refused)
            return
        self.connection.settimeout(_REQUEST_S)
        length = int(headers["content-length"])
        body = self.rfile.read(length)
        self.connection.settimeout(_IDLE_S)
        if len(body) == length:  # else the sender went away in the middle, and will come again
            self._answer(self.server.judge(headers, body))

    def do_GET(self) -> None:
        """Somebody looks with a browser."""
        self._answer(Verdict(405, ("POST telemetry here",)))

    def _answer(self, verdict: Verdict) -> None:
        fine = {"status": "duplicate" if verdict.duplicate else "ok"}
        reply = json.dumps({"problems": verdict.problems} if verdict.problems else fine).encode()
        self.send_response(verdict.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        if verdict.status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if verdict.status == 405:
            self.send_header("Allow", "POST")
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """`report` says what there is to say."""


def _unreadable(headers: Mapping[str, str]) -> Verdict | None:
    """The verdict on a body that is not worth reading."""
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        return Verdict(411, ("Content-Length is missing",))
    if int(length) > MAX_BODY:
        return Verdict(413, (f"{length} bytes are more than {MAX_BODY}",))
    return None
