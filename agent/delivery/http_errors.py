"""Describes why an attempt got no valid answer: one word for counters, and a text for people. Pure."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx

from agent.delivery.http_stream import IS_TLS

# OpenSSL's X509_V_ERR_… numbers.
_NOT_YET_VALID = 9
_EXPIRED = 10
_ITS_CA = "; if the endpoint sent it, name its CA in push.ca_file; if not, another host answers instead of the endpoint"
_ITS_NAME = "; push.url must have the name in the certificate"
# OpenSSL's number of an error → hint. 18 to 21: the issuer is not known. 62, 64: the certificate is for another name or
# address.
_UNTRUSTED = {18: _ITS_CA, 19: _ITS_CA, 20: _ITS_CA, 21: _ITS_CA, **dict.fromkeys((62, 64), _ITS_NAME)}
_NO_TLS = "what listens there speaks no TLS: is the port in push.url right?"
_PERHAPS_NO_TLS = "does the port in push.url speak TLS?"
WANTS_TLS = "should push.url begin with https?"
"""Hint if a port that probably speaks TLS gets plain HTTP."""
# A part of OpenSSL's text, in lower case → hint.
_HANDSHAKE = {
    "wrong version number": _NO_TLS,
    "record layer failure": _NO_TLS,  # from OpenSSL 3.2 on
    "packet length too long": _NO_TLS,
    "unexpected eof": _PERHAPS_NO_TLS,
    "certificate required": "the endpoint asks for push.client_cert_file",
}
# What servers say in their answer 400 to plain HTTP on a port for TLS: nginx, Go, Apache.
_PLAIN_REFUSED = re.compile(
    rb"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS server|speaking plain HTTP to an SSL",
    re.IGNORECASE,
)


def says_that_it_wants_tls(status: int, reply: bytes) -> bool:
    """Whether the answer to plain HTTP says that the port speaks TLS."""
    return status == 400 and _PLAIN_REFUSED.search(reply) is not None


def in_words(error: Exception, now: float, *, plain: bool = False) -> tuple[str, str]:
    """Return (kind, reason): the word for counters, and the text for people.

    `now` is the agent's wall clock in Unix seconds, for texts about certificates. `plain`: whether the URL begins with
    "http:".
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "tls", _certificate(cause, now)
    for cause in chain:
        if isinstance(cause, ssl.SSLWantReadError):
            return "tls", f"TLS failed: no answer to the handshake in time; {_PERHAPS_NO_TLS}"
        if isinstance(cause, ssl.SSLError):
            return "tls", f"TLS failed: {_plain(cause)}"
        if isinstance(cause, socket.gaierror):
            return "dns", str(chain[0])
    reason = _reason(error, chain)
    if plain and str(error).startswith(_DISCONNECTED):
        reason = f"the endpoint closed the connection without an answer; {WANTS_TLS}"
    return _kind(error), reason


def _kind(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "connect"
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return "local"
    return "broken"


def _reason(error: Exception, chain: list[BaseException]) -> str:
    name = _WORDS.get(type(error), type(error).__name__)
    if str(error) == IS_TLS:
        return f"{IS_TLS}; {WANTS_TLS}"
    if isinstance(error, httpx.LocalProtocolError):
        return name  # the text of h11 quotes the rejected header, which may hold a secret
    numbers = [cause.errno for cause in chain if isinstance(cause, OSError) and cause.errno]
    detail = os.strerror(numbers[-1]) if numbers else str(error)
    if isinstance(error, httpx.RemoteProtocolError):
        detail = detail.partition(":")[0]  # the text of h11 quotes the answer after a colon
    return f"{name}: {detail}" if detail else name


# The beginning of httpcore's text if the server closes the connection without an answer.
_DISCONNECTED = "Server disconnected without sending a response"
_WORDS: dict[type[Exception], str] = {
    httpx.ConnectError: "no connection",
    httpx.ConnectTimeout: "no connection in time",
    httpx.ReadTimeout: "no answer in time",
    httpx.WriteTimeout: "sending took too long",
    httpx.PoolTimeout: "all connections are busy",
    httpx.ReadError: "the connection broke before the answer",
    httpx.WriteError: "the connection broke while sending",
    httpx.RemoteProtocolError: "no valid HTTP answer",
    httpx.LocalProtocolError: "the request cannot be put into HTTP",
}


def _certificate(error: ssl.SSLCertVerificationError, now: float) -> str:
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        what = "not yet valid" if error.verify_code == _NOT_YET_VALID else "expired"
        clock = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        return f"the server's certificate is {what}; the clock here is at {clock}"
    hint = _UNTRUSTED.get(error.verify_code, "")
    return f"the server's certificate is not trusted: {error.verify_message}{hint}"


def _plain(error: ssl.SSLError) -> str:
    words = (error.reason or str(error)).replace("_", " ").lower()
    return words + next((f"; {hint}" for what, hint in _HANDSHAKE.items() if what in words), "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()  # an error that is raised again may be its own context
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
