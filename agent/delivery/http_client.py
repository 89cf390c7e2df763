"""Posts one record over HTTP with httpx, and returns an Outcome."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import sys
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from traceback import clear_frames, format_tb
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx
import structlog

from agent.config import USABLE, usable
from agent.contract.envelope import GZIP_MAGIC, decompressed
from agent.delivery.http_errors import WANTS_TLS, in_words, says_that_it_wants_tls
from agent.delivery.http_reply import classify, parse_date
from agent.delivery.http_resolver import STARTED, NetworkBackend
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Retry
from agent.outbox import Record
from agent.runtime import Clock
from agent.security import (
    Secret,
    SecretFile,
    Secrets,
    TlsFileError,
    Token,
    client_context,
    signatures,
    signing_keys,
    without_secrets,
)

if TYPE_CHECKING:
    from agent.config import PushConfig

log = structlog.get_logger(__name__)

# httpcore tries to import sniffio several times in each request. If sniffio is absent, Python searches all folders each
# time, which takes a fifth of the CPU time of a request. This entry prevents the search.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]  # None marks an absent module

MAX_REPLY_BYTES = 64 * 1024
"""Maximum bytes that are kept of the body of an answer. Then reading ends."""
# Maximum number of chunks that are read of the body.
_MAX_REPLY_PIECES = 1024
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
# Maximum seconds for reading the body.
_REPLY_S = 5.0
# Minimum seconds until the kernel tests an idle connection, and the seconds between two tests.
_PROBE_S = 5
# Replaces the stream of a response that was read. Stream and response refer to each other, so only the garbage
# collector would free them.
_NO_STREAM = httpx.ByteStream(b"")
# Errors of a request on a kept-alive connection that the server has closed.
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)


class LocalError(Exception):
    """A request cannot be made, because the URL, the token, a TLS file or the signing secret is unusable."""


class Endpoint:
    """The integrator's URL.

    Connections stay open between pushes. Redirects are not followed. Proxy settings of the environment are ignored.
    """

    def __init__(self, config: PushConfig, token: Token, clock: Clock, user_agent: str) -> None:
        self._config = config
        self._token = token
        self._clock = clock
        self._user_agent = user_agent
        self._signing = (
            SecretFile(config.signing_secret_file, "signing_secret_rotated", _signing_mistake)
            if config.signing_secret_file
            else None
        )
        self._plain = config.url.startswith("http:")
        self._used = token.value()
        """The token of the last attempt; before the first attempt, the token at the creation of this object."""
        self._authorization = ""
        """The header with the token `_used`; empty before the first attempt, and if the token is not usable."""
        self._secrets = Secrets()
        self._secrets.keep_query(config.url)
        self._secrets.keep(unquote(urlsplit(config.proxy_url or "").password or ""))
        # The newest tick uses up to `connections` connections. An older tick whose attempts hang uses as many. The
        # backlog uses one.
        self._most_connections = 2 * config.connections + 1
        self._network = NetworkBackend()
        self._client: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def post(self, record: Record, backlog: int) -> Outcome:
        """POST one message. Return every failure as an Outcome; only a cancellation is raised.

        `backlog` is the number of other messages that wait. If the answer is 401 and there is another token, post the
        message once more, with that token.
        """
        try:
            async with asyncio.timeout(self._config.timeout_s) as deadline:
                outcome = await self._post(record, backlog, deadline)
                if isinstance(outcome, Misconfigured) and outcome.status == 401 and self._token_was_rotated():
                    outcome = await self._post(record, backlog, deadline)
                return outcome
        except TimeoutError as error:
            _clear_frames(error)
            return Retry(f"no answer within {self._config.timeout_s:g} s", "timeout")
        except LocalError as error:
            return Retry(str(error), "local")
        except httpx.ProxyError as error:
            return self._refused_by_proxy(str(error))
        except (httpx.HTTPError, OSError) as error:
            kind, reason = in_words(error, self._clock.time(), plain=self._plain)
            _clear_frames(error)
            if kind == "tls":
                await self.close()  # the next attempt reads the certificates again; they may be renewed on the disk
            return Retry(reason, kind)
        except Exception as error:  # noqa: BLE001 - no error of a library may end delivery
            # The text of the error may quote headers, so only its type and its place are logged.
            where = "".join(format_tb(error.__traceback__))
            log.error("push_error", error=type(error).__name__, where=where)  # noqa: TRY400 - as above
            return Retry(f"unexpected {type(error).__name__}", "local")

    def token_changed(self) -> bool:
        return self._token.value() != self._used

    async def close(self) -> None:
        """Close all connections. The next attempt opens new ones and reads the certificates again."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(httpx.HTTPError, OSError):
                await client.aclose()

    def _token_was_rotated(self) -> bool:
        """Read the token files again after a 401. Return whether they have another token."""
        return self._token.refused(self._used) != self._used

    async def _post(self, record: Record, backlog: int, deadline: asyncio.Timeout) -> Outcome:
        client = self._client or await self._opened()
        headers = self._headers(record, backlog)
        try:
            request = client.build_request("POST", self._config.url, content=record.body, headers=headers)
        except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: a host name that is not valid
            raise LocalError(f"push.url cannot be used: {self._secrets.quoted(str(error))}") from None
        # The server may have closed a kept-alive connection. Then the request is repeated on another kept-alive
        # connection or, if there is none, on a new connection. An error of the new connection is raised. The number of
        # repeats is limited, because other attempts may add kept-alive connections meanwhile.
        started, connections = STARTED.get(), self._most_connections
        while True:
            try:
                response = await (self._client or await self._opened()).send(request, stream=True)
                break
            except _BROKEN:
                if STARTED.get() > started or not connections:
                    raise
                connections -= 1
        # The status is known, so a body that arrives slowly must not turn the answer into a time-out. The new deadline
        # is after the end of `_beginning`.
        reply_until = asyncio.get_running_loop().time() + _REPLY_S + 1
        deadline.reschedule(max(deadline.when() or 0.0, reply_until))
        reply = await _beginning(response)
        if response.is_success:
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            return Delivered(response.status_code, page=media_type in _PAGE_TYPES)
        return self._rejection(response, reply)

    def _rejection(self, response: httpx.Response, reply: bytes) -> Outcome:
        # A date in Retry-After is by the endpoint's clock, so it is compared with the Date header. Without a valid Date
        # header, it is compared with the agent's clock.
        now = parse_date(response.headers.get("date", "")) or self._clock.time()
        location = response.headers.get("location", "") if response.status_code < 400 else ""
        # User, password and query may be secrets of the endpoint.
        target = self._secrets.quoted(without_secrets(re.split("[?#]", location)[0]))
        said = f"redirect to {target}" if location else self._secrets.quoted(reply)
        if self._plain and says_that_it_wants_tls(response.status_code, reply):
            return Misconfigured(response.status_code, f"HTTP {response.status_code}: {said}; {WANTS_TLS}")
        return classify(response.status_code, said, response.headers.get("retry-after"), now)

    def _refused_by_proxy(self, answer: str) -> Outcome:
        """Return the outcome of a failed CONNECT. `answer` is the status and the reason phrase of the proxy.

        If the first word of `answer` is not a number of three digits, the status counts as 502.
        """
        status, _, phrase = answer.partition(" ")
        said = f"the proxy says {status[:3]} {self._secrets.quoted(phrase)}".rstrip()
        return classify(int(status) if status.isdecimal() and len(status) == 3 else 502, said, None, 0.0)

    def _headers(self, record: Record, backlog: int) -> Mapping[str, str]:
        token = self._token.value()
        if token is not self._used or not self._authorization:
            self._use(token)
        headers = {
            "Authorization": self._authorization,
            "Content-Type": "application/json",
            "User-Agent": self._user_agent,
            "Accept-Encoding": "identity",
            "Idempotency-Key": f'"{record.id}"',
            "webhook-id": record.id,
            "X-Telemetry-Attempt": str(record.attempts),
            "X-Telemetry-Backlog": str(backlog),
        }
        if record.body.startswith(GZIP_MAGIC):
            headers["Content-Encoding"] = "gzip"
        if self._signing is not None:
            headers |= self._signature(record, self._signing.value().get_secret_value())
        return headers

    def _use(self, token: Secret) -> None:
        """Use this token for the next attempts. Raises LocalError if it is not `usable`."""
        self._used, self._authorization = token, ""
        if not usable(token.get_secret_value()):
            raise LocalError(f"there is no usable token: it must be {USABLE}")
        self._secrets.learn(token.get_secret_value())
        self._authorization = f"Bearer {token.get_secret_value()}"

    def _signature(self, record: Record, secrets: str) -> Mapping[str, str]:
        at = int(self._clock.time())
        try:
            # `Secrets` forgets old secrets, so each attempt learns the token again, after the signing secrets.
            self._secrets.learn(*secrets.split(), *signing_keys(secrets), self._used.get_secret_value())
            signature = signatures(secrets, record.id, at, decompressed(record.body))
        except ValueError as error:
            raise LocalError(f"push.signing_secret_file: {error}") from None
        return {"webhook-timestamp": str(at), "webhook-signature": signature}

    async def _opened(self) -> httpx.AsyncClient:
        """Return the client; create it if there is none. Raises LocalError as `tls_context` does.

        A thread reads the store of certificates, because OpenSSL takes 0.1 s and other endpoints must not wait.
        """
        async with self._opening:
            if self._client is None:
                self._client = self._new_client(await asyncio.to_thread(tls_context, self._config))
            return self._client

    def _new_client(self, tls: ssl.SSLContext) -> httpx.AsyncClient:
        config = self._config
        transport = httpx.AsyncHTTPTransport(
            verify=tls,
            proxy=_proxy(config.proxy_url, tls),
            # By default, httpx closes an idle connection after 5 s. At an interval of a minute, every push would then
            # make a new TLS handshake.
            limits=httpx.Limits(max_connections=self._most_connections, keepalive_expiry=2.5 * config.interval_s + 10),
            socket_options=_socket_options(config),
        )
        # httpcore has a parameter for the network backend, but httpx has none.
        transport._pool._network_backend = self._network  # noqa: SLF001
        return httpx.AsyncClient(
            transport=transport,  # with a transport, httpx reads no proxy from the environment
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # stores no cookie
            timeout=httpx.Timeout(config.timeout_s, connect=config.connect_timeout_s),
        )


def _clear_frames(error: BaseException | None) -> None:
    """Clear the local variables of the calls that raised `error`.

    Since Python 3.12 these variables refer to the error, and the error refers to the calls. Only the garbage collector
    would free this cycle, and the request in it.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__context__


def _signing_mistake(secrets: str) -> str | None:
    try:
        signing_keys(secrets)
    except ValueError as error:
        return str(error)
    return None


def _socket_options(config: PushConfig) -> list[tuple[int, int, int]]:
    """Return socket options that find a dead kept-alive connection, such as one that a NAT router has forgotten.

    The kernel tests an idle connection between two pushes. It closes a connection if sent data is not acknowledged for
    half of `timeout_s`. The other half remains for a new connection.
    """
    return [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(_PROBE_S, config.interval_s // 2)),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(500 * config.timeout_s)),
    ]


def _proxy(url: str | None, tls: ssl.SSLContext) -> httpx.Proxy | None:
    if url is None:
        return None
    return httpx.Proxy(url, ssl_context=tls if url.startswith("https:") else None)


async def _beginning(response: httpx.Response) -> bytes:
    """Return the beginning of the body, and close the response.

    Bytes, chunks and time are limited. If reading fails, return what was read before.
    """
    reply = bytearray()
    try:
        with contextlib.suppress(httpx.HTTPError, OSError, TimeoutError):
            async with asyncio.timeout(_REPLY_S):
                pieces = 0
                async for chunk in response.aiter_raw():
                    reply += chunk[: MAX_REPLY_BYTES - len(reply)]
                    pieces += 1
                    if len(reply) >= MAX_REPLY_BYTES or pieces >= _MAX_REPLY_PIECES:
                        break
    finally:
        with contextlib.suppress(httpx.HTTPError, OSError):
            await response.aclose()
        response.stream = _NO_STREAM
    return bytes(reply)


def tls_context(config: PushConfig) -> ssl.SSLContext:
    """Return the TLS context for the endpoint and its proxy. Raises LocalError for a file that cannot be used."""
    try:
        return client_context(config.ca_file, config.client_cert_file, config.client_key_file)
    except TlsFileError as error:
        raise LocalError(f"push.{error.key}: {error.file} cannot be used ({error.reason})") from None
