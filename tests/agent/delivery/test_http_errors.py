"""The words for an attempt without an answer, from the errors of the libraries."""

from __future__ import annotations

import errno
import socket
import ssl

import httpx
import pytest

from agent.delivery import in_words

NO_CA = "; if the endpoint sent it, name its CA in push.ca_file; if not, another host answers instead of the endpoint"
NO_TLS = "what listens there speaks no TLS: is the port in push.url right?"
NO_NAME = "; push.url must have the name in the certificate"


def broken(error: Exception, cause: BaseException | None, context: BaseException | None = None) -> Exception:
    """The error as if it was raised from `cause` while `context` was handled."""
    error.__cause__, error.__context__ = cause, context
    return error


@pytest.mark.parametrize(
    ("code", "hint"), [(18, NO_CA), (19, NO_CA), (20, NO_CA), (21, NO_CA), (62, NO_NAME), (64, NO_NAME), (22, "")]
)
def test_each_reason_to_trust_no_certificate_has_its_hint(code: int, hint: str) -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code, cause.verify_message = code, "why"
    reason = f"the server's certificate is not trusted: why{hint}"
    assert in_words(broken(httpx.ConnectError("x"), cause), 0.0) == ("tls", reason)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (httpx.LocalProtocolError("Illegal header value b'a-secret'"), "local", "the request cannot be put into HTTP"),
        (httpx.UnsupportedProtocol("no ftp"), "local", "UnsupportedProtocol: no ftp"),
        (httpx.ReadTimeout("slow"), "timeout", "no answer in time: slow"),
        (httpx.ReadError(""), "broken", "the connection broke before the answer"),
        (httpx.RemoteProtocolError("Server disconnected"), "broken", "no valid HTTP answer: Server disconnected"),
        (socket.gaierror(-2, "unknown name"), "dns", "[Errno -2] unknown name"),
    ],
)
def test_kind_and_reason_of_an_error(error: Exception, kind: str, reason: str) -> None:
    assert in_words(error, 0.0) == (kind, reason)


@pytest.mark.parametrize(
    ("text", "short", "words"),
    [
        ("[SSL: BAD_RECORD_TYPE] bad record type (_ssl.c:1000)", "BAD_RECORD_TYPE", "bad record type"),
        ("[SSL: HTTP_REQUEST] http request", "WRONG_VERSION_NUMBER", f"wrong version number; {NO_TLS}"),
        ("The operation did not complete", None, "the operation did not complete"),
    ],
)
def test_what_openssl_says_is_shown_without_its_numbers(text: str, short: str | None, words: str) -> None:
    error = ssl.SSLError(1, text)
    error.reason = short  # type: ignore[assignment]  # None if OpenSSL gives no reason
    assert in_words(error, 0.0) == ("tls", f"TLS failed: {words}")


def test_a_closed_connection_needs_no_https_if_it_is_not_known_that_the_url_begins_with_http() -> None:
    text = "Server disconnected without sending a response."
    assert in_words(httpx.RemoteProtocolError(text), 0.0) == ("broken", f"no valid HTTP answer: {text}")


REFUSED = OSError(errno.ECONNREFUSED, "")
NO_ROUTE = OSError(errno.EHOSTUNREACH, "")


@pytest.mark.parametrize(
    "error",
    [
        broken(httpx.ConnectError("x"), REFUSED, NO_ROUTE),
        broken(httpx.ConnectError("x"), None, REFUSED),
        broken(httpx.ConnectError("x"), broken(OSError(errno.EHOSTUNREACH, ""), REFUSED)),
    ],
    ids=["a cause", "only a context", "a cause of the cause"],
)
def test_the_first_error_of_a_chain_is_the_reason(error: Exception) -> None:
    assert in_words(error, 0.0) == ("connect", "no connection: Connection refused")


def test_an_error_that_is_its_own_context_has_a_reason() -> None:
    error, other = httpx.ConnectError("x"), httpx.ConnectError("y")
    error.__context__, other.__context__ = other, error
    assert in_words(error, 0.0) == ("connect", "no connection: x")
