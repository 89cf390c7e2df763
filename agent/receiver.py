"""The reference endpoint: what an integrator's server has to do, in the smallest form that is right.

`Desk` judges one POST at a time: token, site binding, duplicates by id, JSON, schema, order. It knows no sockets;
`serve` puts it behind a real HTTP server.
"""

from __future__ import annotations

import gzip
import hmac
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY = 1 << 20
_REMEMBERED_IDS = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one POST: the status it is answered with, and what is to be said about it."""

    status: int
    problems: tuple[str, ...] = ()
    message: dict[str, Any] | None = None
    duplicate: bool = False
    late: bool = False
    """Older than a message already received: the backlog after an outage."""


@dataclass(slots=True)
class Desk:
    """Judges messages. `token` belongs to one site: a message of another site is refused."""

    token: str
    site: str | None = None
    counts: dict[str, int] = field(default_factory=lambda: {"accepted": 0, "duplicate": 0, "refused": 0, "late": 0})
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _newest: dict[str, int] = field(default_factory=dict)

    def judge(self, headers: Mapping[str, str], body: bytes) -> Verdict:
        """The verdict on one POST; `headers` by lower-case name."""
        verdict = self._judge(headers, body)
        if verdict.status >= 300:
            self.counts["refused"] += 1
        elif verdict.duplicate:
            self.counts["duplicate"] += 1
        else:
            self.counts["accepted"] += 1
            self.counts["late"] += verdict.late
        return verdict

    def _judge(self, headers: Mapping[str, str], body: bytes) -> Verdict:
        if not hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {self.token}".encode()):
            return Verdict(401, ("wrong or missing bearer token",))
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return Verdict(415, (f"Content-Type is {headers.get('content-type')!r}, not application/json",))
        identity = headers.get("webhook-id", "")
        if not identity or headers.get("idempotency-key") != f'"{identity}"':
            return Verdict(400, ("Idempotency-Key and webhook-id must carry the same id",))
        try:
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            message = json.loads(body)
        except (OSError, EOFError, ValueError) as error:
            return Verdict(400, (f"not JSON: {error}",))
        if problems := self._problems(message):
            return Verdict(422, tuple(problems), message if isinstance(message, dict) else None)
        if identity in self._seen:
            return Verdict(200, message=message, duplicate=True)
        self._seen[identity] = None
        if len(self._seen) > _REMEMBERED_IDS:
            self._seen.popitem(last=False)
        stream = str(message.get("nodeId", "nodes" if "nodes" in message else ""))
        time = int(message["time"])
        late = time < self._newest.get(stream, time)
        self._newest[stream] = max(time, self._newest.get(stream, time))
        return Verdict(200, message=message, late=late)

    def _problems(self, message: Any) -> list[str]:
        from agent.schema import problems

        found = problems(message)
        if not found and self.site is not None and message["siteNodeId"] != self.site:
            found = [f"siteNodeId is {message['siteNodeId']!r}, but the token is bound to {self.site!r}"]
        return found


def serve(
    desk: Desk, host: str, port: int, report: Callable[[Verdict, Mapping[str, str]], None]
) -> ThreadingHTTPServer:
    """A bound server; run its `serve_forever` in a thread. `report` is called for each POST, one at a time."""
    from threading import Lock

    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 600

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0") or 0)
            if length > MAX_BODY:
                self.close_connection = True
                self._answer(Verdict(413, (f"{length} bytes are more than {MAX_BODY}",)))
                return
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                verdict = desk.judge(headers, body)
                report(verdict, headers)
            self._answer(verdict)

        def _answer(self, verdict: Verdict) -> None:
            reply = json.dumps({"problems": verdict.problems} if verdict.problems else {"status": "ok"}).encode()
            self.send_response(verdict.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """`report` says what there is to say."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    return Server((host, port), Handler)
