"""The reference endpoint over HTTP(S): the smallest correct server for an integrator.

docs/writing-an-endpoint.md shows how to write an endpoint.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any

from agent import __version__
from agent.receiver.connections import MAX_CONNECTIONS, Connections
from agent.receiver.validator import MAX_BODY, Validator, Verdict
from agent.runtime import printable

__all__ = ["MAX_BODY", "MAX_CONNECTIONS", "Validator", "Verdict", "serve", "serving"]

Report = Callable[[Verdict, Mapping[str, str]], None]
"""Called for each verdict on a POST, with the verdict and the headers of the POST (lower-case names). The calls do not
overlap."""

_MAX_HEAD = 16 * 1024
"""Maximum bytes of the request line and the headers together."""
_LENGTH = re.compile("[0-9]{1,9}")
# Maximum seconds for which a sender may keep its connection open before its first request or between two requests.
_IDLE_S = 600.0
# Maximum seconds of a TLS handshake, and of a request with its answer. One that takes longer is an attack or a broken
# connection, even if bytes still arrive.
_REQUEST_S = 60.0
# Maximum seconds for which the rest of the body is read and ignored after a refusal. If the server closed the
# connection at once, TCP would reset it, and the sender might not see the answer.
_LINGER_S = 2.0


@contextlib.contextmanager
def serving(
    validator: Validator, host: str, port: int, report: Report, tls: ssl.SSLContext | None = None
) -> Iterator[ThreadingHTTPServer]:
    """Run a server in a separate thread until the block ends."""
    server = serve(validator, host, port, report, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def serve(
    validator: Validator, host: str, port: int, report: Report, tls: ssl.SSLContext | None = None
) -> ThreadingHTTPServer:
    """Return a server that listens. The caller runs its `serve_forever` in a thread. Raises OSError."""
    return _Server((host, port), validator, report, tls)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], validator: Validator, report: Report, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(address, _Handler)
        self._validator = validator
        self._report = report
        self._lock = threading.Lock()
        self.connections = Connections(MAX_CONNECTIONS)
        self.tls = tls

    def judge(self, headers: Mapping[str, str], body: bytes) -> Verdict:
        with self._lock:
            verdict = self._validator.judge(headers, body)
            self._report(verdict, headers)
        return verdict

    def refusal(self, message: Message) -> Verdict | None:
        """Return the verdict on a request that is refused before its body is read, or None.

        A refusal is counted and reported.
        """
        headers = by_lower_name(message)
        refused = _unreadable(message) or self._validator.authorize(headers)
        if refused is not None:
            with self._lock:
                self._validator.counts["refused"] += 1
                self._report(refused, headers)
        return refused

    def service_actions(self) -> None:
        self.connections.close_overdue()

    def shutdown_request(self, request: Any) -> None:
        self.connections.forget(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # a broken connection is not an error of the server
            super().handle_error(request, client_address)


class _Head:
    """Reads the lines of a head, and then the body. Raises HTTPException if a head is larger than `_MAX_HEAD`."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._left = _MAX_HEAD

    def await_request(self) -> bool:
        """Wait for the first byte of the next request. Return False if the sender closed the connection."""
        self._left = _MAX_HEAD
        return bool(self._file.peek(1))  # type: ignore[attr-defined]  # a BufferedReader

    def readline(self, limit: int = -1) -> bytes:
        if self._left <= 0:
            raise HTTPException(f"the head is larger than {_MAX_HEAD} bytes")
        line = self._file.readline(self._left if limit < 0 else min(limit, self._left))
        self._left -= len(line)
        return line

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def close(self) -> None:
        self._file.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"telemetry-agent/{__version__}"
    sys_version = ""
    server: _Server

    def setup(self) -> None:
        connections = self.server.connections
        connections.opened(self.request, _REQUEST_S)
        # TLS starts in the thread of the connection, so that a slow handshake delays no other connection.
        if self.server.tls is not None:
            tcp_socket = self.request
            self.request = self.server.tls.wrap_socket(tcp_socket, server_side=True, do_handshake_on_connect=False)
            try:
                connections.continue_on(tcp_socket, self.request, _REQUEST_S)
                self.request.do_handshake()
            except OSError:
                self.server.shutdown_request(self.request)  # the base class closes only the TCP socket
                raise
        super().setup()
        self.rfile: Any = _Head(self.rfile)

    def finish(self) -> None:
        super().finish()
        if self.server.tls is not None:
            self.server.shutdown_request(self.request)

    def handle_one_request(self) -> None:
        self.server.connections.extend(self.request, _IDLE_S)
        self.close_connection = True
        if self.rfile.await_request():
            self.server.connections.extend(self.request, _REQUEST_S)
            super().handle_one_request()

    def handle_expect_100(self) -> bool:
        """Check the head before the sender sends the body. Return False if the request is refused."""
        return self._may_read_body() and super().handle_expect_100()

    def do_POST(self) -> None:
        if not self._may_read_body():
            return
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) == length:  # otherwise the connection broke, and the sender tries again
            self._answer(self.server.judge(by_lower_name(self.headers), body))

    def do_GET(self) -> None:
        """Answer 405, for a person who opens the URL in a browser."""
        self.close_connection = True  # the request may have a body
        self._answer(Verdict(405, ("POST telemetry here",)))

    def _may_read_body(self) -> bool:
        """Check the token and the length of a POST. If the POST is refused, send the refusal and return False."""
        if self.command != "POST":
            return True
        refused = self.server.refusal(self.headers)
        if refused is None:
            return True
        self.close_connection = True
        self._answer(refused)
        self._discard_body()
        return False

    def _discard_body(self) -> None:
        """Close the sending side. Then read and ignore the rest of the body, for at most `_LINGER_S`."""
        self.server.connections.extend(self.request, _LINGER_S)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.request, socket.SHUT_WR)
            while self.request.recv(_MAX_HEAD):
                pass

    def _answer(self, verdict: Verdict) -> None:
        fine = {"status": "duplicate" if verdict.duplicate else "ok"}
        reply = json.dumps({"problems": verdict.problems} if verdict.problems else fine).encode()
        self.send_response(verdict.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        if self.close_connection:
            self.send_header("Connection", "close")
        if verdict.status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if verdict.status == 405:
            self.send_header("Allow", "POST")
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing, because the `Report` callback gets the verdicts."""


def by_lower_name(message: Message) -> dict[str, str]:
    """Return the headers by lower-case name. If a name occurs several times, the last value is used."""
    return {name.lower(): value for name, value in message.items()}


def _unreadable(headers: Message) -> Verdict | None:
    """Return the verdict on a request whose body cannot be read, because of its Content-Length or Transfer-Encoding."""
    lengths = headers.get_all("content-length", [])
    if len(set(lengths)) > 1:
        return Verdict(400, ("the request has two different Content-Length headers",))
    length = lengths[0] if lengths else ""
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        return Verdict(411, ("the request must have a Content-Length in decimal digits, and no Transfer-Encoding",))
    if not _LENGTH.fullmatch(length.lstrip("0") or "0") or int(length) > MAX_BODY:
        return Verdict(413, (f"the body must have at most {MAX_BODY} bytes (found {printable(length)})",))
    return None
