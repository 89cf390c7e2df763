"""Serves the status over HTTP, and decides who may read what.

- Without a token, the configuration allows only a loopback address, and every process of the machine may read
  everything. The Host header must be a loopback name or address, so that a web page whose host name points at 127.0.0.1
  cannot read the status (DNS rebinding).
- With a token, requests for data need the header `Authorization: Bearer TOKEN`. Only / (the page without data) and
  /healthz need no token. The page asks for the token and sends it in this header, so that no URL contains it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from importlib.resources import files
from math import isfinite
from typing import TYPE_CHECKING, Any

import structlog

from agent.aggregation import DECIMALS
from agent.config import token_mistake
from agent.runtime import Clock, printable
from agent.security import Secret, SecretFile, is_loopback
from agent.status.history import SAMPLE_S, History
from agent.status.http_server import HttpRequest, HttpResponse, HttpServer
from agent.status.metrics import CONTENT_TYPE, exposition
from agent.status.model import Snapshot

if TYPE_CHECKING:
    from agent.config import StatusConfig

log = structlog.get_logger(__name__)

RETRY_S = 30.0
"""Seconds before the listener tries its address again."""
_FRESH_S = 0.5
"""A snapshot that is younger than this many seconds is used again."""
# The part of a host name between two dots (RFC 1123).
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The Host header: a name, an IPv4 address, or an IPv6 address in brackets, with or without a port (RFC 9110, 7.2).
_HOST = re.compile(rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)|\[(?P<v6>[0-9a-f]*:[0-9a-f:.]+)\])(?::[0-9]{{0,5}})?")


class StatusListener:
    """Serves the page, `/healthz`, `/readyz`, metrics, snapshots and the history."""

    def __init__(
        self,
        config: StatusConfig,
        take: Callable[[], Awaitable[Snapshot]],
        clock: Clock,
        stuck: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`take` returns a snapshot. `stuck` returns the names of the tasks that are past their deadline."""
        self._config = config
        self._take = take
        self._stuck = stuck
        self._clock = clock
        self._file = (
            SecretFile(config.token_file, "status_token_rotated", token_mistake)
            if config.token_file is not None
            else None
        )
        self._page, self._policy = page()
        self._lock = asyncio.Lock()
        self.history = History(clock.monotonic())
        self._last: tuple[float, Snapshot] | None = None
        self.port: int | None = None
        """The port of the listener; None while it does not listen."""

    async def run(self) -> None:
        """Listen. Then add a sample to the history every minute, until cancelled.

        If the address is not available, try again every `RETRY_S` seconds. Until then, the history gets no samples.
        """
        server = HttpServer(self.answer)
        try:
            await self._bind(server)
            while True:
                await self._sample()
                await self._clock.sleep(SAMPLE_S)
        finally:
            self.port = None
            await server.stop()

    async def _sample(self) -> None:
        try:
            self.history.add(self._clock.monotonic(), await self._snapshot())
        except Exception:  # a bug in the status must not end the daemon
            log.exception("status_not_sampled")

    async def _bind(self, server: HttpServer) -> None:
        said = False
        while self.port is None:
            try:
                self.port = await server.start(self._config.host, self._config.port)
            except OSError as error:
                if not said:
                    said = True
                    log.warning("status_not_listening", listen=self._config.listen, reason=error.strerror or str(error))
                await self._clock.sleep(RETRY_S)
        log.info("status_listening", host=self._config.host, port=self.port)
        if not self._config.loopback:
            log.warning(
                "status_exposed",
                listen=self._config.listen,
                remedy="the token crosses the network in the clear: use a proxy with TLS, or listen on 127.0.0.1",
            )

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one GET or HEAD."""
        if not self._has_loopback_host(request):
            return _text(HTTPStatus.MISDIRECTED_REQUEST, "the host must be a loopback name or address (localhost)")
        if request.path == "/":
            headers = {"Content-Security-Policy": self._policy}
            return HttpResponse(body=self._page, content_type="text/html; charset=utf-8", headers=headers)
        if request.path == "/healthz":
            return self._health()
        if request.path not in ("/readyz", "/metrics", "/status.json", "/history.json"):
            return _text(HTTPStatus.NOT_FOUND, "there are /, /healthz, /readyz, /metrics, /status.json, /history.json")
        if not self._is_authorized(request):
            headers = {"WWW-Authenticate": 'Bearer realm="telemetry-agent"'}
            return HttpResponse(HTTPStatus.UNAUTHORIZED, b"status.token is needed as a bearer token\n", headers=headers)
        if request.path == "/history.json":
            return _json(self.history.shown(self._clock.monotonic(), self._clock.time()))
        return self._content(request.path, await self._snapshot())

    def _health(self) -> HttpResponse:
        """Say whether a task is stuck. The answer does not name the task, because /healthz needs no token."""
        if stuck := self._stuck():
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"number of stuck tasks: {len(stuck)}; the log names them")
        return _text(HTTPStatus.OK, "ok")

    @staticmethod
    def _content(path: str, snapshot: Snapshot) -> HttpResponse:
        if path == "/readyz":
            return (
                _text(HTTPStatus.OK, f"ok; {snapshot.not_on_disk}" if snapshot.not_on_disk else "ok")
                if snapshot.reason is None
                else _text(
                    HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(filter(None, (snapshot.reason, snapshot.not_on_disk)))
                )
            )
        if path == "/metrics":
            return HttpResponse(body=exposition(snapshot), content_type=CONTENT_TYPE)
        return _json(asdict(snapshot))

    async def _snapshot(self) -> Snapshot:
        """Return the present state, or a snapshot that is younger than `_FRESH_S`."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._last is None or now - self._last[0] >= _FRESH_S:
                self._last = now, await self._take()
            return self._last[1]

    @property
    def _token(self) -> Secret | None:
        return self._config.token if self._file is None else self._file.value()

    def _has_loopback_host(self, request: HttpRequest) -> bool:
        return self._config.guarded or is_loopback_name(request.headers.get("host", ""))

    def _is_authorized(self, request: HttpRequest) -> bool:
        if not self._config.guarded:
            return True
        token = self._token
        if token is None or not token.get_secret_value():
            return False
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {token.get_secret_value()}".encode())


def is_loopback_name(host: str) -> bool:
    """Whether a Host header is a loopback name or address."""
    found = _HOST.fullmatch(host.lower())
    return found is not None and is_loopback(found["name"] or found["v6"])


def page() -> tuple[bytes, str]:
    """Return the page with its style and script, and a content security policy that allows no other style or script.

    The policy also allows requests to this listener, and images in `data:` URLs.
    """
    html = _part("page.html")
    html = html.replace(b"/* page.css */\n", _part("page.css"))
    html = html.replace(b"/* page_charts.js, page.js */\n", _part("page_charts.js") + _part("page.js"))
    script, style = (
        " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(block).digest()).decode()}'"
            for block in re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), html, re.DOTALL)
        )
        for tag in (b"script", b"style")
    )
    return html, (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _part(name: str) -> bytes:
    return files("agent.status").joinpath(name).read_bytes()


def _plain(value: Any) -> Any:
    """Return `value` for JSON: numbers are rounded as in the payload, or None if not finite; texts are printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float):
        return round(value, DECIMALS) if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _json(value: Any) -> HttpResponse:
    body = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return HttpResponse(body=body.encode(), content_type="application/json")


def _text(status: HTTPStatus, text: str) -> HttpResponse:
    return HttpResponse(status, f"{printable(text)}\n".encode())
