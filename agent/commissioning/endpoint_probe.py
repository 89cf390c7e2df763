"""Connects to an endpoint for `check --online` like a push, with proxy and TLS handshake, but sends no message."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from agent.config import PushConfig
from agent.delivery import LocalError, in_words, tls_context
from agent.security import Secrets
from drivers.protocol import host_and_port
from drivers.tls import client_context

_SOON_DAYS = 14
"""A certificate that expires in fewer days than this gets a warning."""
_HANDSHAKE_S = 2.0
"""The time-out of `_speaks_tls`."""
_RTT_AT = 68
"""Offset in bytes of the round trip in the structure tcp_info of Linux. The round trip has 32 bits, in microseconds."""
_MOST_PROXY_BYTES = 8192
"""The status line is expected within this many bytes at the beginning of the proxy's answer."""
_CREDENTIALS_HINT = '; set push.proxy_url = "http://USER:PASSWORD@HOST:PORT"'


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a connection attempt."""

    ok: bool
    words: str
    """How the endpoint was reached, or why not."""
    latency_s: float | None = None
    """Seconds until the connection was ready, with proxy and TLS handshake; None if `ok` is false."""
    warning: str = ""
    round_trip_s: float | None = None
    """Seconds of one round trip on the network to the endpoint; None if `ok` is false. With an http URL and a proxy,
    this is the round trip to the proxy."""


class _ProxyError(Exception):
    """The proxy refuses the connection, or its answer is not HTTP."""


async def probe(config: PushConfig, now: float) -> ProbeResult:
    """Connect to the URL of the endpoint. `now`, in Unix seconds, is compared with the dates of certificates."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(config.connect_timeout_s), _connected(config) as (writer, via, handshake_s):
            took_s = loop.time() - started
            round_trip_s = _round_trip_s(writer) if handshake_s is None else handshake_s
            tls = writer.get_extra_info("ssl_object")
            certificate = writer.get_extra_info("peercert")
    except TimeoutError:
        return ProbeResult(
            False, f"no connection to {_first_hop_in_words(config)} within {config.connect_timeout_s:g} s"
        )
    except (_ProxyError, LocalError) as error:
        return ProbeResult(False, str(error))
    except OSError as error:
        kind, reason = in_words(error, now)
        reason = reason.partition(": ")[2] or reason if kind == "broken" else reason
        if kind == "dns":
            reason = error.strerror or reason
        return ProbeResult(
            False, f"no connection to {_first_hop_in_words(config)}: {reason}" if kind in ("broken", "dns") else reason
        )
    if urlsplit(config.url).scheme != "https":  # the endpoint uses no TLS, but the proxy may
        if not config.proxy_url and await _speaks_tls(*_first_hop(config)):
            return ProbeResult(
                False, f"{_first_hop_in_words(config)} speaks TLS: write https instead of http in push.url"
            )
        return ProbeResult(True, f"connected{via}, without TLS", took_s, round_trip_s=round_trip_s)
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - now) / 86_400
    warning = f"its certificate expires in {days:.0f} days" if days < _SOON_DAYS else ""
    return ProbeResult(
        True, f"{tls.version()}{via}, certificate valid for {days:.0f} days", took_s, warning, round_trip_s
    )


async def _speaks_tls(host: str, port: int) -> bool:
    """Whether a TLS handshake on a new connection succeeds. Every certificate is accepted."""
    context = client_context(None, None, None)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_HANDSHAKE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (TimeoutError, OSError):
        return False
    writer.transport.abort()
    return True


def _first_hop(config: PushConfig) -> tuple[str, int]:
    """Return host and port of the first connection: those of the proxy, else those of the endpoint."""
    url = urlsplit(config.proxy_url or config.url)
    return url.hostname or "", _port(url)


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _first_hop_in_words(config: PushConfig) -> str:
    host, port = _first_hop(config)
    return host_and_port(host, port) + (", the proxy" if config.proxy_url else "")


@contextlib.asynccontextmanager
async def _connected(config: PushConfig) -> AsyncIterator[tuple[asyncio.StreamWriter, str, float | None]]:
    """Open a connection to the endpoint.

    Yield three values:

    - the writer of the connection
    - a text that names the proxy; empty without a proxy
    - the seconds of one round trip, measured by the last TLS handshake; None without TLS
    """
    url = urlsplit(config.url)
    host = url.hostname or ""
    port = _port(url)
    proxy = urlsplit(config.proxy_url) if config.proxy_url else None
    hop, hop_port = _first_hop(config)
    tls_to_hop = tls_context(config) if (proxy or url).scheme == "https" else None
    reader, writer = await asyncio.open_connection(hop, hop_port)
    try:
        round_trip_s = None
        if tls_to_hop is not None:
            round_trip_s = await _handshake(writer, tls_to_hop, hop)
        if proxy and url.scheme == "https":
            target = host_and_port(host, port)
            secrets = Secrets()
            secrets.keep(unquote(proxy.password or ""))
            await _tunnel(reader, writer, target, _authorization(proxy), secrets)
            round_trip_s = await _handshake(writer, tls_context(config), host)
        yield writer, f" through {host_and_port(hop, hop_port)}" if proxy else "", round_trip_s
    finally:
        writer.transport.abort()  # no message was sent, so an abrupt close loses nothing


async def _handshake(writer: asyncio.StreamWriter, context: ssl.SSLContext, host: str) -> float:
    """Do the TLS handshake. Return the seconds of one round trip."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await writer.start_tls(context, server_hostname=host)
    round_trips = 1 if writer.get_extra_info("ssl_object").version() == "TLSv1.3" else 2
    return (loop.time() - started) / round_trips


def _round_trip_s(writer: asyncio.StreamWriter) -> float:
    """Return the seconds of one round trip, as the kernel measured them on this connection."""
    information = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT_AT + 4)
    return float(int.from_bytes(information[_RTT_AT:], sys.byteorder) / 1e6)


def _authorization(proxy: SplitResult) -> str:
    """Return the header line with user and password of the proxy's URL; empty without a user."""
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"Proxy-Authorization: Basic {b64encode(pair.encode()).decode()}\r\n"


async def _tunnel(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str, authorization: str, secrets: Secrets
) -> None:
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n".encode())
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise _ProxyError("the answer of the proxy is not HTTP") from None
    status = answer[:_MOST_PROXY_BYTES].split(b"\r\n", 1)[0].decode("latin-1")
    code = status.split(" ")[1:2]
    if not code or not code[0].startswith("2"):
        hint = _CREDENTIALS_HINT if code == ["407"] else ""
        raise _ProxyError(f"the proxy says {secrets.quoted(status.partition(' ')[2])}{hint}")
